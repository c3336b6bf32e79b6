"""What phoenixd is checked for at the start, and how its errors are told."""

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from structlog.testing import capture_logs

from backends.phoenixd import PhoenixdBackend
from nwc_service.backend import BackendUnavailable, BadRequest, Cap, NodeInfo
from nwc_service.wallet.units import Msat
from tests.backends.contract import NOBODYS_HASH, a_request, a_spec, ref
from tests.backends.phoenixd_double import (
    BALANCE,
    DECODE,
    GET_INFO,
    LIMITED_PASSWORD,
    NODE_ID,
    PASSWORD,
    PAY,
    PhoenixdDouble,
    phoenixd_double,
)
from tests.backends.phoenixd_http import Answer, Fault
from tests.backends.phoenixd_rig import a_backend
from tests.backends.phoenixd_rows import an_invoice

INVOICE = an_invoice(21_000, "ab" * 32)


@pytest.fixture
async def phoenixd() -> AsyncIterator[PhoenixdDouble]:
    async with phoenixd_double() as double:
        yield double


@pytest.fixture
async def backend(phoenixd: PhoenixdDouble) -> AsyncIterator[PhoenixdBackend]:
    backend = a_backend(phoenixd)
    yield backend
    await backend.close()


async def test_the_node_is_told_as_it_is(backend: PhoenixdBackend) -> None:
    assert await backend.start() == NodeInfo(
        pubkey=NODE_ID, network="regtest", block_height=101
    )


@pytest.mark.parametrize(
    ("chain", "network"),
    [("Mainnet", "mainnet"), ("testnet3", "testnet"), ("testnet4", "testnet")],
)
async def test_a_chain_has_the_name_that_invoices_give_it(
    phoenixd: PhoenixdDouble, backend: PhoenixdBackend, chain: str, network: str
) -> None:
    phoenixd.chain = chain

    assert (await backend.start()).network == network


async def test_a_node_without_a_block_height_is_not_synced(
    phoenixd: PhoenixdDouble, backend: PhoenixdBackend
) -> None:
    info = {"nodeId": NODE_ID, "channels": [], "chain": "regtest", "version": "0.8.0"}
    phoenixd.script[GET_INFO] = Answer(200, info)

    assert not (await backend.start()).synced


async def test_the_start_asks_for_no_payment(
    phoenixd: PhoenixdDouble, backend: PhoenixdBackend
) -> None:
    await backend.start()
    await backend.start()

    assert [call.form for call in phoenixd.of(PAY)] == [{}]
    assert phoenixd.outgoing == []


async def test_the_password_of_limited_access_receives(phoenixd: PhoenixdDouble) -> None:
    backend = a_backend(phoenixd, password=LIMITED_PASSWORD)
    with capture_logs() as logs:
        await backend.start()

    made = await backend.create_invoice(a_spec())
    phoenixd.receive(made.payment_hash)

    report = await backend.lookup_invoice(made.payment_hash)
    assert report is not None
    assert report.received_msat == made.amount_msat
    assert [entry["event"] for entry in logs] == ["phoenixd.receives_only"]
    await backend.close()


async def test_a_fee_credit_is_refused_unless_the_operator_covers_it(
    phoenixd: PhoenixdDouble,
) -> None:
    phoenixd.fee_credit_msat = 9_035_000
    refused, accepted = a_backend(phoenixd), a_backend(phoenixd, accept_fee_credit=True)

    for _ in range(2):
        with pytest.raises(BackendUnavailable, match=r"9035 sat.*--max-fee-credit=off"):
            await refused.start()
    await accepted.start()

    assert (await accepted.balance()).spendable_msat == phoenixd.balance_msat
    await refused.close()
    await accepted.close()


async def test_a_fee_credit_that_grows_is_not_spendable_and_logged_once(
    phoenixd: PhoenixdDouble, backend: PhoenixdBackend
) -> None:
    await backend.start()
    before = await backend.balance()
    made = await backend.create_invoice(a_spec())
    phoenixd.receive(made.payment_hash, is_credit=True)

    with capture_logs() as logs:
        after = [await backend.balance() for _ in range(2)]

    assert after == [before, before]
    assert [(e["event"], e["fee_credit_sat"]) for e in logs] == [
        ("phoenixd.fee_credit_grew", 5_000)
    ]


async def test_an_invoice_is_read_as_phoenixd_reads_it(
    phoenixd: PhoenixdDouble, backend: PhoenixdBackend
) -> None:
    await backend.start()
    reading = {"paymentHash": "cd" * 32, "amount": 5, "timestampSeconds": 7}
    phoenixd.script[DECODE] = Answer(200, reading)

    told = await backend.decode(INVOICE)

    assert (told.payment_hash, told.amount_msat, told.payee) == ("cd" * 32, 5, None)
    assert told.expires_at == 7 + 3600


async def test_the_cap_of_fees_is_the_declared_one_rounded_up(phoenixd: PhoenixdDouble) -> None:
    default, own = a_backend(phoenixd), a_backend(phoenixd, fee_base_msat=0, fee_millionths=1)

    assert Cap.FEE_LIMIT not in default.caps
    assert [default.fee_cap_msat(Msat(msat)) for msat in (1, 1_000_000)] == [4_001, 8_000]
    assert [own.fee_cap_msat(Msat(msat)) for msat in (1_000_000, 1_000_001)] == [1, 2]


CALLS: dict[str, Callable[[PhoenixdBackend], Awaitable[object]]] = {
    "start": lambda backend: backend.start(),
    "balance": lambda backend: backend.balance(),
    "create_invoice": lambda backend: backend.create_invoice(a_spec()),
    "lookup_invoice": lambda backend: backend.lookup_invoice(NOBODYS_HASH),
    "decode": lambda backend: backend.decode(INVOICE),
    "lookup_payment": lambda backend: backend.lookup_payment(ref(a_request(INVOICE))),
    "list_history": lambda backend: backend.list_history("in", None, 1),
}


@pytest.mark.parametrize("operation", sorted(CALLS))
@pytest.mark.parametrize(
    ("answer", "remedy"),
    [
        pytest.param(Answer(401, "wrong"), "check password", id="401"),
        pytest.param(Answer(500, PASSWORD), "see phoenixd's log", id="500"),
        pytest.param(Answer(200, PASSWORD), "see phoenixd's log", id="words"),
        pytest.param(None, "see phoenixd's log", id="lost"),
    ],
)
async def test_an_error_names_backend_operation_and_remedy_and_no_credential(
    phoenixd: PhoenixdDouble,
    backend: PhoenixdBackend,
    operation: str,
    answer: Answer | None,
    remedy: str,
) -> None:
    await backend.start()
    names = {request.name for request in phoenixd.requests} | {DECODE, BALANCE}
    names |= {"GET /payments/incoming", "GET /payments/outgoingbyhash", GET_INFO}
    if answer is None:
        phoenixd.faults |= dict.fromkeys(names, Fault.AFTER_READ)
    else:
        phoenixd.script |= dict.fromkeys(names, answer)

    with pytest.raises(BackendUnavailable) as caught:
        await CALLS[operation](backend)

    assert f"backend 'phoenixd' (phoenixd), {operation}: " in str(caught.value)
    assert remedy in str(caught.value)
    assert PASSWORD not in str(caught.value)
    assert caught.value.__cause__ is None


async def test_a_call_before_the_start_says_so(backend: PhoenixdBackend) -> None:
    with pytest.raises(BackendUnavailable, match="start it first"):
        await backend.balance()


async def test_an_invoice_that_cannot_be_read_is_a_bad_request(
    phoenixd: PhoenixdDouble, backend: PhoenixdBackend
) -> None:
    await backend.start()

    with pytest.raises(BadRequest):
        await backend.decode("lnbcrt1")
