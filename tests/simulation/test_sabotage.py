"""The simulator sees bugs: each of these is put into the service, and found in some seed."""

import asyncio
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from nwc_service import limits, record, spend
from nwc_service import outbox as flow_outbox
from nwc_service.answers import Answers
from nwc_service.backend import (
    BadRequest,
    Cursor,
    FetchedInvoice,
    InvoiceReport,
    InvoiceStatus,
    LightningBackend,
    PayRequest,
)
from nwc_service.credit import Crediter
from nwc_service.dispatcher import Dispatcher
from nwc_service.hold_end import HoldEnd
from nwc_service.holds import Holds
from nwc_service.methods import multi_pay, offer_payment
from nwc_service.methods.method import Wallet
from nwc_service.nip47 import transaction
from nwc_service.nip47.connection import Connection
from nwc_service.offers import OfferMaker
from nwc_service.reconciler import Reconciler
from nwc_service.record import Recorder
from nwc_service.spend import Spender
from nwc_service.store import connections, invoices, ledger, nodes, offers, outbox, requests
from nwc_service.store.connections import Standing
from nwc_service.store.database import Tx
from nwc_service.store.outbox import Outgoing
from nwc_service.store.requests import AlreadyClaimed, Claim
from nwc_service.wallet import payment as core
from nwc_service.wallet.errors import ErrorCode, RequestError
from nwc_service.wallet.offer import MadeOffer
from nwc_service.wallet.outcome import Failed, FailReason, Outcome, Settled, Unknown
from nwc_service.wallet.payment import Payment, PaymentKind, PaymentState, Proof, ProofKind
from nwc_service.wallet.units import BackendName, Msat
from tests.simulation.scenario import play
from tests.simulation.world import NEVER_AWAITED, World, run

pytestmark = pytest.mark.filterwarnings(f"ignore:{NEVER_AWAITED}")

SEEDS = range(1, 201)

Patch = pytest.MonkeyPatch


def release_on_unknown(patch: Patch) -> None:
    def apply(payment: Payment, outcome: Outcome, *, now: int) -> Any:
        if isinstance(outcome, Unknown):
            outcome = Failed(FailReason.TIMEOUT)
        return core.apply_outcome(payment, outcome, now=now)

    patch.setattr(record, "apply_outcome", apply)


def release_on_not_found(patch: Patch) -> None:
    async def not_found(
        self: Reconciler, payment: Payment, _backend: object, **_: object
    ) -> None:
        await self._spender.recorder.give_back(
            payment.payment_id,
            expected=payment.state,
            reason=FailReason.OTHER,
            proof=Proof(ProofKind.NOT_SENT, "not found"),
        )

    patch.setattr(Reconciler, "_not_found", not_found)


def resend_on_not_found(patch: Patch) -> None:
    async def not_found(
        self: Reconciler, payment: Payment, backend: LightningBackend, **_: object
    ) -> None:
        outcome = await backend.pay(
            PayRequest(
                our_id=payment.payment_id,
                invoice=payment.invoice,
                payment_hash=payment.payment_hash,
                amount_msat=payment.amount_msat,
                amount_is_override=payment.amount_is_override,
                max_fee_msat=payment.fee_reserve_msat,
                timeout_s=10,
            )
        )
        await self._spender.recorder.record(payment.payment_id, outcome)

    patch.setattr(Reconciler, "_not_found", not_found)


def rule_h_without_margin(patch: Patch) -> None:
    patch.setattr(Payment, "is_unpayable", lambda self, now: now > self.expires_at)


def send_before_it_is_durable(patch: Patch) -> None:
    dispatch = Spender._dispatch

    async def later(spender: Spender, payment: Payment) -> None:
        await dispatch(spender, payment)

    async def hasty(self: Spender, payment: Payment) -> Payment | None:
        self._spawn(later(self, payment))
        return replace(payment, state=PaymentState.DISPATCHED)

    patch.setattr(Spender, "_dispatch", hasty)


def credit_again(patch: Patch) -> None:
    insert = invoices.insert_receipt

    async def always_new(*arguments: Any, **named: Any) -> bool:
        await insert(*arguments, **named)
        return True

    patch.setattr(invoices, "insert_receipt", always_new)


def forget_the_claim(patch: Patch) -> None:
    claim = requests.claim

    async def forgetful(*arguments: Any, **named: Any) -> None:
        try:
            await claim(*arguments, **named)
        except AlreadyClaimed:
            return

    patch.setattr(requests, "claim", forgetful)


def believe_any_preimage(patch: Patch) -> None:
    patch.setattr(core, "proves", lambda _preimage, _payment_hash: True)


def keep_the_rest_of_the_reserve(patch: Patch) -> None:
    """The user pays the whole reserve, whatever the fee was."""

    def apply(payment: Payment, outcome: Outcome, *, now: int) -> Any:
        if isinstance(outcome, Settled):
            outcome = replace(outcome, fee_msat=None)
        return core.apply_outcome(payment, outcome, now=now)

    patch.setattr(record, "apply_outcome", apply)


def book_no_late_success(patch: Patch) -> None:
    patch.setattr(Recorder, "_book_late_success", _nothing)


def keep_the_answer_in_memory(patch: Patch) -> None:
    patch.setattr(outbox, "insert", _nothing)


def answer_before_the_commit(patch: Patch) -> None:
    """The answer is published by the work itself, which a batch may undo."""
    store, init = Answers.store, flow_outbox.Outbox.__init__
    outboxes: list[flow_outbox.Outbox] = []

    async def hasty(self: Answers, *arguments: Any, **named: Any) -> list[Outgoing]:
        stored = await store(self, *arguments, **named)
        outboxes[-1].push(stored)
        return stored

    def remembered(self: flow_outbox.Outbox, *arguments: Any, **named: Any) -> None:
        init(self, *arguments, **named)
        outboxes.append(self)

    patch.setattr(flow_outbox.Outbox, "__init__", remembered)
    patch.setattr(Answers, "store", hasty)


def date_anew_what_was_taken(patch: Patch) -> None:
    resend = flow_outbox.Outbox.resend

    def fresh(self: flow_outbox.Outbox, connection_id: Any, outgoing: Outgoing) -> None:
        connection = self._directory.by_id(connection_id)
        if connection is None:
            return
        event = self._answers.redate(connection, flow_outbox.event_of(outgoing))
        resend(self, connection_id, replace(outgoing, event=event.to_json()))

    patch.setattr(flow_outbox.Outbox, "resend", fresh)


def look_up_nothing(patch: Patch) -> None:
    patch.setattr(Reconciler, "look_up_payments", _nothing)


def recover_no_answer(patch: Patch) -> None:
    patch.setattr(flow_outbox.Outbox, "recover", _nothing)


def give_no_budget_back(patch: Patch) -> None:
    patch.setattr(limits, "give_back", _nothing)


def reserve_no_fee(patch: Patch) -> None:
    patch.setattr(
        spend,
        "reserve_entries",
        lambda payment: core.reserve_entries(replace(payment, fee_reserve_msat=Msat(0))),
    )


async def _nothing(*_: object, **__: object) -> None:
    pass


async def _nobody(*_: object, **__: object) -> list[Outgoing]:
    return []


async def _served(*_: object, **__: object) -> Standing:
    return Standing.SERVED


def queue_no_cancel(patch: Patch) -> None:
    patch.setattr(invoices, "queue_cancellation", _nothing)


def send_through_a_paused_backend(patch: Patch) -> None:
    patch.setattr(nodes, "paused", _nothing)


def obey_a_revoked_connection(patch: Patch) -> None:
    patch.setattr(connections, "standing", _served)
    patch.setattr(Connection, "is_live", lambda _self, _now: True)


# --- in the other ways that money moves


def credit_what_is_only_held(patch: Patch) -> None:
    async def accept(
        self: Holds, name: BackendName, report: InvoiceReport, **named: Any
    ) -> None:
        settled = replace(report, status=InvoiceStatus.SETTLED)
        await self._crediter.credit(name, settled, **named)

    patch.setattr(Holds, "_accept", accept)


def hold_for_ever(patch: Patch) -> None:
    patch.setattr(Holds, "end_overdue", _nothing)


def tell_no_node_what_was_decided(patch: Patch) -> None:
    patch.setattr(Holds, "_resolve", _nothing)


def give_no_held_money_back(patch: Patch) -> None:
    patch.setattr(HoldEnd, "_give_back", _nobody)


def credit_whoever_comes_first(patch: Patch) -> None:
    """Not the account that a keysend names."""

    async def first(tx: Any, _keysend_id: str) -> ledger.Account | None:
        return await ledger.account_named(tx, "account0")

    patch.setattr(ledger, "account_of_keysend", first)


def answer_all_items_alike(patch: Patch) -> None:
    """Without telling which of them an answer is about."""
    claim_of = multi_pay._claim_of

    def nameless(*arguments: Any, **named: Any) -> Claim:
        return replace(claim_of(*arguments, **named), d_tag=None)

    patch.setattr(multi_pay, "_claim_of", nameless)


def forget_what_was_interrupted(patch: Patch) -> None:
    patch.setattr(Dispatcher, "recover", _nobody)


def raise_no_alarm(patch: Patch) -> None:
    patch.setattr(Reconciler, "_alarm", _nothing)


# --- offers


def credit_the_newest_offer(patch: Patch) -> None:
    """Whatever offer the node names."""

    async def newest(tx: Tx, **_: object) -> MadeOffer | None:
        row = await tx.one(
            "SELECT offer_id FROM offer WHERE state = 'ACTIVE' ORDER BY created_at DESC"
        )
        return await offers.offer(tx, row["offer_id"]) if row else None

    patch.setattr(offers, "of_node", newest)


def pay_whatever_was_fetched(patch: Patch) -> None:
    async def fetch(wallet: Wallet, order: offer_payment.Order) -> FetchedInvoice:
        try:
            async with asyncio.timeout(offer_payment.FETCH_TIMEOUT_S):
                return await wallet.backend.fetch_invoice(
                    order.offer.offer,
                    amount_msat=order.amount_msat,
                    payer_note=order.payer_note,
                )
        except (BadRequest, TimeoutError) as error:
            raise RequestError(ErrorCode.PAYMENT_FAILED, "no invoice") from error

    patch.setattr(offer_payment, "_fetch", fetch)


def rule_h_for_offers(patch: Patch) -> None:
    not_found = Reconciler._not_found

    async def dated(self: Reconciler, payment: Payment, *rest: Any, **named: Any) -> None:
        if payment.kind is PaymentKind.BOLT12:
            payment = replace(payment, kind=PaymentKind.BOLT11)
        await not_found(self, payment, *rest, **named)

    patch.setattr(Reconciler, "_not_found", dated)


def drop_the_receipt_beside_another(patch: Patch) -> None:
    """What `receive` gave out is paid, so its offer is taken to be paid."""
    credit = Crediter._credit

    async def once(
        self: Crediter,
        tx: Tx,
        backend: BackendName,
        *,
        report: InvoiceReport,
        cursor: Cursor | None,
    ) -> list[Outgoing]:
        paid = await tx.one(
            "SELECT 1 AS paid FROM offer JOIN invoice USING (request_id)"
            " WHERE offer.node_offer_id = :name AND invoice.state = 'SETTLED'",
            name=report.node_offer_id,
        )
        if paid is None:
            return await credit(self, tx, backend, report=report, cursor=cursor)
        if cursor is not None:
            await invoices.set_cursor(tx, backend, cursor, payment_hash=None)
        return []

    patch.setattr(Crediter, "_credit", once)


def order_another_offer_each_time(patch: Patch) -> None:
    create = OfferMaker._create

    async def other(self: OfferMaker, offer: MadeOffer, **named: Any) -> Any:
        return await create(self, replace(offer, offer_id=offer.offer_id[::-1]), **named)

    patch.setattr(OfferMaker, "_create", other)


def forget_what_offers_were_claimed(patch: Patch) -> None:
    patch.setattr(OfferMaker, "resume", _nothing)


def settle_a_single_use_inside(patch: Patch) -> None:
    async def any_of_ours(tx: Tx, offer: str) -> MadeOffer | None:
        row = await tx.one("SELECT offer_id FROM offer WHERE offer = :offer", offer=offer)
        return await offers.offer(tx, row["offer_id"]) if row else None

    patch.setattr(offers, "payable_inside", any_of_ours)


def tell_what_was_charged_as_the_amount(patch: Patch) -> None:
    told = transaction.instruction_result

    def with_the_fee(payment: Payment) -> dict[str, object]:
        charged_msat = payment.amount_msat + (payment.fee_msat or 0)
        return told(payment) | {"amount": charged_msat}

    patch.setattr(transaction, "instruction_result", with_the_fee)


def tell_of_the_invoice_alone(patch: Patch) -> None:
    patch.setattr(offers, "beside_invoice", _nothing)


SABOTAGES: dict[Callable[[Patch], None], str] = {
    release_on_unknown: "given back and paid",
    release_on_not_found: "given back and paid",
    resend_on_not_found: "I11",
    rule_h_without_margin: "rule H|given back and paid",
    send_before_it_is_durable: "I11",
    credit_again: "credited",
    forget_the_claim: "IntegrityError",
    believe_any_preimage: "I8",
    keep_the_rest_of_the_reserve: "the row differs",
    book_no_late_success: "late success was never booked",
    keep_the_answer_in_memory: "answers, not 1|never answered",
    answer_before_the_commit: "answered differently",
    date_anew_what_was_taken: "I12: another answer",
    look_up_nothing: "stuck without an alarm|is still",
    recover_no_answer: "never answered|never published",
    give_no_budget_back: "I15",
    reserve_no_fee: "I4",
    queue_no_cancel: "I16",
    send_through_a_paused_backend: "I20",
    obey_a_revoked_connection: "I14",
    credit_what_is_only_held: "credited",
    hold_for_ever: "is still ACCEPTED",
    tell_no_node_what_was_decided: "no node heard",
    give_no_held_money_back: "I16|is RESERVED",
    credit_whoever_comes_first: "names|owns",
    answer_all_items_alike: "answered differently",
    forget_what_was_interrupted: "never answered",
    raise_no_alarm: "stuck without an alarm",
    credit_the_newest_offer: "of another offer|owns",
    pay_whatever_was_fetched: "msat for|the row differs",
    rule_h_for_offers: "given back and paid",
    drop_the_receipt_beside_another: "credited 0",
    order_another_offer_each_time: "which nobody wants",
    forget_what_offers_were_claimed: "never made nor refused",
    settle_a_single_use_inside: "single use",
    tell_what_was_charged_as_the_amount: "I13: pay",
    tell_of_the_invoice_alone: "I13: request",
}


@pytest.mark.parametrize("sabotage", SABOTAGES, ids=lambda sabotage: sabotage.__name__)
def test_the_simulator_finds(sabotage: Callable[[Patch], None], monkeypatch: Patch) -> None:
    sabotage(monkeypatch)

    assert found_at(SABOTAGES[sabotage]) is not None


def found_at(expected: str) -> tuple[int, str] | None:
    """The first seed that shows this problem, and how."""
    for seed in SEEDS:
        world = World(seed)
        run(world, play)
        for problem in world.problems:
            if re.search(expected, problem):
                return seed, problem
    return None
