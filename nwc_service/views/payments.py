"""Payments in both directions, a page at a time, and the whole life of one."""

from dataclasses import dataclass
from typing import Literal

from nwc_service import cursors
from nwc_service.nip47 import transaction
from nwc_service.store import decisions, history, invoices, ledger, payments, trail
from nwc_service.store.database import Tx
from nwc_service.store.history import Query
from nwc_service.views.accounts import named
from nwc_service.views.view import View, page, rows
from nwc_service.wallet.errors import NotFound
from nwc_service.wallet.invoice import Invoice
from nwc_service.wallet.payment import LIVE_STATES, Payment
from nwc_service.wallet.units import (
    AccountId,
    ConnectionId,
    InvoiceId,
    PaymentHash,
    PaymentId,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentFilter:
    """`since` and `until` are inclusive and on creation time."""

    account: str | None = None
    connection_id: str | None = None
    direction: Literal["incoming", "outgoing"] | None = None
    since: int = 0
    until: int | None = None


async def payment_page(
    tx: Tx, *, wanted: PaymentFilter, cursor: str | None, limit: int, now: int
) -> View:
    """`items`, newest first, and the `next_cursor`, None at the end. Raises NotFound, and
    Refused for a cursor that is none."""
    account_id = connection_id = None
    if wanted.account is not None:
        account_id = (await named(tx, wanted.account)).account_id
    if wanted.connection_id is not None:
        connection_id = ConnectionId(wanted.connection_id)
    query = Query(
        account_id=account_id,
        connection_id=connection_id,
        since=wanted.since,
        until=wanted.until,
        incoming=wanted.direction != "outgoing",
        outgoing=wanted.direction != "incoming",
        limit=limit + 1,
        after=None if cursor is None else cursors.place_of(cursor),
    )
    found, names = await history.search(tx, query), {}
    for owner_id in {item.account_id for item in found}:
        owner = await ledger.account(tx, owner_id)
        names[owner_id] = owner.name if owner else ""
    return page(
        [_payment_view(item, names=names, now=now) for item in found],
        limit=limit,
        cursor=lambda: cursors.after(history.place_of(found[limit - 1])),
    )


async def payment(tx: Tx, name: str, *, now: int) -> View:
    """All that the books hold about the payment or invoice of this id or payment hash."""
    found = await outgoing(tx, name) or await _incoming(tx, name)
    if found is None:
        raise NotFound(f"there is no payment {name!r}")
    owner = await ledger.account(tx, found.account_id)
    names = {owner.account_id: owner.name} if owner else {}
    shown = _payment_view(found, names=names, now=now)
    if isinstance(found, Invoice):
        return shown | await _history_in(tx, found)
    return shown | await _history_out(tx, found)


async def users_page(
    tx: Tx, *, account_id: AccountId, cursor: str | None, limit: int, now: int
) -> View:
    """As `payment_page`, of one account, as its user sees it."""
    query = Query(
        account_id=account_id,
        limit=limit + 1,
        after=None if cursor is None else cursors.place_of(cursor),
    )
    found = await history.search(tx, query)
    return page(
        [_users_view(item, now=now) for item in found],
        limit=limit,
        cursor=lambda: cursors.after(history.place_of(found[limit - 1])),
    )


async def users_payment(tx: Tx, name: str, *, account_id: AccountId, now: int) -> View:
    """Raises NotFound, in the same words, for what is another account's."""
    found = await payments.payment(tx, PaymentId(name)) or await invoices.invoice(
        tx, InvoiceId(name)
    )
    if found is None or found.account_id != account_id:
        raise NotFound(f"there is no payment {name!r}")
    return _users_view(found, now=now) | {"invoice": found.invoice}


def _users_view(item: Invoice | Payment, *, now: int) -> View:
    """Nothing of how the operator carries it out."""
    shown = _payment_view(item, names={}, now=now)
    hidden = ("account", "backend")
    left = {name: value for name, value in shown.items() if name not in hidden}
    return left | {"description": item.description}


async def outgoing(tx: Tx, name: str) -> Payment | None:
    """By its id, or by its payment hash: the live or settled one, else the newest."""
    found = await payments.payment(tx, PaymentId(name))
    of_hash = [] if found else await trail.payments_of(tx, PaymentHash(name))
    return next(iter(of_hash), found)


async def _incoming(tx: Tx, name: str) -> Invoice | None:
    found = await invoices.invoice(tx, InvoiceId(name))
    return found or await trail.invoice_of(tx, PaymentHash(name))


async def _history_out(tx: Tx, payment: Payment) -> View:
    """`final_at` is also when it was released."""
    proof = payment.proof
    return {
        "row_state": payment.state,
        "kind": payment.kind,
        "fee_reserve_msat": payment.fee_reserve_msat,
        "held_msat": payment.held_msat if payment.state in LIVE_STATES else 0,
        "invoice": payment.invoice,
        "dispatched_at": payment.dispatched_at,
        "accepted_at": payment.accepted_at,
        "expires_at": payment.expires_at,
        "unpayable_at": payment.unpayable_at,
        "final_at": payment.settled_at,
        "heard": payment.heard,
        "heard_at": payment.heard_at,
        "preimage": _is_stored(payment),
        "proof": {"kind": proof.kind, "detail": proof.detail} if proof else None,
        "same_hash": await _same_hash(tx, payment),
        "entries": rows(await trail.entries(tx, payment.payment_id)),
        "requests": rows(await trail.requests_of(tx, payment.payment_id)),
        **await _attention(tx, payment.payment_id),
    }


async def _history_in(tx: Tx, invoice: Invoice) -> View:
    payment_hash, received, requests = invoice.payment_hash, [], []
    if payment_hash is not None:
        received = await trail.receipts(tx, backend=invoice.backend, payment_hash=payment_hash)
    if invoice.request_id is not None:
        requests = await trail.request(tx, invoice.request_id)
    return {
        "row_state": invoice.state,
        "invoice": invoice.invoice,
        "expires_at": invoice.expires_at,
        "preimage": _is_stored(invoice),
        "same_hash": await _same_hash(tx, invoice),
        "receipts": rows(received),
        "requests": rows(requests),
        **await _attention(tx, invoice.invoice_id),
    }


def _is_stored(item: Invoice | Payment) -> str | None:
    """Never the preimage itself: whoever has it can take or claim the money."""
    return None if item.preimage is None else "stored"


async def _same_hash(tx: Tx, item: Invoice | Payment) -> list[str]:
    """What else has this payment hash: earlier attempts, the other side of an internal one."""
    if item.payment_hash is None:
        return []
    invoice = await trail.invoice_of(tx, item.payment_hash)
    found: list[str] = [
        payment.payment_id for payment in await trail.payments_of(tx, item.payment_hash)
    ]
    if invoice is not None:
        found.append(invoice.invoice_id)
    own = item.invoice_id if isinstance(item, Invoice) else item.payment_id
    return [each for each in found if each != own]


async def _attention(tx: Tx, subject: str) -> View:
    return {
        "alarms": rows(await trail.alarms_about(tx, subject)),
        "decisions": rows(await decisions.decisions(tx, subject=subject)),
    }


def _payment_view(item: Invoice | Payment, *, names: dict[AccountId, str], now: int) -> View:
    if isinstance(item, Invoice):
        received_msat = item.received_msat
        shown: View = {
            "payment_id": item.invoice_id,
            "direction": "incoming",
            "state": transaction.incoming_state(item, now=now),
            "amount_msat": item.amount_msat if received_msat is None else received_msat,
            "fee_msat": 0,
            "settled_at": item.settled_at,
        }
    else:
        shown = {
            "payment_id": item.payment_id,
            "direction": "outgoing",
            "state": transaction.OUTGOING_STATES[item.state],
            "amount_msat": item.amount_msat,
            "fee_msat": item.fee_msat,
            "settled_at": item.settled_at if item.fee_msat is not None else None,
        }
    return {
        "payment_id": shown["payment_id"],
        "account": names.get(item.account_id),
        "connection_id": item.connection_id,
        "direction": shown["direction"],
        "state": shown["state"],
        "payment_hash": item.payment_hash,
        "amount_msat": shown["amount_msat"],
        "fee_msat": shown["fee_msat"],
        "backend": item.backend,
        "created_at": item.created_at,
        "settled_at": shown["settled_at"],
    }
