"""A sandbox's file that an older version of this service wrote."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from nwc_service.backend import (
    BackendUnavailable,
    Cursor,
    Failed,
    InFlight,
    InvoiceReport,
    InvoiceStatus,
    PaymentRef,
    Settled,
)
from nwc_service.wallet.units import PaymentHash
from tests.backends.contract import a_keysend, a_spec, hash_of, told
from tests.backends.rig_sandbox import SandboxRig, a_sandbox, states

DUMP = Path(__file__).with_name("sandbox_of_before_holds.sql")
"""Four invoices, of which the third and then the first are paid and the fourth is canceled;
and payments of a payee who took one twice, of one who holds it, and of one who refuses."""
MADE = [hash_of(f"{number:02}" * 32) for number in range(4)]
PAID = PaymentHash("6347dcb52182aaccbc8c0ca4a92d5243bd19f1671195b940197f77bc2c34280e")
HELD = PaymentHash("bc9c514142ed287b904be1cf162887e370a74d811f63d4056de067a425aa9636")
REFUSED = PaymentHash("d40b3a0cd330e5a98652c2b44412d7789d1960467b35790a459812a04e2b3951")
AVAILABLE_MSAT = 999_999_991_000


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    with closing(sqlite3.connect(tmp_path / "sandbox.sqlite")) as database:
        database.executescript(DUMP.read_text())
    return tmp_path


@pytest.fixture
async def old(data_dir: Path) -> AsyncIterator[SandboxRig]:
    """Opened by this version."""
    rig = SandboxRig(data_dir)
    await rig.backend.start()
    await rig.mode("normal")
    yield rig
    await rig.backend.close()


async def found(rig: SandboxRig, payment_hash: PaymentHash) -> InvoiceReport:
    report = await rig.backend.lookup_invoice(payment_hash)
    assert report is not None
    return report


async def test_its_invoices_and_payments_are_as_they_were(old: SandboxRig) -> None:
    statuses = [(await found(old, each)).status for each in MADE]
    outcomes = [
        await old.backend.lookup_payment(PaymentRef(our_id, payment_hash, 0))
        for our_id, payment_hash in (("paid", PAID), ("held", HELD), ("failed", REFUSED))
    ]

    assert statuses == [
        InvoiceStatus.SETTLED,
        InvoiceStatus.OPEN,
        InvoiceStatus.SETTLED,
        InvoiceStatus.CANCELED,
    ]
    assert [type(each) for each in outcomes] == [Settled, InFlight, Failed]
    shown = await old.show()
    assert shown["node_available_msat"] == AVAILABLE_MSAT
    assert (shown["received_msat"], shown["paid_msat"]) == (5_000, 4_000)
    assert states(shown) == [
        *("settled", "settled"),
        *("settled", "duplicate", "pending", "failed"),
    ]


async def test_a_cursor_of_before_goes_on_where_it_was(old: SandboxRig) -> None:
    """The third was settled first, and whoever watched has read that far."""
    await old.pay_from_outside((await found(old, MADE[1])).invoice)

    seen, _ = await told(
        old.backend, Cursor("1"), until=lambda each: each.payment_hash == MADE[1]
    )

    assert [each.payment_hash for each in seen] == [MADE[0], MADE[1]]


async def test_its_counters_count_on(old: SandboxRig) -> None:
    before = await old.backend.counters()
    await old.pay_from_outside((await found(old, MADE[1])).invoice)

    after = await old.backend.counters()

    assert before == {"payment_index": 6, "add_index": 4, "settle_index": 2}
    assert after == {"payment_index": 7, "add_index": 4, "settle_index": 3}


async def test_it_gains_what_is_new(old: SandboxRig) -> None:
    made = await old.backend.create_invoice(a_spec(hold_hash=hash_of("99" * 32)))
    await old.pay_from_outside(made.invoice)
    sent = await old.backend.pay(a_keysend(await old.outside_pubkey()))

    assert (await found(old, made.payment_hash)).status is InvoiceStatus.ACCEPTED
    assert isinstance(sent, Settled)
    await old.reopen()
    assert (await found(old, made.payment_hash)).status is InvoiceStatus.ACCEPTED


async def test_it_is_not_shown_before_a_service_has_opened_it(data_dir: Path) -> None:
    before = (data_dir / "sandbox.sqlite").read_bytes()

    with pytest.raises(BackendUnavailable, match="start the service"):
        await a_sandbox(data_dir).command("show", {})

    assert (data_dir / "sandbox.sqlite").read_bytes() == before
