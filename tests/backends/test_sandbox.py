"""The sandbox as a node: its options, its fees, its books, and what it refuses."""

import time
from pathlib import Path

import pytest

from backends.sandbox import SandboxBackend
from nwc_service import backend as port
from nwc_service.backend import (
    BackendUnavailable,
    BadRequest,
    Cap,
    Cursor,
    Failed,
    FailReason,
    InvoiceSpec,
    InvoiceStatus,
    LightningBackend,
    NotSent,
    PaymentRef,
    Settled,
)
from nwc_service.wallet import bolt11
from nwc_service.wallet.units import BackendName, Msat, PaymentHash
from tests.backends.contract import (
    AMOUNT_MSAT,
    NOBODYS_HASH,
    a_request,
    a_spec,
    ref,
    watch_until,
)
from tests.backends.rig_sandbox import START_MSAT, SandboxRig, a_sandbox, file_names, states


def test_it_is_a_lightning_backend_that_says_it_is_simulated(tmp_path: Path) -> None:
    found: type[LightningBackend] = port.load("sandbox")

    backend: LightningBackend = found(BackendName("main"), {}, data_dir=tmp_path)

    assert isinstance(backend, SandboxBackend)
    assert backend.name == "main"
    assert Cap.SIMULATED in backend.caps
    assert file_names(tmp_path) == []


async def test_the_alias_says_that_no_real_money_moves(sandbox: SandboxRig) -> None:
    info = await sandbox.backend.start()

    assert info.alias == "SANDBOX (simulated, no real money)"
    assert info.network == "regtest"
    made = await sandbox.backend.create_invoice(a_spec())
    assert bolt11.decode(made.invoice).payee == info.pubkey


@pytest.mark.parametrize(
    ("options", "key"),
    [
        pytest.param({"pth": "x"}, "pth", id="unknown-key"),
        pytest.param({"path": 1}, "path", id="path-not-text"),
        pytest.param({"path": ""}, "path", id="path-empty"),
    ],
)
def test_a_wrong_option_is_named(options: dict[str, object], key: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=key):
        SandboxBackend(BackendName("sandbox"), options, data_dir=tmp_path)


async def test_the_file_may_lie_elsewhere_and_is_private(tmp_path: Path) -> None:
    backend = SandboxBackend(
        BackendName("sandbox"), {"path": "other/net.sqlite"}, data_dir=tmp_path
    )

    await backend.start()
    await backend.close()

    assert (tmp_path / "other" / "net.sqlite").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("amount_msat", "fee_msat"),
    [(1, 1000), (1_000_000, 1000), (1_000_001, 1001), (5_000_000, 5000)],
)
async def test_the_fee_is_a_thousandth_rounded_up_and_at_least_a_satoshi(
    sandbox: SandboxRig, amount_msat: int, fee_msat: int
) -> None:
    request = a_request(await sandbox.make_outside_invoice(amount_msat), max_fee_msat=fee_msat)

    outcome = await sandbox.backend.pay(request)

    assert isinstance(outcome, Settled)
    assert outcome.fee_msat == fee_msat
    assert (await sandbox.show())["node_available_msat"] == START_MSAT - amount_msat - fee_msat


async def test_the_outside_books_say_what_was_received_and_paid(sandbox: SandboxRig) -> None:
    made = await sandbox.backend.create_invoice(a_spec(2_000))
    await sandbox.pay_from_outside(made.invoice)
    request = a_request(await sandbox.make_outside_invoice(AMOUNT_MSAT))
    await sandbox.backend.pay(request)

    shown = await sandbox.show()

    assert shown == {
        "outside_pubkey": bolt11.decode(request.invoice).payee,
        "block_height": (await sandbox.backend.start()).block_height,
        "received_msat": AMOUNT_MSAT,
        "paid_msat": 2_000,
        "node_available_msat": START_MSAT + 2_000 - AMOUNT_MSAT - 5_000,
        "payments": [
            {
                "payment_hash": made.payment_hash,
                "direction": "incoming",
                "amount_msat": 2_000,
                "fee_msat": 0,
                "state": "settled",
                "tlv_records": None,
                "payer_note": None,
            },
            {
                "payment_hash": request.payment_hash,
                "direction": "outgoing",
                "amount_msat": AMOUNT_MSAT,
                "fee_msat": 5_000,
                "state": "settled",
                "tlv_records": None,
                "payer_note": None,
            },
        ],
    }


async def test_every_send_of_one_payment_is_on_the_books(sandbox: SandboxRig) -> None:
    request = a_request(await sandbox.make_outside_invoice(AMOUNT_MSAT))

    first = await sandbox.backend.pay(request)
    second = await sandbox.backend.pay(request)

    shown = await sandbox.show()
    assert isinstance(second, Settled)
    assert second == first
    assert states(shown) == ["settled", "duplicate"]
    assert shown["received_msat"] == AMOUNT_MSAT


async def test_a_failed_payment_may_be_tried_again(sandbox: SandboxRig) -> None:
    invoice = await sandbox.make_outside_invoice(AMOUNT_MSAT)
    request = a_request(invoice, max_fee_msat=4_999)

    first = await sandbox.backend.pay(request)
    second = await sandbox.backend.pay(a_request(invoice, max_fee_msat=5_000, our_id="two"))

    assert isinstance(first, Failed)
    assert first.reason is FailReason.FEE_TOO_HIGH
    assert isinstance(second, Settled)
    assert states(await sandbox.show()) == ["failed", "settled"]
    # The first one failed for good: the second one's success is not its own.
    assert await sandbox.backend.lookup_payment(ref(request)) == first


async def test_a_failure_of_another_send_says_nothing_of_one_that_never_came(
    sandbox: SandboxRig,
) -> None:
    request = a_request(await sandbox.make_outside_invoice(AMOUNT_MSAT, fail=True))
    await sandbox.backend.pay(request)

    other = PaymentRef("another", request.payment_hash, 0)

    assert await sandbox.backend.lookup_payment(other) is None


async def test_an_invoice_made_to_fail_is_rejected(sandbox: SandboxRig) -> None:
    request = a_request(await sandbox.make_outside_invoice(AMOUNT_MSAT, fail=True))

    outcome = await sandbox.backend.pay(request)

    assert isinstance(outcome, Failed)
    assert outcome.reason is FailReason.REJECTED
    assert (await sandbox.show())["node_available_msat"] == START_MSAT


async def test_an_invoice_of_a_third_node_has_no_route(sandbox: SandboxRig) -> None:
    invoice = bolt11.encode(
        network="regtest",
        amount_msat=Msat(AMOUNT_MSAT),
        payment_hash=PaymentHash("12" * 32),
        payment_secret="34" * 32,
        description="",
        created_at=int(time.time()),
        expiry_s=60,
        secret_key=b"\x07" * 32,
    )

    outcome = await sandbox.backend.pay(a_request(invoice))

    assert isinstance(outcome, Failed)
    assert outcome.reason is FailReason.NO_ROUTE


async def test_an_invoice_with_a_known_hash_but_another_text_has_no_route(
    sandbox: SandboxRig,
) -> None:
    real = bolt11.decode(await sandbox.make_outside_invoice(AMOUNT_MSAT))
    forged = bolt11.encode(
        network="regtest",
        amount_msat=Msat(1),
        payment_hash=real.payment_hash,
        payment_secret=real.payment_secret,
        description="",
        created_at=real.created_at,
        expiry_s=60,
        secret_key=b"\x07" * 32,
    )

    outcome = await sandbox.backend.pay(a_request(forged))

    assert isinstance(outcome, Failed)
    assert outcome.reason is FailReason.NO_ROUTE


async def test_the_node_does_not_pay_itself(sandbox: SandboxRig) -> None:
    made = await sandbox.backend.create_invoice(a_spec())

    outcome = await sandbox.backend.pay(a_request(made.invoice))

    assert isinstance(outcome, NotSent)
    assert states(await sandbox.show()) == []


async def test_time_decides_what_is_expired(sandbox: SandboxRig) -> None:
    now = 1_800_000_000
    sandbox.backend.books.clock = lambda: now
    made = await sandbox.backend.create_invoice(a_spec(expiry_s=60))
    request = a_request(await sandbox.make_outside_invoice(AMOUNT_MSAT, expiry_s=60))

    now += 60

    report = await sandbox.backend.lookup_invoice(made.payment_hash)
    assert report is not None
    assert report.status is InvoiceStatus.EXPIRED
    with pytest.raises(BadRequest, match="expired"):
        await sandbox.pay_from_outside(made.invoice)
    outcome = await sandbox.backend.pay(request)
    assert isinstance(outcome, NotSent)
    assert outcome.reason is FailReason.EXPIRED
    assert states(await sandbox.show()) == []


async def test_an_upper_case_invoice_is_paid_from_the_same_row(sandbox: SandboxRig) -> None:
    request = a_request((await sandbox.make_outside_invoice(AMOUNT_MSAT)).upper())
    made = await sandbox.backend.create_invoice(a_spec())

    await sandbox.pay_from_outside(made.invoice.upper())

    assert isinstance(await sandbox.backend.pay(request), Settled)


async def test_what_a_node_is_asked_before_its_start_is_unavailable(tmp_path: Path) -> None:
    backend = a_sandbox(tmp_path)
    invoice = bolt11.encode(
        network="regtest",
        amount_msat=Msat(1000),
        payment_hash=NOBODYS_HASH,
        payment_secret="11" * 32,
        description="",
        created_at=int(time.time()),
        expiry_s=60,
        secret_key=b"\x07" * 32,
    )

    outcome = await backend.pay(a_request(invoice))

    assert isinstance(outcome, NotSent)
    with pytest.raises(BackendUnavailable):
        await backend.balance()
    with pytest.raises(BackendUnavailable):
        await backend.command("invoice", {})
    assert file_names(tmp_path) == []


async def test_a_file_that_is_no_database_is_unavailable_and_untouched(tmp_path: Path) -> None:
    file = tmp_path / "sandbox.sqlite"
    file.write_bytes(b"not a database" * 100)
    backend = a_sandbox(tmp_path)

    with pytest.raises(BackendUnavailable):
        await backend.start()
    with pytest.raises(BackendUnavailable):
        await backend.command("show", {})

    assert file.read_bytes() == b"not a database" * 100


async def test_a_cursor_of_another_backend_is_refused(sandbox: SandboxRig) -> None:
    with pytest.raises(BadRequest):
        await watch_until(sandbox.backend, Cursor("-1"), payment_hash=NOBODYS_HASH)
    with pytest.raises(BadRequest):
        await sandbox.backend.list_history("in", Cursor("x"), 1)


@pytest.mark.parametrize(
    "spec",
    [
        pytest.param(a_spec(0), id="no-money"),
        pytest.param(a_spec(-1), id="negative"),
        pytest.param(a_spec(Msat(10**19)), id="more-than-all-bitcoin"),
        pytest.param(a_spec(description="x" * 640), id="long-description"),
        pytest.param(a_spec(expiry_s=-1), id="negative-expiry"),
        pytest.param(a_spec(expiry_s=366 * 24 * 3600), id="more-than-a-year"),
        pytest.param(a_spec(preimage="AB" * 32), id="upper-case-preimage"),
        pytest.param(a_spec(preimage="ab" * 31), id="short-preimage"),
        pytest.param(a_spec(preimage="zz" * 32), id="preimage-not-hex"),
    ],
)
async def test_an_invoice_that_cannot_be_made_is_refused(
    sandbox: SandboxRig, spec: InvoiceSpec
) -> None:
    with pytest.raises(BadRequest):
        await sandbox.backend.create_invoice(spec)
