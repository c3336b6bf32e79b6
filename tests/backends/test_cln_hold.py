"""Hold invoices by the plugin `hold` of Core Lightning."""

from collections.abc import AsyncIterator
from hashlib import sha256

import pytest

from backends.cln import ClnBackend
from nwc_service.backend import (
    BackendUnavailable,
    BadRequest,
    Cap,
    InvoiceStatus,
    Unsupported,
)
from nwc_service.wallet import bolt11
from nwc_service.wallet.units import PaymentHash, Preimage
from tests.backends.cln_double import ClnDouble, Fault, cln_double
from tests.backends.cln_rows import NODE_ID, RpcFail, a_backend, hash_of
from tests.backends.contract import a_spec

PREIMAGE = Preimage("41" * 32)
HASH = PaymentHash(hash_of(PREIMAGE))


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


async def test_a_node_without_the_plugin_has_none(double: ClnDouble) -> None:
    double.core.has_hold = False
    backend = a_backend(**double.options("socket"))
    await backend.start()
    asked = len(double.core.requests)

    assert Cap.HOLD not in backend.caps
    with pytest.raises(Unsupported):
        await backend.create_invoice(a_spec(hold_hash=HASH))
    with pytest.raises(Unsupported):
        await backend.resolve_hold(HASH, PREIMAGE)
    assert len(double.core.requests) == asked
    assert await backend.lookup_invoice(HASH) is None
    assert (await backend.list_history("in", None, 5)).items == []


async def test_a_plugin_that_counts_what_it_gave_back_as_paid_is_not_used(
    double: ClnDouble,
) -> None:
    """Before 0.3.1 it marks every part as paid, also one that it refused: whoever pays could
    add to what is credited."""
    double.core.has_old_hold = True
    backend = a_backend(**double.options("socket"))

    await backend.start()

    assert Cap.HOLD not in backend.caps
    assert (await backend.create_invoice(a_spec())).invoice
    with pytest.raises(Unsupported, match=r"0\.3\.2"):
        await backend.create_invoice(a_spec(hold_hash=HASH))
    await backend.close()


async def test_the_plugin_is_found_when_it_comes_later(double: ClnDouble) -> None:
    double.core.has_hold = False
    backend = a_backend(**double.options("socket"))
    await backend.start()
    double.core.has_hold = True

    await backend.start()

    assert Cap.HOLD in backend.caps


@pytest.mark.parametrize("is_hashed", [False, True])
async def test_the_invoice_has_all_that_was_asked_for_and_the_nodes_signature(
    backend: ClnBackend, is_hashed: bool
) -> None:
    digest = sha256(b"coffee").hexdigest()
    made = await backend.create_invoice(
        a_spec(
            21_001,
            hold_hash=HASH,
            description="coffee",
            description_hash=digest if is_hashed else None,
            expiry_s=1234,
            min_cltv_expiry_delta=222,
        )
    )

    read = bolt11.decode(made.invoice)
    assert (read.payee, read.payment_hash) == (NODE_ID, HASH)
    assert (read.amount_msat, read.expiry_s) == (21_001, 1234)
    assert read.min_final_cltv_delta == 222
    about = (None, digest) if is_hashed else ("coffee", None)
    assert (read.description, read.description_hash) == about


async def test_one_without_an_amount_is_not_supported(backend: ClnBackend) -> None:
    with pytest.raises(Unsupported):
        await backend.create_invoice(a_spec(None, hold_hash=HASH))


@pytest.mark.parametrize("method", ["signinvoice", "injectholdinvoice"])
@pytest.mark.parametrize("fault", [Fault.AFTER_COMMIT, Fault.AFTER_READ])
async def test_one_whose_reply_was_lost_is_found_by_its_hash(
    double: ClnDouble, backend: ClnBackend, method: str, fault: Fault
) -> None:
    spec = a_spec(our_id="one", hold_hash=HASH)
    double.faults[method] = fault

    with pytest.raises(BackendUnavailable, match="create_invoice"):
        await backend.create_invoice(spec)
    made = await backend.create_invoice(spec)

    assert len(double.core.holds.rows) == 1
    assert await backend.lookup_invoice(HASH) == made


async def test_a_hash_of_a_plain_invoice_is_refused(backend: ClnBackend) -> None:
    await backend.create_invoice(a_spec(preimage=PREIMAGE))

    with pytest.raises(BadRequest, match="another invoice"):
        await backend.create_invoice(a_spec(hold_hash=HASH))


async def test_a_hash_of_another_hold_invoice_is_refused_after_a_restart(
    double: ClnDouble, backend: ClnBackend
) -> None:
    await backend.create_invoice(a_spec(our_id="one", hold_hash=HASH))
    other = a_backend(**double.options("socket"))
    await other.start()

    with pytest.raises(BadRequest, match="another hold invoice"):
        await other.create_invoice(a_spec(our_id="two", hold_hash=HASH, description="x"))


async def test_the_deadline_is_the_plugins_own(double: ClnDouble, backend: ClnBackend) -> None:
    deadlines = []
    for preimage, blocks in (("42" * 32, 3), ("43" * 32, 12), ("44" * 32, 0)):
        double.core.script["listconfigs"] = {
            "configs": {
                "xpay-slow-mode": {"value_bool": True},
                "hold-expiry-deadline": {"value_int": blocks},
            }
        }
        await backend.start()
        made = await backend.create_invoice(
            a_spec(hold_hash=hash_of(preimage), min_cltv_expiry_delta=100)
        )
        await double.core.pay_from_outside(made.invoice, None)
        report = await backend.lookup_invoice(made.payment_hash)
        assert report is not None
        deadlines.append(report.settle_deadline)

    expiry = double.core.height + 100
    assert deadlines == [expiry - 3, expiry - 12, expiry - 3]


async def test_rows_of_another_invoice_are_not_believed(
    double: ClnDouble, backend: ClnBackend
) -> None:
    plain = await backend.create_invoice(a_spec(our_id="plain"))
    held = await backend.create_invoice(a_spec(our_id="held", hold_hash=HASH))
    double.core.script["listinvoices"] = double.core.listinvoices()
    double.core.script["listholdinvoices"] = {"holdinvoices": double.core.holds.rows}

    assert await backend.lookup_invoice(PaymentHash("00" * 32)) is None
    assert await backend.lookup_invoice(plain.payment_hash) == plain
    assert await backend.lookup_invoice(HASH) == held


async def test_a_part_that_was_refused_counts_neither_as_money_nor_for_the_deadline(
    double: ClnDouble, backend: ClnBackend
) -> None:
    made = await backend.create_invoice(a_spec(5_000_000, hold_hash=HASH))
    double.core.holds.refuse(HASH, amount_msat=9_000_000)
    await double.core.pay_from_outside(made.invoice, None)

    accepted = await backend.lookup_invoice(HASH)
    settled = await backend.resolve_hold(HASH, PREIMAGE)

    assert accepted is not None
    assert (accepted.received_msat, settled.received_msat) == (5_000_000, 5_000_000)
    assert (accepted.settle_deadline or 0) > double.core.height


@pytest.mark.parametrize("preimage", [PREIMAGE, None], ids=["settle", "cancel"])
async def test_what_the_plugin_did_not_do_is_not_taken_as_done(
    double: ClnDouble, backend: ClnBackend, preimage: Preimage | None
) -> None:
    made = await backend.create_invoice(a_spec(hold_hash=HASH))
    await double.core.pay_from_outside(made.invoice, None)
    for method in ("settleholdinvoice", "cancelholdinvoice"):
        double.core.script[method] = RpcFail(-32700, "no HTLCs to settle")

    with pytest.raises(BackendUnavailable, match=r"resolve_hold.*no HTLCs to settle"):
        await backend.resolve_hold(HASH, preimage)

    double.core.script.clear()
    assert (await backend.resolve_hold(HASH, preimage)).status != InvoiceStatus.ACCEPTED


@pytest.mark.parametrize("fault", [Fault.AFTER_COMMIT, Fault.AFTER_READ])
async def test_a_lost_reply_of_settling_is_repeated(
    double: ClnDouble, backend: ClnBackend, fault: Fault
) -> None:
    made = await backend.create_invoice(a_spec(hold_hash=HASH))
    await double.core.pay_from_outside(made.invoice, None)
    before_msat = double.core.balance_msat
    double.faults["settleholdinvoice"] = fault

    with pytest.raises(BackendUnavailable):
        await backend.resolve_hold(HASH, PREIMAGE)
    report = await backend.resolve_hold(HASH, PREIMAGE)

    assert report.status is InvoiceStatus.SETTLED
    assert double.core.balance_msat == before_msat + 5_000_000


async def test_the_history_goes_on_with_those_that_were_settled(
    double: ClnDouble, backend: ClnBackend
) -> None:
    plain = [await backend.create_invoice(a_spec()) for _ in range(2)]
    held = [Preimage(f"5{i}" * 32) for i in range(3)]
    for preimage in held:
        made = await backend.create_invoice(a_spec(hold_hash=hash_of(preimage)))
        await double.core.pay_from_outside(made.invoice, None)
    for report in plain:
        await double.core.pay_from_outside(report.invoice, None)
    await backend.resolve_hold(PaymentHash(hash_of(held[0])), held[0])
    await backend.resolve_hold(PaymentHash(hash_of(held[2])), held[2])

    listed, cursor = [], None
    while True:
        page = await backend.list_history("in", cursor, 2)
        listed += [item.payment_hash for item in page.items]
        cursor = page.next_cursor
        if cursor is None:
            break

    wanted = [report.payment_hash for report in plain]
    assert listed == [*wanted, hash_of(held[0]), hash_of(held[2])]


@pytest.mark.attack("A23")
@pytest.mark.parametrize("method", ["settleholdinvoice", "invoice"])
async def test_a_preimage_that_cln_repeats_is_not_told(
    double: ClnDouble, backend: ClnBackend, method: str
) -> None:
    made = await backend.create_invoice(a_spec(hold_hash=HASH))
    await double.core.pay_from_outside(made.invoice, None)
    double.core.script[method] = RpcFail(-32602, f"preimage: invalid token '{PREIMAGE}'")

    asked = (
        backend.create_invoice(a_spec(preimage=PREIMAGE))
        if method == "invoice"
        else backend.resolve_hold(HASH, PREIMAGE)
    )
    with pytest.raises((BackendUnavailable, BadRequest)) as told:
        await asked

    assert "invalid token '***'" in str(told.value)
    assert PREIMAGE not in str(told.value)
