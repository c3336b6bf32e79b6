"""Whatever is behind an adapter's address: its errors name the backend, the operation and what
helps, and hold no credential."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from nwc_service.backend import BackendUnavailable, LightningBackend, entry_points
from nwc_service.wallet.units import BackendName
from tests.backends.contract import NOBODYS_HASH, a_spec
from tests.backends.lnd_rows import MACAROON

SECRET = "5ec2e7" * 8
Behaviour = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def http(status: int, body: bytes) -> Behaviour:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        head = f"HTTP/1.1 {status} X\r\ncontent-length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)

    return answer


def echo(status: int) -> Behaviour:
    """What it was sent, header and all: a proxy's error page, say."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 {status} X\r\ncontent-length: {len(asked)}\r\n\r\n".encode())
        writer.write(asked)

    return answer


async def nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")


async def half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{")


async def silence(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(-1)


async def no_http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"SSH-2.0-OpenSSH_9.2\r\n")


BEHAVIOURS: Mapping[str, Behaviour | None] = {
    "nobody": None,
    "cut": nothing,
    "half": half,
    "silence": silence,
    "another-protocol": no_http,
    "no-json": http(200, b"hello"),
    "another-json": http(200, b'{"hello": [1]}'),
    "deep-json": http(200, b"[" * 100_000),
    "redirect": http(307, b""),
    "refused": http(401, b'{"code": 16, "message": "no", "detail": "no"}'),
    "forbidden": echo(403),
    "not-found": echo(404),
    "too-many": http(429, b"{}"),
    "broken": echo(500),
    "away": http(503, b""),
}

OPTIONS: Mapping[str, Mapping[str, object]] = {
    "lnbits": {"admin_key": SECRET, "invoice_key": SECRET[::-1], "fee_cap": "2000, 1%"},
    "lnd": {"macaroon_hex": MACAROON},
    "cln": {"rune": SECRET},
    "phoenixd": {"password": SECRET},
}
OPERATIONS: Mapping[str, Callable[[LightningBackend], Awaitable[object]]] = {
    "start": lambda backend: backend.start(),
    "balance": lambda backend: backend.balance(),
    "create_invoice": lambda backend: backend.create_invoice(a_spec()),
    "lookup_invoice": lambda backend: backend.lookup_invoice(NOBODYS_HASH),
}


@asynccontextmanager
async def server(behaviour: Behaviour | None) -> AsyncIterator[str]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert behaviour is not None
        try:
            await behaviour(reader, writer)
        finally:
            writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    if behaviour is None:
        listening.close()
        await listening.wait_closed()
    yield f"http://127.0.0.1:{port}"
    listening.close()


@pytest.mark.attack("A23")
@pytest.mark.parametrize("behaviour", BEHAVIOURS)
@pytest.mark.parametrize("backend_type", OPTIONS)
async def test_every_error_names_backend_operation_and_remedy_and_no_credential(
    backend_type: str, behaviour: str, capfd: pytest.CaptureFixture[str]
) -> None:
    async with server(BEHAVIOURS[behaviour]) as url:
        options = {**OPTIONS[backend_type], "url": url, "timeout_s": 1}
        made = entry_points.load(backend_type)
        backend = made(BackendName("house"), options, data_dir=Path())
        told = [await error(backend, operation) for operation in OPERATIONS]
        found = await backend.check()
        await backend.close()

    started, *_ = told
    assert started is not None  # whatever it is, it is no node
    for operation, problem in zip(OPERATIONS, told, strict=True):
        if problem is not None:
            assert str(problem).startswith(f"backend 'house' ({backend_type}), {operation}: ")
            assert problem.remedy
    assert any(finding.remedy for finding in found)
    out, err = capfd.readouterr()
    shown = "".join((*map(str, told), repr(found), out, err))
    for secret in secrets(backend_type):
        assert secret not in shown


async def error(backend: LightningBackend, operation: str) -> BackendUnavailable | None:
    """None where what there is can be taken for an answer, such as 404 for an invoice."""
    try:
        await OPERATIONS[operation](backend)
    except BackendUnavailable as problem:
        return problem
    return None


def secrets(backend_type: str) -> list[str]:
    values = [str(value) for value in OPTIONS[backend_type].values()]
    return [value[:24] for value in values if len(value) > 24]
