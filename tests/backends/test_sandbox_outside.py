"""What the outside node and the chain of the sandbox do about keysends, holds and offers."""

from collections.abc import Awaitable, Callable

import pytest

from nwc_service.backend import (
    BackendUnavailable,
    BadRequest,
    Failed,
    FailReason,
    InFlight,
    InvoiceReport,
    InvoiceStatus,
    KeysendRequest,
    LightningBackend,
    NotSent,
    Settled,
    Unknown,
)
from nwc_service.wallet import bolt11, bolt12
from nwc_service.wallet.units import Msat, PaymentHash, Preimage
from tests.backends.contract import (
    AMOUNT_MSAT,
    NOBODYS_HASH,
    STRANGER,
    a_fetched_request,
    a_keysend,
    a_spec,
    an_offer_spec,
    eventually,
    hash_of,
    ref,
    told,
)
from tests.backends.rig_sandbox import START_MSAT, SandboxRig, states

PREIMAGE = Preimage("12" * 32)
HASH = hash_of(PREIMAGE)
BLOCK_S = 600


async def a_held(
    sandbox: SandboxRig, *, min_cltv_expiry_delta: int | None = None, expiry_s: int = 3600
) -> InvoiceReport:
    """A hold invoice of PREIMAGE, with a payment."""
    made = await sandbox.backend.create_invoice(
        a_spec(hold_hash=HASH, min_cltv_expiry_delta=min_cltv_expiry_delta, expiry_s=expiry_s)
    )
    await sandbox.pay_from_outside(made.invoice)
    return await found(sandbox, HASH)


async def found(sandbox: SandboxRig, payment_hash: PaymentHash) -> InvoiceReport:
    report = await sandbox.backend.lookup_invoice(payment_hash)
    assert report is not None
    return report


async def height(sandbox: SandboxRig) -> int:
    info = await sandbox.backend.start()
    assert info.block_height is not None
    return info.block_height


# --- the chain


async def test_a_block_is_found_every_ten_minutes_and_at_a_word(sandbox: SandboxRig) -> None:
    now = 1_800_000_000
    sandbox.backend.books.clock = lambda: now
    first = await sandbox.backend.start()
    assert first.block_height is not None

    now += BLOCK_S
    second = await sandbox.backend.start()
    mined = await sandbox.backend.command("mine", {"blocks": 5})

    assert second.block_height == first.block_height + 1
    assert second.block_hash != first.block_hash
    assert mined == {"block_height": first.block_height + 6}
    assert await height(sandbox) == first.block_height + 6
    await sandbox.reopen()
    sandbox.backend.books.clock = lambda: now
    assert await height(sandbox) == first.block_height + 6


async def test_the_clock_alone_brings_the_deadline(sandbox: SandboxRig) -> None:
    now = 1_800_000_000
    sandbox.backend.books.clock = lambda: now
    held = await a_held(sandbox, min_cltv_expiry_delta=3)
    assert held.settle_deadline == await height(sandbox) + 3

    now += 2 * BLOCK_S
    before = await found(sandbox, HASH)
    now += BLOCK_S
    after = await found(sandbox, HASH)

    assert before.status is InvoiceStatus.ACCEPTED
    assert after.status is InvoiceStatus.CANCELED


async def test_what_is_due_goes_back_before_anything_else_happens(sandbox: SandboxRig) -> None:
    """Settling in the very call that finds the deadline past is too late."""
    now = 1_800_000_000
    sandbox.backend.books.clock = lambda: now
    await a_held(sandbox, min_cltv_expiry_delta=1)

    now += BLOCK_S

    with pytest.raises(BadRequest, match="canceled"):
        await sandbox.backend.resolve_hold(HASH, PREIMAGE)
    assert (await sandbox.show())["node_available_msat"] == START_MSAT


# --- hold invoices


async def test_the_payer_sees_what_becomes_of_his_held_payment(sandbox: SandboxRig) -> None:
    await a_held(sandbox)
    held = states(await sandbox.show())

    await sandbox.backend.resolve_hold(HASH, PREIMAGE)

    shown = await sandbox.show()
    assert (held, states(shown)) == (["pending"], ["settled"])
    assert shown["paid_msat"] == AMOUNT_MSAT
    assert shown["node_available_msat"] == START_MSAT + AMOUNT_MSAT


async def test_paying_a_hold_invoice_gives_the_height_and_no_proof(sandbox: SandboxRig) -> None:
    made = await sandbox.backend.create_invoice(
        a_spec(hold_hash=HASH, min_cltv_expiry_delta=10)
    )

    paid = await sandbox.backend.command("pay", {"invoice": made.invoice})

    assert paid == {"payment_hash": HASH, "settle_deadline": await height(sandbox) + 10}


async def test_mining_to_the_deadline_gives_the_payer_his_money_at_once(
    sandbox: SandboxRig,
) -> None:
    held = await a_held(sandbox)
    assert held.settle_deadline is not None

    await sandbox.mine(held.settle_deadline - await height(sandbox) - 1)
    one_before = states(await sandbox.show())
    await sandbox.mine(1)

    assert (one_before, states(await sandbox.show())) == (["pending"], ["failed"])


async def test_whoever_comes_late_is_not_told_of_what_was_given_back(
    sandbox: SandboxRig,
) -> None:
    await a_held(sandbox)
    await sandbox.backend.resolve_hold(HASH, None)
    paid = await sandbox.backend.create_invoice(a_spec())
    await sandbox.pay_from_outside(paid.invoice)

    seen, _ = await told(sandbox.backend, None, until=lambda each: True)

    assert [each.payment_hash for each in seen] == [paid.payment_hash]


async def test_a_held_payment_does_not_expire_with_its_invoice(sandbox: SandboxRig) -> None:
    """NWC-03: the expiry is the time to start paying, not how long it may be held."""
    now = 1_800_000_000
    sandbox.backend.books.clock = lambda: now
    await a_held(sandbox, expiry_s=60)

    now += 61

    assert (await found(sandbox, HASH)).status is InvoiceStatus.ACCEPTED
    settled = await sandbox.backend.resolve_hold(HASH, PREIMAGE)
    assert settled.status is InvoiceStatus.SETTLED


async def test_the_invoice_demands_the_blocks_of_its_payer(sandbox: SandboxRig) -> None:
    made = await sandbox.backend.create_invoice(
        a_spec(hold_hash=HASH, min_cltv_expiry_delta=144)
    )

    assert bolt11.decode(made.invoice).min_final_cltv_delta == 144


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param({"min_cltv_expiry_delta": 0}, id="no-blocks"),
        pytest.param({"min_cltv_expiry_delta": 2017}, id="too-many-blocks"),
        pytest.param({"preimage": PREIMAGE}, id="with-its-preimage"),
        pytest.param({"hold_hash": "AB" * 32}, id="upper-case-hash"),
        pytest.param({"hold_hash": "ab" * 31}, id="short-hash"),
    ],
)
async def test_a_hold_invoice_that_cannot_be_made_is_refused(
    sandbox: SandboxRig, wrong: dict[str, str]
) -> None:
    with pytest.raises(BadRequest):
        await sandbox.backend.create_invoice(a_spec(**({"hold_hash": HASH} | wrong)))  # type: ignore[arg-type]

    assert await sandbox.backend.lookup_invoice(HASH) is None


async def test_a_hold_that_would_bring_more_than_all_bitcoin_stays_held(
    sandbox: SandboxRig,
) -> None:
    """Settling it is refused as a whole."""
    made = await sandbox.backend.create_invoice(a_spec(None, hold_hash=HASH))
    await sandbox.pay_from_outside(made.invoice, 21 * 10**17)

    with pytest.raises(BadRequest):
        await sandbox.backend.resolve_hold(HASH, PREIMAGE)

    assert (await found(sandbox, HASH)).status is InvoiceStatus.ACCEPTED
    assert states(await sandbox.show()) == ["pending"]


# --- keysends


async def to_outside(sandbox: SandboxRig, *, timeout_s: float = 1.0) -> KeysendRequest:
    return a_keysend(await sandbox.outside_pubkey(), timeout_s=timeout_s)


async def test_the_outside_node_keeps_the_records_of_a_keysend(sandbox: SandboxRig) -> None:
    request = a_keysend(
        await sandbox.outside_pubkey(), tlvs={7629169: b"boost", 34349334: b"\xff"}
    )

    await sandbox.backend.pay(request)

    payments = (await sandbox.show())["payments"]
    assert isinstance(payments, list)
    assert [each["tlv_records"] for each in payments] == [
        [{"type": 7629169, "value": b"boost".hex()}, {"type": 34349334, "value": "ff"}]
    ]


@pytest.mark.parametrize(
    ("command", "outcome", "available_msat"),
    [
        pytest.param("settle", Settled, START_MSAT - 5_005_000, id="settle"),
        pytest.param("cancel", Failed, START_MSAT, id="cancel"),
    ],
)
async def test_a_keysend_may_be_held(
    sandbox: SandboxRig, command: str, outcome: type, available_msat: int
) -> None:
    await sandbox.backend.command("keysends", {"answer": "hold"})
    request = await to_outside(sandbox, timeout_s=0)
    first = await sandbox.backend.pay(request)

    await sandbox.backend.command(command, {"payment_hash": ref(request).payment_hash})

    assert isinstance(first, InFlight)
    assert isinstance(await sandbox.backend.lookup_payment(ref(request)), outcome)
    assert (await sandbox.show())["node_available_msat"] == available_msat


async def test_a_keysend_may_be_refused_and_is_then_refused_for_good(
    sandbox: SandboxRig,
) -> None:
    await sandbox.backend.command("keysends", {"answer": "fail"})
    request = await to_outside(sandbox)
    first = await sandbox.backend.pay(request)
    await sandbox.backend.command("keysends", {"answer": "settle"})

    again = await sandbox.backend.pay(request)

    assert isinstance(first, Failed)
    assert first.reason is FailReason.REJECTED
    assert again == first
    assert states(await sandbox.show()) == ["failed"]


async def test_a_keysend_to_an_unknown_node_has_no_route(sandbox: SandboxRig) -> None:
    outcome = await sandbox.backend.pay(a_keysend(STRANGER))

    assert isinstance(outcome, Failed)
    assert outcome.reason is FailReason.NO_ROUTE


@pytest.mark.parametrize(
    ("destination", "words"),
    [
        pytest.param("own", "does not pay itself", id="itself"),
        pytest.param("02" + "ff" * 32, "no key of a node", id="no-key"),
    ],
)
async def test_a_keysend_that_the_node_will_not_send_is_not_on_its_books(
    sandbox: SandboxRig, destination: str, words: str
) -> None:
    own = (await sandbox.backend.start()).pubkey or ""

    outcome = await sandbox.backend.pay(a_keysend(own if destination == "own" else destination))

    assert isinstance(outcome, NotSent)
    assert words in outcome.detail
    assert states(await sandbox.show()) == []


async def test_a_lost_reply_of_a_keysend_is_unknown_and_found_later(
    sandbox: SandboxRig,
) -> None:
    request = await to_outside(sandbox)
    await sandbox.mode("lose-reply")

    outcome = await sandbox.backend.pay(request)

    assert isinstance(outcome, Unknown)
    assert isinstance(await sandbox.backend.lookup_payment(ref(request)), Settled)


async def test_an_unreachable_node_is_sent_no_keysend(sandbox: SandboxRig) -> None:
    request = await to_outside(sandbox)
    await sandbox.mode("unreachable")

    outcome = await sandbox.backend.pay(request)

    assert isinstance(outcome, NotSent)
    assert states(await sandbox.show()) == []


# --- offers


async def test_the_payee_gets_the_payers_note(sandbox: SandboxRig) -> None:
    """NWC-321: a non-empty payer_note must be delivered or rejected."""
    fetched = await sandbox.backend.fetch_invoice(
        await sandbox.make_outside_offer(AMOUNT_MSAT), amount_msat=None, payer_note="thanks"
    )

    await sandbox.backend.pay(a_fetched_request(fetched))

    payments = (await sandbox.show())["payments"]
    assert isinstance(payments, list)
    assert [each["payer_note"] for each in payments] == ["thanks"]


@pytest.mark.parametrize(
    ("answer", "outcome"), [("hold", InFlight), ("fail", Failed)], ids=["hold", "fail"]
)
async def test_an_outside_offer_may_hold_or_refuse(
    sandbox: SandboxRig, answer: str, outcome: type
) -> None:
    offer = await sandbox.make_outside_offer(AMOUNT_MSAT, **{answer: True})
    fetched = await sandbox.backend.fetch_invoice(offer, amount_msat=None, payer_note=None)

    paid = await sandbox.backend.pay(a_fetched_request(fetched, timeout_s=0))

    assert isinstance(paid, outcome)


async def test_what_was_fetched_expires(sandbox: SandboxRig) -> None:
    now = 1_800_000_000
    sandbox.backend.books.clock = lambda: now
    fetched = await sandbox.backend.fetch_invoice(
        await sandbox.make_outside_offer(AMOUNT_MSAT), amount_msat=None, payer_note=None
    )

    now = fetched.expires_at
    outcome = await sandbox.backend.pay(a_fetched_request(fetched))

    assert isinstance(outcome, NotSent)
    assert outcome.reason is FailReason.EXPIRED


async def test_what_was_fetched_is_read_as_it_was_told(sandbox: SandboxRig) -> None:
    fetched = await sandbox.backend.fetch_invoice(
        await sandbox.make_outside_offer(AMOUNT_MSAT), amount_msat=None, payer_note=None
    )

    read = await sandbox.backend.decode(fetched.invoice.upper())

    assert (read.payment_hash, read.amount_msat) == (fetched.payment_hash, AMOUNT_MSAT)
    assert (read.expires_at, read.payee) == (fetched.expires_at, fetched.payee)


async def test_an_offer_for_one_use_is_paid_once(sandbox: SandboxRig) -> None:
    made = await sandbox.backend.create_offer(an_offer_spec(single_use=True))
    await sandbox.pay_offer_from_outside(made.offer)

    with pytest.raises(BadRequest, match="used"):
        await sandbox.pay_offer_from_outside(made.offer)

    assert states(await sandbox.show()) == ["settled"]


@pytest.mark.parametrize(
    ("offered_msat", "amount_msat"),
    [(AMOUNT_MSAT, AMOUNT_MSAT - 1), (AMOUNT_MSAT, AMOUNT_MSAT + 1), (None, None)],
)
async def test_another_amount_of_an_offer_is_not_paid(
    sandbox: SandboxRig, offered_msat: int | None, amount_msat: int | None
) -> None:
    made = await sandbox.backend.create_offer(an_offer_spec(offered_msat))

    with pytest.raises(BadRequest, match=r"^amount_msat: "):
        await sandbox.pay_offer_from_outside(made.offer, amount_msat)


async def test_only_offers_of_the_service_are_paid_from_outside(sandbox: SandboxRig) -> None:
    with pytest.raises(BadRequest, match="not one of the service's node"):
        await sandbox.pay_offer_from_outside(await sandbox.make_outside_offer(AMOUNT_MSAT))


async def test_why_no_invoice_is_asked_for_is_told(sandbox: SandboxRig) -> None:
    own = await sandbox.backend.create_offer(an_offer_spec())
    foreign = bolt12.encode(network="mainnet", issuer_id=STRANGER)

    with pytest.raises(BadRequest, match="does not pay itself"):
        await sandbox.backend.fetch_invoice(own.offer, amount_msat=None, payer_note=None)
    with pytest.raises(BadRequest, match="another network"):
        await sandbox.backend.fetch_invoice(foreign, amount_msat=Msat(1), payer_note=None)


async def test_an_expired_offer_is_not_paid(sandbox: SandboxRig) -> None:
    made = await sandbox.backend.create_offer(an_offer_spec(expires_at=1))

    with pytest.raises(BadRequest, match="expired"):
        await sandbox.pay_offer_from_outside(made.offer)


@pytest.mark.parametrize("amount_msat", [0, -1, 10**19])
async def test_an_offer_that_cannot_be_made_is_refused(
    sandbox: SandboxRig, amount_msat: int
) -> None:
    with pytest.raises(BadRequest):
        await sandbox.backend.create_offer(an_offer_spec(amount_msat))


# --- the faults


ASKED: list[Callable[[LightningBackend], Awaitable[object]]] = [
    lambda b: b.resolve_hold(HASH, PREIMAGE),
    lambda b: b.create_offer(an_offer_spec(our_id="one")),
]


@pytest.mark.parametrize("ask", ASKED, ids=["settle", "offer"])
async def test_what_was_done_and_not_heard_of_is_done_when_asked_again(
    sandbox: SandboxRig, ask: Callable[[LightningBackend], Awaitable[object]]
) -> None:
    await a_held(sandbox)
    await sandbox.mode("lose-reply")
    with pytest.raises(BackendUnavailable):
        await ask(sandbox.backend)
    before = await sandbox.show()
    await sandbox.mode("normal")

    first = await ask(sandbox.backend)

    assert await ask(sandbox.backend) == first
    assert await sandbox.show() == before


async def test_an_invoice_for_an_offer_may_be_lost(sandbox: SandboxRig) -> None:
    offer = await sandbox.make_outside_offer(AMOUNT_MSAT)
    await sandbox.mode("lose-reply")

    with pytest.raises(BackendUnavailable):
        await sandbox.backend.fetch_invoice(offer, amount_msat=None, payer_note=None)


@pytest.mark.parametrize(
    "ask",
    [
        pytest.param(lambda b: b.resolve_hold(NOBODYS_HASH, None), id="resolve-hold"),
        pytest.param(lambda b: b.create_offer(an_offer_spec()), id="offer"),
        pytest.param(
            lambda b: b.fetch_invoice("lno1", amount_msat=Msat(1), payer_note=None), id="fetch"
        ),
        pytest.param(lambda b: b.sign_message("hello"), id="sign"),
        pytest.param(lambda b: b.decode("lni1"), id="decode"),
    ],
)
async def test_an_unreachable_node_answers_none_of_it(
    sandbox: SandboxRig, ask: Callable[[LightningBackend], Awaitable[object]]
) -> None:
    await sandbox.mode("unreachable")

    with pytest.raises(BackendUnavailable):
        await ask(sandbox.backend)


async def test_a_held_payment_survives_a_kill_of_the_service(sandbox: SandboxRig) -> None:
    await a_held(sandbox)

    await sandbox.reopen()

    await eventually(
        lambda: found(sandbox, HASH), lambda each: each.status is InvoiceStatus.ACCEPTED
    )
    assert states(await sandbox.show()) == ["pending"]
