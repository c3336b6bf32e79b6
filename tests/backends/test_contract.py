"""The contract of `nwc_service.backend`, on every installed backend."""

from collections.abc import AsyncIterator, Awaitable, Callable
from hashlib import sha256
from importlib.metadata import entry_points

import pytest
from coincurve import PublicKey

from nwc_service.backend import (
    ENTRY_POINT_GROUP,
    BadRequest,
    Cap,
    Cursor,
    InvoiceReport,
    LightningBackend,
    PaymentReport,
    Unsupported,
)
from tests.backends.contract import (
    AMOUNT_MSAT,
    NOBODYS_HASH,
    RIGS,
    Rig,
    a_keysend,
    a_request,
    a_spec,
    an_offer_spec,
    balance_msat,
    needs,
    ref,
    settled_report,
    unmined,
)


def test_every_installed_backend_has_a_rig() -> None:
    installed = {entry.name for entry in entry_points(group=ENTRY_POINT_GROUP)}

    assert installed - set(RIGS) == set()


async def test_start_may_be_repeated(rig: Rig) -> None:
    first = await rig.backend.start()

    assert unmined(await rig.backend.start()) == unmined(first)


async def test_the_history_of_receipts_lists_each_once(rig: Rig) -> None:
    needs(rig, Cap.LIST_IN)
    made = [await rig.backend.create_invoice(a_spec()) for _ in range(3)]
    for report in made:
        await rig.pay_from_outside(report.invoice)
        await settled_report(rig.backend, report.payment_hash)

    listed = [item.payment_hash async for item in pages(rig.backend, "in")]

    assert sorted(listed) == sorted(report.payment_hash for report in made)


async def test_the_history_of_payments_lists_each_once(rig: Rig) -> None:
    needs(rig, Cap.LIST_OUT)
    requests = [a_request(await rig.make_outside_invoice(AMOUNT_MSAT)) for _ in range(3)]
    for request in requests:
        await rig.backend.pay(request)

    listed = [item async for item in pages(rig.backend, "out")]

    assert sorted(item.payment_hash for item in listed) == sorted(
        request.payment_hash for request in requests
    )
    assert all(isinstance(item, PaymentReport) for item in listed)


async def pages(
    backend: LightningBackend, side: str
) -> AsyncIterator[PaymentReport | InvoiceReport]:
    cursor: Cursor | None = None
    while True:
        page = await backend.list_history("in" if side == "in" else "out", cursor, 2)
        for item in page.items:
            yield item
        cursor = page.next_cursor
        if cursor is None:
            return


async def test_another_start_finds_everything_as_it_was(rig: Rig) -> None:
    made = await rig.backend.create_invoice(a_spec())
    request = a_request(await rig.make_outside_invoice(AMOUNT_MSAT))
    outcome = await rig.backend.pay(request)
    balance = await rig.backend.balance()
    info = await rig.backend.start()

    await rig.reopen()

    assert unmined(await rig.backend.start()) == unmined(info)
    assert await rig.backend.balance() == balance
    assert await rig.backend.lookup_payment(ref(request)) == outcome
    assert await rig.backend.lookup_invoice(made.payment_hash) == made


KEYSEND = a_keysend("02" + "11" * 32)


@pytest.mark.parametrize(
    ("cap", "call"),
    [
        pytest.param(Cap.SIGN, lambda b: b.sign_message("hello"), id="sign"),
        pytest.param(Cap.HOLD, lambda b: b.resolve_hold(NOBODYS_HASH, None), id="resolve-hold"),
        pytest.param(
            Cap.HOLD, lambda b: b.create_invoice(a_spec(hold_hash=NOBODYS_HASH)), id="hold"
        ),
        pytest.param(Cap.DECODE, lambda b: b.decode("lnbc1"), id="decode"),
        pytest.param(Cap.KEYSEND, lambda b: b.pay(KEYSEND), id="keysend"),
        pytest.param(
            Cap.BOLT12_SEND,
            lambda b: b.fetch_invoice("lno1", amount_msat=None, payer_note=None),
            id="fetch-invoice",
        ),
        pytest.param(Cap.BOLT12_RECEIVE, lambda b: b.create_offer(an_offer_spec()), id="offer"),
        pytest.param(
            Cap.CANCEL_INVOICE, lambda b: b.cancel_invoice(NOBODYS_HASH), id="cancel-invoice"
        ),
        pytest.param(Cap.LIST_IN, lambda b: b.list_history("in", None, 1), id="list-in"),
        pytest.param(Cap.LIST_OUT, lambda b: b.list_history("out", None, 1), id="list-out"),
        pytest.param(
            Cap.AMOUNTLESS_CREATE, lambda b: b.create_invoice(a_spec(None)), id="no-amount"
        ),
        pytest.param(
            Cap.OWN_PREIMAGE,
            lambda b: b.create_invoice(a_spec(preimage="12" * 32)),
            id="own-preimage",
        ),
        pytest.param(
            Cap.DESCRIPTION_HASH,
            lambda b: b.create_invoice(a_spec(description_hash="ab" * 32)),
            id="description-hash",
        ),
    ],
)
async def test_what_a_backend_cannot_do_it_refuses_before_any_io(
    rig: Rig, cap: Cap, call: Callable[[LightningBackend], Awaitable[object]]
) -> None:
    if cap in rig.backend.caps:
        pytest.skip(f"this backend has {cap.name}")
    # With I/O, this would be BackendUnavailable.
    await rig.backend.close()

    with pytest.raises(Unsupported):
        await call(rig.backend)


@pytest.mark.parametrize("message", ["hello", "\u00fc\U0001f980", "x" * 10_000])
async def test_a_signature_is_of_the_nodes_key_in_the_form_of_other_nodes(
    rig: Rig, message: str
) -> None:
    needs(rig, Cap.SIGN)
    info = await rig.backend.start()

    signature = await rig.backend.sign_message(message)

    assert signer(message, signature) == info.pubkey


async def test_no_words_are_signed_or_refused(rig: Rig) -> None:
    """LND: "need a message to sign"."""
    needs(rig, Cap.SIGN)
    info = await rig.backend.start()

    try:
        signature = await rig.backend.sign_message("")
    except BadRequest:
        return
    assert signer("", signature) == info.pubkey


def signer(message: str, signature: str) -> str:
    """Whose zbase32 this is, as LND's `verifymessage` finds out."""
    alphabet = "ybndrfg8ejkmcpqxot1uwisza345h769"
    value = 0
    for char in signature:
        value = value << 5 | alphabet.index(char)
    header, *compact = value.to_bytes(65, "big")
    digest = sha256(sha256(b"Lightning Signed Message:" + message.encode()).digest())
    recoverable = bytes(compact) + bytes([header - 31])
    key = PublicKey.from_signature_and_message(recoverable, digest.digest(), hasher=None)
    return key.format().hex()


async def test_a_check_of_what_is_right_finds_nothing_wrong(rig: Rig) -> None:
    found = await rig.backend.check()

    says = {finding.subject: finding.says for finding in found}
    assert [finding for finding in found if finding.remedy is not None] == []
    assert len(says) == len(found)
    assert str(await balance_msat(rig.backend)) in says["balance"]
    info = await rig.backend.start()
    assert (info.pubkey or "") in says["identity"]
    assert says.get("network") == info.network


async def test_a_command_of_nobody_is_unsupported(rig: Rig) -> None:
    with pytest.raises(Unsupported):
        await rig.backend.command("no such command", {})
