"""Where a URL that a user named may lead: to public addresses, whatever its name turns into."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from websockets.asyncio.server import ServerConnection, serve
from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from nwc_service.outbound import ForbiddenAddress, Outbound, fetch, is_public

PUBLIC = "93.184.216.34"


@pytest.mark.parametrize(
    "address",
    [PUBLIC, "8.8.8.8", "1.1.1.1", "172.32.0.1", "100.128.0.1", "2606:4700::1111"],
)
def test_an_address_of_the_public_internet_is_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        pytest.param("127.0.0.1", id="loopback"),
        pytest.param("127.255.0.9", id="loopback-net"),
        pytest.param("0.0.0.0", id="this-host"),
        pytest.param("10.1.2.3", id="rfc1918-10"),
        pytest.param("172.16.0.1", id="rfc1918-172"),
        pytest.param("192.168.1.1", id="rfc1918-192"),
        pytest.param("169.254.169.254", id="link-local"),
        pytest.param("100.64.0.1", id="cgnat"),
        pytest.param("192.0.0.8", id="protocol-assignments"),
        pytest.param("198.18.0.1", id="benchmarks"),
        pytest.param("224.0.0.1", id="multicast"),
        pytest.param("239.1.1.1", id="multicast-of-an-organisation"),
        pytest.param("240.0.0.1", id="reserved"),
        pytest.param("255.255.255.255", id="broadcast"),
        pytest.param("::", id="v6-unspecified"),
        pytest.param("::1", id="v6-loopback"),
        pytest.param("::127.0.0.1", id="v4-compatible"),
        pytest.param("::ffff:127.0.0.1", id="v4-mapped-loopback"),
        pytest.param("::ffff:8.8.8.8", id="v4-mapped"),
        pytest.param("64:ff9b::7f00:1", id="nat64"),
        pytest.param("64:ff9b:1::1", id="nat64-local"),
        pytest.param("2002:7f00:1::", id="6to4"),
        pytest.param("2001:0:1::1", id="teredo"),
        pytest.param("2001:db8::1", id="documentation"),
        pytest.param("fd00::1", id="unique-local"),
        pytest.param("fe80::1", id="v6-link-local"),
        pytest.param("fe80::1%eth0", id="v6-link-local-with-scope"),
        pytest.param("2606:4700::1111%eth0", id="scope"),
        pytest.param("fec0::1", id="site-local"),
        pytest.param("ff02::1", id="v6-multicast"),
        pytest.param("localhost", id="a-name"),
        pytest.param("", id="nothing"),
    ],
)
def test_any_other_address_is_not(address: str) -> None:
    assert not is_public(address)


class Names:
    """A resolver that a test answers for, as an attacker's name server would."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, int]] = []

    async def __call__(self, host: str, port: int) -> list[str]:
        self.asked.append((host, port))
        return self.answers.pop(0)


async def test_a_host_with_public_addresses_alone_is_told_by_them() -> None:
    names = Names([PUBLIC, "2606:4700::1111", PUBLIC])

    addresses = await Outbound(resolve=names).addresses("wss://relay.example/path")

    assert addresses == (PUBLIC, "2606:4700::1111")
    assert names.asked == [("relay.example", 443)]


@pytest.mark.parametrize(
    "answer", [["127.0.0.1"], [PUBLIC, "10.0.0.1"], ["::ffff:10.0.0.1"]], ids=str
)
async def test_a_host_with_any_other_address_is_refused(answer: list[str]) -> None:
    with pytest.raises(ForbiddenAddress):
        await Outbound(resolve=Names(answer)).addresses("wss://relay.example")


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f.0.0.1",
        "localhost",
        "[::1]",
        "a@127.0.0.1",
        "0",
    ],
)
async def test_loopback_is_refused_however_it_is_written(host: str) -> None:
    with pytest.raises(ForbiddenAddress):
        await Outbound().addresses(f"ws://{host}:7777")


@pytest.mark.parametrize(
    "url", ["", "relay.example", "ftp://relay.example", "ws://", "ws://a:b"]
)
async def test_what_is_no_url_is_a_value_error(url: str) -> None:
    with pytest.raises(ValueError, match=r"not a URL|[Pp]ort"):
        await Outbound(resolve=Names([PUBLIC])).addresses(url)


@pytest.mark.parametrize(
    ("allowed", "url", "is_allowed"),
    [
        pytest.param("relay.lan", "ws://relay.lan:7777", True, id="host"),
        pytest.param("relay.lan", "ws://RELAY.lan:7777", True, id="in-any-case"),
        pytest.param("relay.lan:7777", "ws://relay.lan:7777", True, id="host-and-port"),
        pytest.param("relay.lan:80", "ws://relay.lan", True, id="usual-port"),
        pytest.param("relay.lan:7777", "ws://relay.lan:22", False, id="another-port"),
        pytest.param("relay.lan", "ws://other.lan", False, id="another-host"),
        pytest.param("[::1]", "ws://[::1]:7777", True, id="v6"),
        pytest.param("[::1]:7777", "ws://[::1]:7777", True, id="v6-and-port"),
    ],
)
async def test_the_operator_s_hosts_are_exempt(
    allowed: str, url: str, is_allowed: bool
) -> None:
    outbound = Outbound(allowed_hosts=frozenset({allowed}), resolve=Names(["192.168.0.9"]))

    if is_allowed:
        assert await outbound.addresses(url) == ("192.168.0.9",)
    else:
        with pytest.raises(ForbiddenAddress):
            await outbound.addresses(url)


# --- a GET that is bound to an address


class Site:
    def __init__(self, body: bytes = b"{}", *, status: HTTPStatus = HTTPStatus.OK) -> None:
        self.body = body
        self.status = status
        self.port = 0
        self.seen: list[Request] = []

    def __call__(self, _: ServerConnection, request: Request) -> Response:
        self.seen.append(request)
        headers = Headers({"Location": "/elsewhere", "Content-Length": str(len(self.body))})
        return Response(self.status.value, self.status.phrase, headers, self.body)


@asynccontextmanager
async def serving(site: Site, *, tls: ssl.SSLContext | None = None) -> AsyncIterator[Site]:
    async def nobody(socket: ServerConnection) -> None:
        await socket.close()

    async with serve(nobody, "127.0.0.1", 0, process_request=site, ssl=tls) as server:
        site.port = server.sockets[0].getsockname()[1]
        yield site


async def get(url: str, *, address: str | None = "127.0.0.1") -> bytes:
    return await fetch(
        url, address=address, headers={"Accept": "a/b"}, timeout_s=1, max_bytes=1000
    )


async def test_it_gets_from_the_address_under_the_name_whatever_the_name_says_now() -> None:
    async with serving(Site(b"hello")) as site:
        body = await get(f"http://no-such-host.invalid:{site.port}/path?a=b#c")

    [request] = site.seen
    assert body == b"hello"
    assert request.path == "/path?a=b"
    assert request.headers["Host"] == f"no-such-host.invalid:{site.port}"
    assert request.headers["Accept"] == "a/b"


async def test_it_follows_no_redirect() -> None:
    async with serving(Site(status=HTTPStatus.FOUND)) as site:
        with pytest.raises(ValueError, match="302"):
            await get(f"http://name.invalid:{site.port}")

    assert [request.path for request in site.seen] == ["/"]


async def test_it_uses_no_proxy_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    async with serving(Site(b"direct")) as site:
        assert await get(f"http://name.invalid:{site.port}") == b"direct"


async def test_it_takes_no_more_than_it_was_told() -> None:
    async with serving(Site(b"x" * 1001)) as site:
        with pytest.raises(ValueError, match="too long"):
            await get(f"http://name.invalid:{site.port}")


async def test_it_waits_no_longer_than_it_was_told() -> None:
    is_gone = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        await writer.wait_closed()
        is_gone.set()

    async with await asyncio.start_server(silent, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(TimeoutError):
            await get(f"http://name.invalid:{port}")
        await is_gone.wait()


@pytest.mark.parametrize("url", ["http://name.invalid:1", "http://[::1", "http://a b"])
async def test_what_cannot_be_reached_is_an_error(url: str) -> None:
    with pytest.raises((OSError, ValueError)):
        await get(url)


# --- TLS: the address is ours to choose, the name in the certificate is not


def certificate_for(name: str, *, folder: Path) -> Path:
    """Key and self-signed certificate in one PEM file."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    path = folder / "site.pem"
    path.write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.public_bytes(pem)
    )
    return path


@pytest.fixture
def tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """Of a site whose certificate is for name.invalid, from an authority that is trusted."""
    path = certificate_for("name.invalid", folder=tmp_path)
    monkeypatch.setattr("certifi.where", lambda: str(path))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(path)
    return context


async def test_the_certificate_has_to_be_for_the_name_and_not_for_the_address(
    tls: ssl.SSLContext,
) -> None:
    named: list[str | None] = []
    tls.sni_callback = lambda _socket, name, _context: named.append(name)

    async with serving(Site(b"hello"), tls=tls) as site:
        assert await get(f"https://name.invalid:{site.port}") == b"hello"

    assert named == ["name.invalid"]


async def test_a_certificate_for_another_name_is_refused_before_anything_is_asked(
    tls: ssl.SSLContext,
) -> None:
    async with serving(Site(b"hello"), tls=tls) as site:
        with pytest.raises(OSError, match="ConnectError"):
            await get(f"https://other.invalid:{site.port}")

    assert site.seen == []
