"""Outgoing payments. Every change of state names the state that it expects."""

from nwc_service.store.database import Row, Tx
from nwc_service.wallet.payment import Payment, PaymentKind, PaymentState, Proof, ProofKind
from nwc_service.wallet.units import (
    AccountId,
    BackendName,
    ConnectionId,
    Msat,
    PaymentHash,
    PaymentId,
    Preimage,
)

COLUMNS = (
    "payment_id, account_id, connection_id, kind, state, backend, payment_hash, invoice,"
    " description, description_hash, amount_msat, amount_is_override, fee_reserve_msat,"
    " fee_msat, preimage, metadata, created_at, expires_at, dispatched_at, unpayable_at,"
    " accepted_at, settled_at, proof_kind, proof, heard, heard_at, budget_period,"
    " parent_budget_period, payee, own_preimage, tlv_records, offer, bolt12_id,"
    " payer_note, account_day"
)
_PAYMENT = f"SELECT {COLUMNS} FROM payment"
_LIVE = "state IN ('RESERVED', 'DISPATCHED', 'UNKNOWN')"


async def insert(tx: Tx, payment: Payment) -> bool:
    """False when a live or settled payment of this hash exists, of whatever account (I5)."""
    row = await tx.one(
        f"INSERT INTO payment ({COLUMNS}) VALUES (:payment_id, :account_id, :connection_id,"
        " :kind, :state, :backend, :payment_hash, :invoice, :description, :description_hash,"
        " :amount_msat, :amount_is_override, :fee_reserve_msat, :fee_msat, :preimage,"
        " :metadata, :created_at, :expires_at, :dispatched_at, :unpayable_at, :accepted_at,"
        " :settled_at, :proof_kind, :proof, :heard, :heard_at,"
        " :budget_period, :parent_budget_period, :payee, :own_preimage, :tlv_records,"
        " :offer, :bolt12_id, :payer_note, :account_day)"
        " ON CONFLICT (payment_hash) WHERE state <> 'RELEASED' DO NOTHING"
        " RETURNING payment_id",
        payment_id=payment.payment_id,
        account_id=payment.account_id,
        connection_id=payment.connection_id,
        kind=payment.kind,
        state=payment.state,
        backend=payment.backend,
        payment_hash=payment.payment_hash,
        invoice=payment.invoice,
        description=payment.description,
        description_hash=payment.description_hash,
        amount_msat=payment.amount_msat,
        amount_is_override=int(payment.amount_is_override),
        fee_reserve_msat=payment.fee_reserve_msat,
        fee_msat=payment.fee_msat,
        preimage=payment.preimage,
        metadata=payment.metadata,
        created_at=payment.created_at,
        expires_at=payment.expires_at,
        dispatched_at=payment.dispatched_at,
        unpayable_at=payment.unpayable_at,
        accepted_at=payment.accepted_at,
        settled_at=payment.settled_at,
        proof_kind=payment.proof.kind if payment.proof else None,
        proof=payment.proof.detail if payment.proof else None,
        heard=payment.heard,
        heard_at=payment.heard_at,
        budget_period=payment.budget_period,
        parent_budget_period=payment.parent_budget_period,
        payee=payment.payee,
        own_preimage=payment.own_preimage,
        tlv_records=payment.tlv_records,
        offer=payment.offer,
        bolt12_id=payment.bolt12_id,
        payer_note=payment.payer_note,
        account_day=payment.account_day,
    )
    return row is not None


async def update(tx: Tx, payment: Payment, *, expected: PaymentState) -> bool:
    """Store the new state and what belongs to it; False when it was not `expected` any more.

    A payment that was dispatched stays pinned to its backend (I10).
    """
    row = await tx.one(
        "UPDATE payment SET state = :state, backend = :backend, fee_msat = :fee_msat,"
        " preimage = :preimage, dispatched_at = :dispatched_at, unpayable_at = :unpayable_at,"
        " accepted_at = :accepted_at, settled_at = :settled_at,"
        " proof_kind = :proof_kind, proof = :proof, heard = :heard, heard_at = :heard_at"
        " WHERE payment_id = :payment_id AND account_id = :account_id AND state = :expected"
        " AND (backend IS NULL OR backend = :backend)"
        " RETURNING payment_id",
        payment_id=payment.payment_id,
        account_id=payment.account_id,
        state=payment.state,
        backend=payment.backend,
        fee_msat=payment.fee_msat,
        preimage=payment.preimage,
        dispatched_at=payment.dispatched_at,
        unpayable_at=payment.unpayable_at,
        accepted_at=payment.accepted_at,
        settled_at=payment.settled_at,
        proof_kind=payment.proof.kind if payment.proof else None,
        proof=payment.proof.detail if payment.proof else None,
        heard=payment.heard,
        heard_at=payment.heard_at,
        expected=expected,
    )
    return row is not None


async def payment(tx: Tx, payment_id: PaymentId) -> Payment | None:
    row = await tx.one(f"{_PAYMENT} WHERE payment_id = :payment_id", payment_id=payment_id)
    return from_row(row) if row else None


async def standing(tx: Tx, payment_hash: PaymentHash) -> Payment | None:
    """The one live or settled payment of this hash in the whole ledger."""
    row = await tx.one(
        f"{_PAYMENT} WHERE payment_hash = :payment_hash AND state <> 'RELEASED'",
        payment_hash=payment_hash,
    )
    return from_row(row) if row else None


async def live(tx: Tx) -> list[Payment]:
    """Without those that are held inside the ledger, of which no backend can tell."""
    rows = await tx.all(
        f"{_PAYMENT} WHERE {_LIVE} AND kind <> 'internal_hold' ORDER BY created_at"
    )
    return [from_row(row) for row in rows]


async def live_count(tx: Tx, *, account_id: AccountId | None = None) -> int:
    if account_id is None:
        row = await tx.one(f"SELECT count(*) AS live FROM payment WHERE {_LIVE}")
    else:
        row = await tx.one(
            f"SELECT count(*) AS live FROM payment WHERE account_id = :account_id AND {_LIVE}",
            account_id=account_id,
        )
    return int(row["live"]) if row else 0


async def live_states(tx: Tx) -> dict[PaymentState, tuple[int, int | None]]:
    """Of each state that is not final, how many there are and when the first was sent."""
    rows = await tx.all(
        "SELECT state, count(*) AS payments, min(dispatched_at) AS first FROM payment"
        f" WHERE {_LIVE} GROUP BY state"
    )
    return {PaymentState(row["state"]): (row["payments"], row["first"]) for row in rows}


async def in_doubt_msat(tx: Tx) -> Msat:
    """What is held for payments that may have left or not: neither owed nor spent for sure."""
    row = await tx.one(
        "SELECT coalesce(sum(amount_msat + fee_reserve_msat), 0) AS held_msat FROM payment"
        " WHERE state IN ('DISPATCHED', 'UNKNOWN')"
    )
    return Msat(int(row["held_msat"]) if row else 0)


async def was_sent_as_another(tx: Tx, payment: Payment) -> bool:
    """Whether its hash was sent before with another invoice, or with none, and given back.

    A node that has paid that after all calls this one paid by it, whatever it is for.
    """
    row = await tx.one(
        "SELECT 1 AS found FROM payment WHERE payment_hash = :payment_hash"
        " AND state = 'RELEASED' AND dispatched_at IS NOT NULL"
        " AND (invoice <> :invoice OR :invoice = '')",
        payment_hash=payment.payment_hash,
        invoice=payment.invoice,
    )
    return row is not None


async def was_paid_late(
    tx: Tx, payment_hash: PaymentHash, *, backend: BackendName | None = None
) -> bool:
    """Whether the operator paid for a success of this hash that came after the release."""
    through = "" if backend is None else " AND payment.backend = :backend"
    row = await tx.one(
        "SELECT 1 AS found FROM payment JOIN entry ON entry.payment_id = payment.payment_id"
        " WHERE payment.payment_hash = :payment_hash AND payment.state = 'RELEASED'"
        f" AND entry.kind = 'overage'{through}",
        payment_hash=payment_hash,
        backend=backend,
    )
    return row is not None


async def newest_settled(
    tx: Tx, backend: BackendName, *, since: int, limit: int
) -> list[Payment]:
    """What this backend was sent last and said that it paid: it can never become unknown to it.

    In the order of our own clock, for the backend's may be wrong; without what an operator
    stated.
    """
    rows = await tx.all(
        f"{_PAYMENT} WHERE backend = :backend AND state = 'SETTLED' AND kind <> 'internal'"
        " AND proof_kind IS NULL AND dispatched_at > :since"
        " ORDER BY dispatched_at DESC, payment_id DESC LIMIT :limit",
        backend=backend,
        since=since,
        limit=limit,
    )
    return [from_row(row) for row in rows]


async def doubt_reserved(tx: Tx, *, margin_s: int, now: int) -> int:
    """Take every reserved payment for one that may have been sent; how many there were."""
    return await tx.run(
        "UPDATE payment SET state = 'UNKNOWN', dispatched_at = created_at,"
        " unpayable_at = expires_at + :margin_s, heard = 'the database was restored',"
        " heard_at = :now WHERE state = 'RESERVED' AND kind <> 'internal_hold'",
        margin_s=margin_s,
        now=now,
    )


async def released_after_sending(
    tx: Tx, backend: BackendName, *, since: int, after: PaymentId, limit: int
) -> list[Payment]:
    """Given back since then although they were sent, from `after` on in the order of ids.

    Left out are those whose hash another payment through this backend has settled or may
    settle: its answer about that hash would be the other's.
    """
    return await _released(
        tx,
        "payment_id > :after ORDER BY payment_id",
        backend=backend,
        since=since,
        after=after,
        limit=limit,
    )


async def released_lately(
    tx: Tx, backend: BackendName, *, since: int, limit: int
) -> list[Payment]:
    """As `released_after_sending`, the newest first."""
    return await _released(
        tx, "0 = 0 ORDER BY settled_at DESC", backend=backend, since=since, limit=limit
    )


async def _released(tx: Tx, which: str, **values: str | int) -> list[Payment]:
    rows = await tx.all(
        f"{_PAYMENT} WHERE backend = :backend AND state = 'RELEASED'"
        " AND dispatched_at IS NOT NULL AND settled_at >= :since"
        " AND NOT EXISTS (SELECT 1 FROM payment AS other"
        " WHERE other.payment_hash = payment.payment_hash AND other.state <> 'RELEASED'"
        f" AND other.backend = payment.backend) AND {which} LIMIT :limit",
        **values,
    )
    return [from_row(row) for row in rows]


def made_by(connection_id: ConnectionId | None) -> str:
    """The condition that narrows an account's rows to one connection's, where given."""
    return "" if connection_id is None else " AND connection_id = :connection_id"


def with_invoice(invoice: str | None) -> str:
    """The condition that narrows the rows of a hash to this very invoice's, where given."""
    return "" if invoice is None else " AND invoice = :invoice"


async def of_account(
    tx: Tx,
    *,
    account_id: AccountId,
    payment_hash: PaymentHash,
    connection_id: ConnectionId | None,
    invoice: str | None = None,
) -> Payment | None:
    """The newest of this hash that the account made; of one connection, and of one invoice,
    only where given."""
    row = await tx.one(
        f"{_PAYMENT} WHERE account_id = :account_id AND payment_hash = :payment_hash"
        f"{made_by(connection_id)}{with_invoice(invoice)}"
        " ORDER BY created_at DESC, payment_id DESC LIMIT 1",
        account_id=account_id,
        payment_hash=payment_hash,
        connection_id=connection_id,
        invoice=invoice,
    )
    return from_row(row) if row else None


def from_row(row: Row) -> Payment:
    def msat(name: str) -> Msat | None:
        return None if row[name] is None else Msat(row[name])

    return Payment(
        payment_id=PaymentId(row["payment_id"]),
        account_id=AccountId(row["account_id"]),
        connection_id=row["connection_id"],
        kind=PaymentKind(row["kind"]),
        state=PaymentState(row["state"]),
        backend=None if row["backend"] is None else BackendName(row["backend"]),
        payment_hash=PaymentHash(row["payment_hash"]),
        invoice=row["invoice"],
        description=row["description"],
        description_hash=row["description_hash"],
        amount_msat=Msat(row["amount_msat"]),
        amount_is_override=bool(row["amount_is_override"]),
        fee_reserve_msat=Msat(row["fee_reserve_msat"]),
        fee_msat=msat("fee_msat"),
        preimage=None if row["preimage"] is None else Preimage(row["preimage"]),
        metadata=row["metadata"],
        created_at=row["created_at"],
        expires_at=row["expires_at"],
        dispatched_at=row["dispatched_at"],
        unpayable_at=row["unpayable_at"],
        accepted_at=row["accepted_at"],
        settled_at=row["settled_at"],
        proof=Proof(ProofKind(row["proof_kind"]), row["proof"]) if row["proof"] else None,
        heard=row["heard"],
        heard_at=row["heard_at"],
        budget_period=row["budget_period"],
        parent_budget_period=row["parent_budget_period"],
        payee=row["payee"],
        own_preimage=None if row["own_preimage"] is None else Preimage(row["own_preimage"]),
        tlv_records=row["tlv_records"],
        offer=row["offer"],
        bolt12_id=row["bolt12_id"],
        payer_note=row["payer_note"],
        account_day=row["account_day"],
    )
