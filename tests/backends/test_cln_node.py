"""What Core Lightning says of itself, and how it reads and signs."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from backends.cln import ClnBackend
from nwc_service.backend import BackendUnavailable, BadRequest, NodeInfo
from tests.backends.cln_double import ClnDouble, cln_double
from tests.backends.cln_rows import NODE_ID, RpcFail, a_backend, an_invoice


@pytest.fixture
async def double() -> AsyncIterator[ClnDouble]:
    async with cln_double() as opened:
        yield opened


@pytest.fixture
async def backend(double: ClnDouble) -> AsyncIterator[ClnBackend]:
    opened = a_backend(**double.options("socket"))
    await opened.start()
    yield opened
    await opened.close()


async def test_the_node_is_told_as_nwc_names_it(double: ClnDouble, backend: ClnBackend) -> None:
    assert await backend.start() == NodeInfo(
        alias="alice",
        color="03ca8a",
        pubkey=NODE_ID,
        network="regtest",
        block_height=457,
        block_hash=None,
        synced=True,
    )


@pytest.mark.parametrize(
    ("info", "expected"),
    [
        ({"network": "bitcoin"}, ("mainnet", True)),
        ({"network": "testnet4"}, ("testnet", True)),
        ({"warning_bitcoind_sync": "Bitcoind is not up-to-date"}, ("regtest", False)),
        ({"warning_lightningd_sync": "Still loading"}, ("regtest", False)),
    ],
)
async def test_network_and_sync_are_told(
    double: ClnDouble,
    backend: ClnBackend,
    info: dict[str, Any],
    expected: tuple[str, bool],
) -> None:
    double.core.info |= info

    started = await backend.start()

    assert (started.network, started.synced) == expected


async def test_only_channels_that_can_be_used_are_money(
    double: ClnDouble, backend: ClnBackend
) -> None:
    balance = await backend.balance()

    assert balance.spendable_msat == double.core.balance_msat
    assert balance.receivable_msat == 10**12


async def test_what_happens_is_counted(double: ClnDouble, backend: ClnBackend) -> None:
    before = await backend.counters()
    double.core.add_part("complete")
    row = double.core.add_invoice("x", "12" * 32, bolt11=an_invoice(), amount_msat=21_000)
    await double.core.receive(row, 21_000)

    after = await backend.counters()

    assert set(after) == {
        "invoices_created",
        "invoices_updated",
        "sendpays_created",
        "sendpays_updated",
    }
    assert after["invoices_created"] == before["invoices_created"] + 1
    assert after["sendpays_created"] == before["sendpays_created"] + 1
    assert after["invoices_updated"] > before["invoices_updated"]


async def test_an_invoice_of_another_network_is_a_bad_request(
    double: ClnDouble, backend: ClnBackend
) -> None:
    double.core.info["network"] = "bitcoin"
    await backend.start()

    with pytest.raises(BadRequest, match="another network"):
        await backend.decode(an_invoice())


async def test_an_error_that_is_not_of_the_invoice_is_the_nodes(
    double: ClnDouble, backend: ClnBackend
) -> None:
    double.core.script["decode"] = RpcFail(-1, "no memory")

    with pytest.raises(BackendUnavailable, match="decode: CLN answered -1: no memory"):
        await backend.decode(an_invoice())


@pytest.mark.parametrize("zbase", ["", "y" * 104, "!" * 104, "d" * 200])
async def test_a_signature_of_something_else_is_not_given(
    double: ClnDouble, backend: ClnBackend, zbase: str
) -> None:
    """CLN may sign the JSON of a message."""
    double.core.script["signmessage"] = {"zbase": zbase}

    with pytest.raises(BadRequest, match="cannot sign this message"):
        await backend.sign_message('a "message"')


async def test_a_signature_of_the_escaped_message_is_not_given(
    double: ClnDouble, backend: ClnBackend
) -> None:
    double.core.script["signmessage"] = double.core.signmessage('a \\"message\\"')

    with pytest.raises(BadRequest, match="cannot sign this message"):
        await backend.sign_message('a "message"')


@pytest.mark.parametrize("message", ["\ud800", "x" * 65_536])
async def test_what_cannot_be_signed_is_a_bad_request(
    double: ClnDouble, backend: ClnBackend, message: str
) -> None:
    with pytest.raises(BadRequest):
        await backend.sign_message(message)

    assert double.core.of("signmessage") == []
