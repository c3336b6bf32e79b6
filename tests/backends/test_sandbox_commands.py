"""The operator's commands of the sandbox."""

import asyncio
from pathlib import Path

import pytest

from nwc_service.backend import (
    BadRequest,
    Failed,
    FailReason,
    InvoiceStatus,
)
from nwc_service.wallet import bolt11
from nwc_service.wallet.units import MAX_MSAT
from tests.backends.contract import (
    AMOUNT_MSAT,
    NOBODYS_HASH,
    a_request,
    a_spec,
    proves,
)
from tests.backends.rig_sandbox import START_MSAT, SandboxRig, a_sandbox, file_names, states


@pytest.mark.parametrize(
    ("command", "arguments", "name"),
    [
        pytest.param("invoice", {"amount_msat": True}, "amount_msat", id="amount-is-a-truth"),
        pytest.param("invoice", {"amount_msat": "1000"}, "amount_msat", id="amount-is-text"),
        pytest.param("invoice", {"amount_msat": 1.0}, "amount_msat", id="amount-is-a-float"),
        pytest.param("invoice", {"amount_msat": 0}, "amount_msat", id="amount-is-zero"),
        pytest.param("invoice", {"amount_msat": MAX_MSAT + 1}, "amount_msat", id="too-much"),
        pytest.param("invoice", {"expiry_s": -1}, "expiry_s", id="negative-expiry"),
        pytest.param("invoice", {"expiry_s": 366 * 86400}, "expiry_s", id="long-expiry"),
        pytest.param("invoice", {"hold": "yes"}, "hold", id="hold-is-text"),
        pytest.param("invoice", {"hold": True, "fail": True}, "fail", id="hold-and-fail"),
        pytest.param("invoice", {"amont": 1}, "amont", id="unknown-argument"),
        pytest.param("settle", {}, "payment_hash", id="no-hash"),
        pytest.param("settle", {"payment_hash": "AB" * 32}, "payment_hash", id="upper-case"),
        pytest.param("cancel", {"payment_hash": "ab" * 31}, "payment_hash", id="short-hash"),
        pytest.param(
            "cancel", {"payment_hash": "ab" * 32 + "\n"}, "payment_hash", id="hash-and-newline"
        ),
        pytest.param("settle", {"payment_hash": NOBODYS_HASH}, "payment_hash", id="not-held"),
        pytest.param("pay", {}, "invoice", id="no-invoice"),
        pytest.param("pay", {"invoice": "lnbcrt1"}, "invoice", id="no-real-invoice"),
        pytest.param("offer", {"amount_msat": 0}, "amount_msat", id="offer-of-nothing"),
        pytest.param("offer", {"hold": True, "fail": True}, "fail", id="offer-hold-and-fail"),
        pytest.param("pay-offer", {}, "offer", id="no-offer"),
        pytest.param("pay-offer", {"offer": "lno1"}, "offer", id="no-real-offer"),
        pytest.param("keysend", {}, "amount_msat", id="keysend-of-nothing"),
        pytest.param(
            "keysend",
            {"amount_msat": 1, "tlv_records": [{"type": 2**64, "value": ""}]},
            "tlv_records.0.type",
            id="record-beyond-64-bits",
        ),
        pytest.param(
            "keysend",
            {"amount_msat": 1, "tlv_records": [{"type": 65536, "value": "0"}]},
            "tlv_records.0.value",
            id="record-of-half-a-byte",
        ),
        pytest.param(
            "keysend",
            {"amount_msat": 1, "tlv_records": [{"type": 65535, "value": ""}]},
            "tlv_records",
            id="record-of-the-protocol",
        ),
        pytest.param(
            "keysend",
            {"amount_msat": 1, "tlv_records": [{"type": 65536, "value": ""}] * 2},
            "tlv_records",
            id="record-twice",
        ),
        pytest.param("keysends", {"answer": "perhaps"}, "answer", id="unknown-answer"),
        pytest.param("mine", {"blocks": 0}, "blocks", id="no-blocks"),
        pytest.param("mine", {"blocks": 10**7}, "blocks", id="too-many-blocks"),
        pytest.param("mode", {"mode": "fast"}, "mode", id="unknown-mode"),
        pytest.param("mode", {"mode": None}, "mode", id="no-mode"),
        pytest.param("show", {"all": True}, "all", id="show-takes-none"),
    ],
)
async def test_a_wrong_argument_is_named(
    sandbox: SandboxRig, command: str, arguments: dict[str, object], name: str
) -> None:
    before = await sandbox.show()

    with pytest.raises(BadRequest, match=f"^{name}: "):
        await sandbox.backend.command(command, arguments)

    assert await sandbox.show() == before


async def test_an_outside_invoice_is_real(sandbox: SandboxRig) -> None:
    made = await sandbox.backend.command("invoice", {"amount_msat": 1_234, "expiry_s": 60})

    decoded = bolt11.decode(str(made["invoice"]))
    assert set(made) == {"invoice", "payment_hash"}
    assert decoded.payment_hash == made["payment_hash"]
    assert (decoded.network, decoded.amount_msat, decoded.expiry_s) == ("regtest", 1_234, 60)
    assert decoded.payee != (await sandbox.backend.start()).pubkey


async def test_paying_from_outside_gives_the_proof(sandbox: SandboxRig) -> None:
    made = await sandbox.backend.create_invoice(a_spec())

    paid = await sandbox.backend.command("pay", {"invoice": made.invoice})

    report = await sandbox.backend.lookup_invoice(made.payment_hash)
    assert report is not None
    assert paid == {"preimage": report.preimage}
    assert proves(report.preimage, made.payment_hash)


async def test_an_invoice_is_paid_once_however_many_try(sandbox: SandboxRig) -> None:
    made = await sandbox.backend.create_invoice(a_spec(AMOUNT_MSAT))

    tries = await asyncio.gather(
        *(sandbox.pay_from_outside(made.invoice) for _ in range(5)), return_exceptions=True
    )

    assert sum(isinstance(result, BadRequest) for result in tries) == 4
    shown = await sandbox.show()
    assert shown["paid_msat"] == AMOUNT_MSAT
    assert shown["node_available_msat"] == START_MSAT + AMOUNT_MSAT


@pytest.mark.parametrize(
    ("asked_msat", "given_msat"),
    [
        pytest.param(2_000, 1_999, id="too-little"),
        pytest.param(2_000, 2_001, id="too-much"),
        pytest.param(None, None, id="no-amount-at-all"),
        pytest.param(None, MAX_MSAT, id="more-than-all-bitcoin-with-what-is-there"),
    ],
)
async def test_another_amount_is_not_paid_from_outside(
    sandbox: SandboxRig, asked_msat: int | None, given_msat: int | None
) -> None:
    made = await sandbox.backend.create_invoice(a_spec(asked_msat))

    with pytest.raises(BadRequest):
        await sandbox.pay_from_outside(made.invoice, given_msat)

    assert await sandbox.backend.lookup_invoice(made.payment_hash) == made
    assert states(await sandbox.show()) == []


async def test_only_invoices_of_the_service_are_paid_from_outside(sandbox: SandboxRig) -> None:
    invoice = await sandbox.make_outside_invoice(AMOUNT_MSAT)

    with pytest.raises(BadRequest, match="not one of the service's node"):
        await sandbox.pay_from_outside(invoice)


async def test_a_canceled_invoice_is_not_paid_from_outside(sandbox: SandboxRig) -> None:
    made = await sandbox.backend.create_invoice(a_spec())
    await sandbox.backend.cancel_invoice(made.payment_hash)

    with pytest.raises(BadRequest, match="canceled"):
        await sandbox.pay_from_outside(made.invoice)


async def test_canceling_a_settled_invoice_changes_nothing(sandbox: SandboxRig) -> None:
    made = await sandbox.backend.create_invoice(a_spec())
    await sandbox.pay_from_outside(made.invoice)

    await sandbox.backend.cancel_invoice(made.payment_hash)

    report = await sandbox.backend.lookup_invoice(made.payment_hash)
    assert report is not None
    assert report.status is InvoiceStatus.SETTLED
    with pytest.raises(BadRequest):
        await sandbox.backend.cancel_invoice(NOBODYS_HASH)


async def test_settling_may_be_repeated_but_not_changed(sandbox: SandboxRig) -> None:
    invoice = await sandbox.make_outside_invoice(AMOUNT_MSAT, hold=True)
    request = a_request(invoice, timeout_s=0)
    await sandbox.backend.pay(request)
    held = {"payment_hash": request.payment_hash}
    first = await sandbox.backend.command("settle", held)

    again = await sandbox.backend.command("settle", held)

    assert again == first == held | {"state": "settled"}
    with pytest.raises(BadRequest):
        await sandbox.backend.command("cancel", held)
    assert (await sandbox.show())["received_msat"] == AMOUNT_MSAT


async def test_what_was_canceled_takes_no_other_payment(sandbox: SandboxRig) -> None:
    invoice = await sandbox.make_outside_invoice(AMOUNT_MSAT, hold=True)
    request = a_request(invoice, timeout_s=0)
    await sandbox.backend.pay(request)
    held = {"payment_hash": request.payment_hash}
    await sandbox.backend.command("cancel", held)

    again = await sandbox.backend.pay(a_request(invoice, our_id="two"))

    assert isinstance(again, Failed)
    assert again.reason is FailReason.REJECTED
    with pytest.raises(BadRequest):
        await sandbox.backend.command("settle", held)
    shown = await sandbox.show()
    assert states(shown) == ["failed", "failed"]
    assert shown["node_available_msat"] == START_MSAT


async def test_show_without_a_sandbox_makes_none(tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match="no sandbox yet"):
        await a_sandbox(tmp_path).command("show", {})

    assert file_names(tmp_path) == []


async def test_show_answers_while_the_service_is_down_or_is_another(
    sandbox: SandboxRig,
) -> None:
    made = await sandbox.backend.create_invoice(a_spec())
    await sandbox.pay_from_outside(made.invoice)
    shown = await sandbox.show()
    other = a_sandbox(sandbox.data_dir)

    while_running = await other.command("show", {})
    await sandbox.backend.close()
    while_stopped = await other.command("show", {})

    assert while_running == while_stopped == shown
    assert states(shown) == ["settled"]
