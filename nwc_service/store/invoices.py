"""Incoming invoices, the receipts that credit them, and the streams that report them."""

from nwc_service.store.database import Row, Tx
from nwc_service.store.payments import made_by, with_invoice
from nwc_service.wallet.invoice import Invoice, InvoiceState, Resolution
from nwc_service.wallet.units import (
    AccountId,
    BackendName,
    ConnectionId,
    InvoiceId,
    Msat,
    PaymentHash,
    Preimage,
)

COLUMNS = (
    "invoice_id, account_id, connection_id, request_id, backend, state, payment_hash, invoice,"
    " description, description_hash, amount_msat, received_msat, preimage, metadata,"
    " created_at, expires_at, settled_at, is_hold, min_cltv_expiry_delta, accepted_at,"
    " settle_deadline, payer_payment_id, resolution, offer_id, payer_note, address"
)
_INVOICE = f"SELECT {COLUMNS} FROM invoice"


async def insert(tx: Tx, invoice: Invoice) -> None:
    await tx.run(
        f"INSERT INTO invoice ({COLUMNS}) VALUES (:invoice_id, :account_id, :connection_id,"
        " :request_id, :backend, :state, :payment_hash, :invoice, :description,"
        " :description_hash, :amount_msat, :received_msat, :preimage, :metadata, :created_at,"
        " :expires_at, :settled_at, :is_hold, :min_cltv_expiry_delta, :accepted_at,"
        " :settle_deadline, :payer_payment_id, :resolution, :offer_id, :payer_note, :address)",
        invoice_id=invoice.invoice_id,
        account_id=invoice.account_id,
        connection_id=invoice.connection_id,
        request_id=invoice.request_id,
        backend=invoice.backend,
        state=invoice.state,
        payment_hash=invoice.payment_hash,
        invoice=invoice.invoice,
        description=invoice.description,
        description_hash=invoice.description_hash,
        amount_msat=invoice.amount_msat,
        received_msat=invoice.received_msat,
        preimage=invoice.preimage,
        metadata=invoice.metadata,
        created_at=invoice.created_at,
        expires_at=invoice.expires_at,
        settled_at=invoice.settled_at,
        is_hold=int(invoice.is_hold),
        min_cltv_expiry_delta=invoice.min_cltv_expiry_delta,
        accepted_at=invoice.accepted_at,
        settle_deadline=invoice.settle_deadline,
        payer_payment_id=invoice.payer_payment_id,
        resolution=invoice.resolution,
        offer_id=invoice.offer_id,
        payer_note=invoice.payer_note,
        address=invoice.address,
    )


async def update(tx: Tx, invoice: Invoice, *, expected: tuple[InvoiceState, ...]) -> bool:
    """Store the new state and what belongs to it; False when it was none of `expected`."""
    states = ", ".join(f"'{state.value}'" for state in expected)
    row = await tx.one(
        "UPDATE invoice SET state = :state, payment_hash = :payment_hash, invoice = :invoice,"
        " received_msat = :received_msat, preimage = coalesce(:preimage, preimage),"
        " created_at = :created_at, expires_at = :expires_at, settled_at = :settled_at"
        " WHERE invoice_id = :invoice_id AND account_id = :account_id"
        f" AND state IN ({states}) RETURNING invoice_id",
        invoice_id=invoice.invoice_id,
        account_id=invoice.account_id,
        state=invoice.state,
        payment_hash=invoice.payment_hash,
        invoice=invoice.invoice,
        received_msat=invoice.received_msat,
        preimage=invoice.preimage,
        created_at=invoice.created_at,
        expires_at=invoice.expires_at,
        settled_at=invoice.settled_at,
    )
    return row is not None


async def accept(tx: Tx, invoice: Invoice) -> bool:
    """A payment of a hold invoice is held; False when one was before, or none may be."""
    row = await tx.one(
        "UPDATE invoice SET state = 'ACCEPTED', accepted_at = :accepted_at,"
        " settle_deadline = :settle_deadline, payer_payment_id = :payer_payment_id"
        " WHERE invoice_id = :invoice_id AND account_id = :account_id AND is_hold = 1"
        " AND state = 'PENDING' AND resolution IS NULL RETURNING invoice_id",
        invoice_id=invoice.invoice_id,
        account_id=invoice.account_id,
        accepted_at=invoice.accepted_at,
        settle_deadline=invoice.settle_deadline,
        payer_payment_id=invoice.payer_payment_id,
    )
    return row is not None


async def give_hash_up(tx: Tx, invoice: Invoice) -> None:
    await tx.run(
        "UPDATE invoice SET payment_hash = NULL WHERE invoice_id = :invoice_id"
        " AND account_id = :account_id AND state = 'REQUESTED'",
        invoice_id=invoice.invoice_id,
        account_id=invoice.account_id,
    )


async def decide(tx: Tx, invoice: Invoice, *, expected: InvoiceState) -> bool:
    """How a hold invoice will end: once, for good. False when that was decided before, or it
    was not `expected` any more."""
    row = await tx.one(
        "UPDATE invoice SET resolution = :resolution, preimage = :preimage"
        " WHERE invoice_id = :invoice_id AND account_id = :account_id AND is_hold = 1"
        " AND state = :expected AND resolution IS NULL RETURNING invoice_id",
        invoice_id=invoice.invoice_id,
        account_id=invoice.account_id,
        resolution=invoice.resolution,
        preimage=invoice.preimage,
        expected=expected,
    )
    return row is not None


async def invoice(tx: Tx, invoice_id: InvoiceId) -> Invoice | None:
    row = await tx.one(f"{_INVOICE} WHERE invoice_id = :invoice_id", invoice_id=invoice_id)
    return from_row(row) if row else None


async def by_string(tx: Tx, invoice: str) -> Invoice | None:
    """The only way in which a payment is recognised as internal (A2): never by the hash."""
    row = await tx.one(
        f"{_INVOICE} WHERE invoice = :invoice AND invoice <> ''", invoice=invoice
    )
    return from_row(row) if row else None


async def by_hash(tx: Tx, *, backend: BackendName, payment_hash: PaymentHash) -> Invoice | None:
    row = await tx.one(
        f"{_INVOICE} WHERE payment_hash = :payment_hash AND backend = :backend",
        payment_hash=payment_hash,
        backend=backend,
    )
    return from_row(row) if row else None


async def is_known(
    tx: Tx, payment_hash: PaymentHash, *, besides: InvoiceId | None = None
) -> bool:
    """Whether any invoice of the whole ledger has it, `besides` this one."""
    row = await tx.one(
        "SELECT 1 AS known FROM invoice WHERE payment_hash = :payment_hash"
        " AND invoice_id <> :besides",
        payment_hash=payment_hash,
        besides=besides or "",
    )
    return row is not None


async def is_hash_known(tx: Tx, payment_hash: PaymentHash) -> bool:
    """Whether anything in the whole ledger has it, in whatever role (A2)."""
    row = await tx.one(
        "SELECT 1 AS known WHERE"
        " EXISTS (SELECT 1 FROM invoice WHERE payment_hash = :payment_hash)"
        " OR EXISTS (SELECT 1 FROM payment WHERE payment_hash = :payment_hash"
        " AND state <> 'RELEASED')"
        " OR EXISTS (SELECT 1 FROM payment WHERE payment_hash = :payment_hash"
        " AND state = 'RELEASED')"
        " OR EXISTS (SELECT 1 FROM receipt WHERE payment_hash = :payment_hash)",
        payment_hash=payment_hash,
    )
    return row is not None


async def of_account(
    tx: Tx,
    *,
    account_id: AccountId,
    payment_hash: PaymentHash,
    connection_id: ConnectionId | None,
    invoice: str | None = None,
) -> Invoice | None:
    """Of this account; of one connection, and with this very invoice, only where given."""
    row = await tx.one(
        f"{_INVOICE} WHERE account_id = :account_id AND payment_hash = :payment_hash"
        f"{made_by(connection_id)}{with_invoice(invoice)}",
        account_id=account_id,
        payment_hash=payment_hash,
        connection_id=connection_id,
        invoice=invoice,
    )
    return from_row(row) if row else None


async def open_invoices(
    tx: Tx, backend: BackendName, *, of_payers: bool = False
) -> list[Invoice]:
    """Those that the backend may still report as settled, as far as we know; first those that
    somebody waits for. `of_payers`: those that payers of addresses asked for, else all
    others."""
    rows = await tx.all(
        f"{_INVOICE} WHERE backend = :backend AND address IS {'NOT ' if of_payers else ''}NULL"
        " AND state IN ('REQUESTED', 'PENDING', 'ACCEPTED')"
        " ORDER BY CASE state WHEN 'REQUESTED' THEN 0 ELSE 1 END, expires_at",
        backend=backend,
    )
    return [from_row(row) for row in rows]


async def newest_received(tx: Tx, backend: BackendName, *, since: int) -> Invoice | None:
    """The last that the backend reported as paid since then."""
    row = await tx.one(
        "SELECT invoice_id FROM receipt WHERE backend = :backend AND created_at >= :since"
        " AND invoice_id IS NOT NULL ORDER BY created_at DESC, payment_hash DESC LIMIT 1",
        backend=backend,
        since=since,
    )
    return await invoice(tx, row["invoice_id"]) if row else None


async def open_count(tx: Tx, account_id: AccountId, *, now: int) -> int:
    """Invoices of the account that wait to be paid; what payers of its addresses ask for has
    bounds of its own, so that nobody can use this one up."""
    row = await tx.one(
        "SELECT count(*) AS open FROM invoice WHERE account_id = :account_id"
        " AND address IS NULL"
        " AND state IN ('REQUESTED', 'PENDING', 'ACCEPTED') AND expires_at > :now",
        account_id=account_id,
        now=now,
    )
    return int(row["open"]) if row else 0


async def open_holds_count(tx: Tx, account_id: AccountId, *, now: int) -> int:
    """Hold invoices of the account of which a payment is held, or may come to be."""
    row = await tx.one(
        "SELECT count(*) AS open FROM invoice WHERE account_id = :account_id AND is_hold = 1"
        " AND state IN ('REQUESTED', 'PENDING', 'ACCEPTED')"
        " AND (state = 'ACCEPTED' OR expires_at > :now)",
        account_id=account_id,
        now=now,
    )
    return int(row["open"]) if row else 0


async def undecided_holds(tx: Tx) -> list[Invoice]:
    """Held, of whatever backend, and their owner has not said how to end."""
    rows = await tx.all(
        f"{_INVOICE} WHERE is_hold = 1 AND state = 'ACCEPTED' AND resolution IS NULL"
        " ORDER BY accepted_at"
    )
    return [from_row(row) for row in rows]


async def decided_holds(tx: Tx) -> list[Invoice]:
    """What the backends are still to settle or cancel."""
    rows = await tx.all(
        f"{_INVOICE} WHERE is_hold = 1 AND state IN ('PENDING', 'ACCEPTED')"
        " AND resolution IS NOT NULL ORDER BY accepted_at"
    )
    return [from_row(row) for row in rows]


async def insert_receipt(
    tx: Tx,
    *,
    backend: BackendName,
    payment_hash: PaymentHash,
    htlc_set: str = "",
    amount_msat: Msat,
    invoice_id: InvoiceId | None,
    now: int,
) -> bool:
    """False when this settlement was credited before (I6)."""
    row = await tx.one(
        "INSERT INTO receipt (backend, payment_hash, htlc_set, amount_msat, invoice_id,"
        " created_at) VALUES (:backend, :payment_hash, :htlc_set, :amount_msat, :invoice_id,"
        " :now)"
        " ON CONFLICT DO NOTHING RETURNING backend",
        backend=backend,
        payment_hash=payment_hash,
        htlc_set=htlc_set,
        amount_msat=amount_msat,
        invoice_id=invoice_id,
        now=now,
    )
    return row is not None


async def cursor(tx: Tx, backend: BackendName) -> str | None:
    row = await tx.one("SELECT cursor FROM stream WHERE backend = :backend", backend=backend)
    return str(row["cursor"]) if row else None


async def forget_cursor(tx: Tx, backend: BackendName) -> None:
    """Read its stream from the beginning again: receipts are unique."""
    await tx.run("DELETE FROM stream WHERE backend = :backend", backend=backend)


async def set_cursor(
    tx: Tx, backend: BackendName, cursor: str, *, payment_hash: PaymentHash | None
) -> None:
    """Only together with the receipt of this hash (I23); None where there is nothing to
    receive."""
    await tx.run(
        "INSERT INTO stream (backend, cursor, payment_hash)"
        " VALUES (:backend, :cursor, :payment_hash) ON CONFLICT (backend)"
        " DO UPDATE SET cursor = excluded.cursor, payment_hash = excluded.payment_hash",
        backend=backend,
        cursor=cursor,
        payment_hash=payment_hash,
    )


async def queue_cancellation(
    tx: Tx, *, backend: BackendName, payment_hash: PaymentHash, now: int
) -> None:
    await tx.run(
        "INSERT INTO cancellation (backend, payment_hash, created_at)"
        " VALUES (:backend, :payment_hash, :now) ON CONFLICT DO NOTHING",
        backend=backend,
        payment_hash=payment_hash,
        now=now,
    )


async def reopen_cancellation(
    tx: Tx, *, backend: BackendName, payment_hash: PaymentHash, now: int
) -> None:
    """The node holds a payment all the same, so it is to be cancelled again."""
    await tx.run(
        "INSERT INTO cancellation (backend, payment_hash, created_at)"
        " VALUES (:backend, :payment_hash, :now)"
        " ON CONFLICT (backend, payment_hash) DO UPDATE SET done_at = NULL",
        backend=backend,
        payment_hash=payment_hash,
        now=now,
    )


async def open_cancellations(tx: Tx, backend: BackendName) -> list[PaymentHash]:
    rows = await tx.all(
        "SELECT payment_hash FROM cancellation"
        " WHERE backend = :backend AND done_at IS NULL ORDER BY created_at",
        backend=backend,
    )
    return [PaymentHash(row["payment_hash"]) for row in rows]


async def close_cancellation(
    tx: Tx, *, backend: BackendName, payment_hash: PaymentHash, now: int
) -> None:
    await tx.run(
        "UPDATE cancellation SET done_at = :now"
        " WHERE backend = :backend AND payment_hash = :payment_hash AND done_at IS NULL",
        backend=backend,
        payment_hash=payment_hash,
        now=now,
    )


def from_row(row: Row) -> Invoice:
    amount_msat, received_msat = row["amount_msat"], row["received_msat"]
    return Invoice(
        invoice_id=InvoiceId(row["invoice_id"]),
        account_id=AccountId(row["account_id"]),
        connection_id=row["connection_id"],
        request_id=row["request_id"],
        backend=BackendName(row["backend"]),
        state=InvoiceState(row["state"]),
        payment_hash=None if row["payment_hash"] is None else PaymentHash(row["payment_hash"]),
        invoice=row["invoice"],
        description=row["description"],
        description_hash=row["description_hash"],
        amount_msat=None if amount_msat is None else Msat(amount_msat),
        received_msat=None if received_msat is None else Msat(received_msat),
        preimage=None if row["preimage"] is None else Preimage(row["preimage"]),
        metadata=row["metadata"],
        created_at=row["created_at"],
        expires_at=row["expires_at"],
        settled_at=row["settled_at"],
        is_hold=bool(row["is_hold"]),
        min_cltv_expiry_delta=row["min_cltv_expiry_delta"],
        accepted_at=row["accepted_at"],
        settle_deadline=row["settle_deadline"],
        payer_payment_id=row["payer_payment_id"],
        resolution=None if row["resolution"] is None else Resolution(row["resolution"]),
        offer_id=row["offer_id"],
        payer_note=row["payer_note"],
        address=row["address"],
    )
