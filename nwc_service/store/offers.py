"""BOLT12 offers made for accounts. They stay payable whether or not their app is there."""

from nwc_service.store.database import Row, Tx
from nwc_service.wallet.invoice import Invoice
from nwc_service.wallet.offer import MadeOffer, OfferState
from nwc_service.wallet.units import AccountId, BackendName, Msat

COLUMNS = (
    "offer_id, account_id, connection_id, request_id, backend, state, offer, node_offer_id,"
    " bolt12_id, description, issuer, amount_msat, single_use, metadata, created_at, expires_at"
)
_OFFER = f"SELECT {COLUMNS} FROM offer"


async def insert(tx: Tx, made: MadeOffer) -> None:
    await tx.run(
        f"INSERT INTO offer ({COLUMNS}) VALUES (:offer_id, :account_id, :connection_id,"
        " :request_id, :backend, :state, :offer, :node_offer_id, :bolt12_id, :description,"
        " :issuer, :amount_msat, :single_use, :metadata, :created_at, :expires_at)",
        offer_id=made.offer_id,
        account_id=made.account_id,
        connection_id=made.connection_id,
        request_id=made.request_id,
        backend=made.backend,
        state=made.state,
        offer=made.offer,
        node_offer_id=made.node_offer_id,
        bolt12_id=made.bolt12_id,
        description=made.description,
        issuer=made.issuer,
        amount_msat=made.amount_msat,
        single_use=int(made.single_use),
        metadata=made.metadata,
        created_at=made.created_at,
        expires_at=made.expires_at,
    )


async def finish(tx: Tx, made: MadeOffer) -> bool:
    """From REQUESTED to what became of it; False when it was not REQUESTED any more."""
    row = await tx.one(
        "UPDATE offer SET state = :state, offer = :offer, node_offer_id = :node_offer_id,"
        " bolt12_id = :bolt12_id, description = :description, issuer = :issuer"
        " WHERE offer_id = :offer_id AND account_id = :account_id"
        " AND state = 'REQUESTED' RETURNING offer_id",
        offer_id=made.offer_id,
        account_id=made.account_id,
        state=made.state,
        offer=made.offer,
        node_offer_id=made.node_offer_id,
        bolt12_id=made.bolt12_id,
        description=made.description,
        issuer=made.issuer,
    )
    return row is not None


async def is_known(tx: Tx, made: MadeOffer) -> bool:
    """Whether the node gave this offer, or its own name for it, to another row."""
    row = await tx.one(
        "SELECT 1 AS known FROM offer WHERE offer_id <> :offer_id AND (offer = :offer"
        " OR (backend = :backend AND node_offer_id = :node_offer_id))",
        offer_id=made.offer_id,
        offer=made.offer,
        backend=made.backend,
        node_offer_id=made.node_offer_id,
    )
    return row is not None


async def offer(tx: Tx, offer_id: str) -> MadeOffer | None:
    row = await tx.one(f"{_OFFER} WHERE offer_id = :offer_id", offer_id=offer_id)
    return _from_row(row) if row else None


async def of_node(tx: Tx, *, backend: BackendName, node_offer_id: str) -> MadeOffer | None:
    """Whose offer it was that the node names."""
    row = await tx.one(
        f"{_OFFER} WHERE backend = :backend AND node_offer_id = :node_offer_id",
        backend=backend,
        node_offer_id=node_offer_id,
    )
    return _from_row(row) if row else None


async def of_invoice(tx: Tx, invoice: Invoice) -> MadeOffer | None:
    """The offer that it was paid through."""
    return None if invoice.offer_id is None else await offer(tx, invoice.offer_id)


async def beside_invoice(tx: Tx, request_id: str) -> MadeOffer | None:
    """The offer that may be given out beside the invoice of the same request."""
    row = await tx.one(
        f"{_OFFER} WHERE request_id = :request_id AND state = 'ACTIVE'", request_id=request_id
    )
    return _from_row(row) if row else None


async def payable_inside(tx: Tx, offer: str) -> MadeOffer | None:
    """The offer with this string, where the ledger may settle its payments.

    One for a single use must go through its node, which alone enforces that.
    """
    row = await tx.one(
        f"{_OFFER} WHERE offer = :offer AND state = 'ACTIVE' AND single_use = 0", offer=offer
    )
    return _from_row(row) if row else None


async def requested(tx: Tx) -> list[MadeOffer]:
    """Claimed, and not made yet."""
    rows = await tx.all(f"{_OFFER} WHERE state = 'REQUESTED' ORDER BY created_at")
    return [_from_row(row) for row in rows]


async def open_count(tx: Tx, account_id: AccountId, *, now: int) -> int:
    """Offers of the account that may still be paid, as far as we know."""
    row = await tx.one(
        "SELECT count(*) AS open FROM offer WHERE account_id = :account_id"
        " AND state <> 'FAILED' AND (expires_at IS NULL OR expires_at > :now)",
        account_id=account_id,
        now=now,
    )
    return int(row["open"]) if row else 0


def _from_row(row: Row) -> MadeOffer:
    return MadeOffer(
        offer_id=row["offer_id"],
        account_id=AccountId(row["account_id"]),
        connection_id=row["connection_id"],
        request_id=row["request_id"],
        backend=BackendName(row["backend"]),
        state=OfferState(row["state"]),
        offer=row["offer"],
        node_offer_id=row["node_offer_id"],
        bolt12_id=row["bolt12_id"],
        description=row["description"],
        issuer=row["issuer"],
        amount_msat=None if row["amount_msat"] is None else Msat(row["amount_msat"]),
        single_use=bool(row["single_use"]),
        metadata=row["metadata"],
        created_at=row["created_at"],
        expires_at=row["expires_at"],
    )
