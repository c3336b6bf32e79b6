"""What the operator configures for Core Lightning, and what is told of what is wrong."""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from backends.cln import ClnBackend
from nwc_service.backend import BackendUnavailable, PaymentKind, ReleaseRule
from nwc_service.wallet.units import BackendName
from tests.backends.cln_double import RUNE, ClnDouble, cln_double
from tests.backends.cln_rows import RpcFail, a_backend
from tests.backends.lnd_tls import a_certificate

REST = {"url": "https://127.0.0.1:3010/", "rune": RUNE}


def configured(options: dict[str, object]) -> ClnBackend:
    return ClnBackend(BackendName("mine"), options, data_dir=Path())


@pytest.mark.parametrize("options", [{"socket": "/x/lightning-rpc"}, REST], ids=["a", "b"])
def test_what_is_needed_is_a_socket_or_an_address_and_a_rune(
    options: dict[str, object],
) -> None:
    rules = configured(options).release_rules

    assert rules[PaymentKind.BOLT11] is ReleaseRule.EXPIRY
    assert {rules[PaymentKind.KEYSEND], rules[PaymentKind.BOLT12]} == {ReleaseRule.MANUAL}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        pytest.param({}, "either socket or url", id="nothing"),
        pytest.param(REST | {"socket": "/x"}, "either socket or url", id="both"),
        pytest.param({"url": REST["url"]}, "either rune or rune_path", id="no-rune"),
        pytest.param(REST | {"rune_path": "/x"}, "either rune or rune_path", id="two-runes"),
        pytest.param({"socket": "/x", "rune": RUNE}, "go with url only", id="rune-of-nothing"),
        pytest.param(REST | {"url": "127.0.0.1:3010"}, "url: must be https", id="no-scheme"),
        pytest.param(REST | {"url": "http://cln.example.org"}, "on the way", id="in-clear"),
        pytest.param(REST | {"url": "https://a:b@c.example"}, "no user name", id="password"),
        pytest.param(REST | {"rune": f"{RUNE} x"}, "rune: must be a rune", id="two-words"),
        pytest.param(REST | {"rune": ""}, "rune: must be a rune", id="blank"),
        pytest.param(REST | {"macaroon": "x"}, "macaroon is unknown; known", id="unknown"),
        pytest.param({"socket": "/x", "timeout_s": 0}, "timeout_s: ", id="no-time"),
        pytest.param({"socket": "/x", "wait_s": 0}, "wait_s: ", id="no-wait"),
        pytest.param(REST | {"allow_broad_rune": "perhaps"}, "allow_broad", id="no-bool"),
    ],
)
def test_a_wrong_key_is_named_and_no_credential_is_shown(
    options: dict[str, object], words: str
) -> None:
    with pytest.raises(ValueError, match=r"^backend 'mine' \(cln\): ") as wrong:
        configured(options)

    assert words in str(wrong.value)
    assert RUNE[:16] not in str(wrong.value)


@pytest.mark.parametrize("way", ["socket", "rest"])
@pytest.mark.parametrize(
    ("method", "answer", "words"),
    [
        pytest.param("getinfo", RpcFail(-5, "stopping"), "start lightningd", id="stopping"),
        pytest.param("getinfo", {"version": "v26.06"}, "see CLN's log", id="another-shape"),
        pytest.param("listconfigs", {"configs": {}}, "setconfig xpay-slow-mode", id="no-mode"),
        pytest.param("help", RpcFail(-32601, "Unknown"), "25.12 or newer", id="no-command"),
    ],
)
async def test_what_is_wrong_at_the_start_is_told_with_a_remedy(
    way: str, method: str, answer: object, words: str
) -> None:
    async with cln_double() as double:
        double.core.script[method] = answer
        backend = a_backend(**double.options(way))

        with pytest.raises(BackendUnavailable) as wrong:
            await backend.start()

        assert "backend 'mine' (cln), start: " in str(wrong.value)
        assert words in str(wrong.value)
        assert RUNE[:16] not in str(wrong.value)
        await backend.close()


async def test_a_node_that_is_not_in_slow_mode_is_refused_with_the_line_that_helps() -> None:
    async with cln_double() as double:
        double.core.is_slow = False
        backend = a_backend(**double.options("socket"))

        with pytest.raises(BackendUnavailable, match="setconfig xpay-slow-mode true"):
            await backend.start()

        double.core.is_slow = True
        assert (await backend.start()).alias == "alice"


@pytest.mark.parametrize(
    ("version", "is_taken"),
    [("v25.09.1", False), ("v25.12", True), ("v26.06-modded", True), ("abcdef1", True)],
)
async def test_an_old_version_is_refused(version: str, is_taken: bool) -> None:
    async with cln_double() as double:
        double.core.info["version"] = version
        backend = a_backend(**double.options("socket"))

        if is_taken:
            await backend.start()
            return
        with pytest.raises(BackendUnavailable, match=r"25\.12 or newer"):
            await backend.start()


async def test_before_the_start_nothing_is_asked() -> None:
    backend = configured(dict(REST))

    with pytest.raises(BackendUnavailable, match="start it first"):
        await backend.balance()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"socket": "/nowhere/lightning-rpc"}, "check socket and its rights"),
        ({"url": "http://127.0.0.1:1", "rune": RUNE}, "check url, and that CLNRest runs"),
        (REST | {"tls_cert": "/nowhere/ca.pem"}, "tls_cert cannot be read"),
        ({"url": REST["url"], "rune_path": "/nowhere"}, "rune_path cannot be read"),
    ],
    ids=["socket", "url", "certificate", "rune"],
)
async def test_what_is_not_there_is_told(options: dict[str, object], words: str) -> None:
    backend = configured(options)

    with pytest.raises(BackendUnavailable) as wrong:
        await backend.start()

    assert words in str(wrong.value)
    assert "backend 'mine' (cln), start: " in str(wrong.value)


# --- the certificate


@asynccontextmanager
async def a_tls_double(certificate: Path) -> AsyncIterator[ClnDouble]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.with_suffix(".key"))
    async with cln_double(context) as double:
        yield double


async def test_the_certificate_that_is_named_is_trusted(tmp_path: Path) -> None:
    certificate = a_certificate(tmp_path, "cln")
    async with a_tls_double(certificate) as double:
        backend = a_backend(**double.options("rest"), tls_cert=certificate)

        assert (await backend.start()).alias == "alice"
        await backend.close()


@pytest.mark.attack("A23")
@pytest.mark.parametrize("trust", ["another", "another-host", "system"])
async def test_no_other_certificate_is_and_it_hears_no_rune(tmp_path: Path, trust: str) -> None:
    host = "127.0.0.2" if trust == "another-host" else "127.0.0.1"
    served = a_certificate(tmp_path, "cln", host=host)
    named = {"another": a_certificate(tmp_path, "other"), "another-host": served}
    async with a_tls_double(served) as double:
        backend = a_backend(**double.options("rest"), tls_cert=named.get(trust))

        with pytest.raises(BackendUnavailable, match=r"copy CLN's ca\.pem") as refused:
            await backend.start()

        assert "not the one of tls_cert" in str(refused.value)
        assert double.http == []
        await backend.close()
