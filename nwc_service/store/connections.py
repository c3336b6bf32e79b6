"""Connections and what they have used of their budgets."""

import json
from enum import Enum, auto

from nwc_service.nip47.connection import Connection
from nwc_service.nip47.kinds import Encryption, NotificationType
from nwc_service.store.database import Row, Tx
from nwc_service.wallet.budget import Budget, Renewal
from nwc_service.wallet.units import AccountId, BackendName, ConnectionId, Msat

_CONNECTION = (
    "SELECT connection_id, account_id, app, wallet_pubkey, client_pubkey, scopes,"
    " notifications, encryption, relays, budget_msat, budget_renewal, max_payment_msat,"
    " created_at, expires_at, revoked_at, parent_id, request_id, internal_only, destinations,"
    " relays_by_user, lud16, link_state, metadata, paused_at, (SELECT backend FROM account"
    " WHERE account.account_id = connection.account_id) AS backend FROM connection"
)


class Standing(Enum):
    """Whether what a connection asks for is done."""

    SERVED = auto()
    PAUSED = auto()
    FROZEN = auto()
    ENDED = auto()


async def insert(tx: Tx, connection: Connection) -> None:
    budget = connection.budget
    await tx.run(
        "INSERT INTO connection (connection_id, account_id, app, wallet_pubkey,"
        " client_pubkey, scopes, notifications, encryption, relays, budget_msat,"
        " budget_renewal, max_payment_msat, created_at, expires_at, parent_id, request_id,"
        " internal_only, destinations, relays_by_user, lud16, link_state, metadata)"
        " VALUES (:connection_id,"
        " :account_id, :app, :wallet_pubkey, :client_pubkey, :scopes, :notifications,"
        " :encryption, :relays, :budget_msat, :budget_renewal, :max_payment_msat,"
        " :created_at, :expires_at, :parent_id, :request_id, :internal_only, :destinations,"
        " :relays_by_user, :lud16, :link_state, :metadata)",
        connection_id=connection.connection_id,
        account_id=connection.account_id,
        app=connection.app,
        wallet_pubkey=connection.wallet_pubkey,
        client_pubkey=connection.client_pubkey,
        scopes=" ".join(sorted(connection.scopes)),
        notifications=" ".join(sorted(connection.notifications)),
        encryption=" ".join(connection.encryption),
        relays=json.dumps(connection.relays),
        budget_msat=budget.limit_msat if budget else None,
        budget_renewal=budget.renewal if budget else None,
        max_payment_msat=connection.max_payment_msat,
        created_at=connection.created_at,
        expires_at=connection.expires_at,
        parent_id=connection.parent_id,
        request_id=connection.request_id,
        internal_only=int(connection.internal_only),
        destinations=_listed(connection.destinations),
        relays_by_user=int(connection.relays_by_user),
        lud16=connection.lud16,
        link_state=connection.link_state,
        metadata=connection.metadata,
    )


async def update(tx: Tx, connection: Connection) -> None:
    """All that the operator may change of it, unless it was revoked."""
    budget = connection.budget
    await tx.run(
        "UPDATE connection SET app = :app, client_pubkey = :client_pubkey, scopes = :scopes,"
        " notifications = :notifications, budget_msat = :budget_msat,"
        " budget_renewal = :budget_renewal, max_payment_msat = :max_payment_msat,"
        " expires_at = :expires_at, internal_only = :internal_only,"
        " destinations = :destinations, lud16 = :lud16, metadata = :metadata"
        " WHERE connection_id = :connection_id AND account_id = :account_id"
        " AND revoked_at IS NULL",
        connection_id=connection.connection_id,
        account_id=connection.account_id,
        app=connection.app,
        client_pubkey=connection.client_pubkey,
        scopes=" ".join(sorted(connection.scopes)),
        notifications=" ".join(sorted(connection.notifications)),
        budget_msat=budget.limit_msat if budget else None,
        budget_renewal=budget.renewal if budget else None,
        max_payment_msat=connection.max_payment_msat,
        expires_at=connection.expires_at,
        internal_only=int(connection.internal_only),
        destinations=_listed(connection.destinations),
        lud16=connection.lud16,
        metadata=connection.metadata,
    )


async def connection(tx: Tx, connection_id: ConnectionId) -> Connection | None:
    row = await tx.one(
        f"{_CONNECTION} WHERE connection_id = :connection_id", connection_id=connection_id
    )
    return from_row(row) if row else None


async def connections(tx: Tx, *, account_id: AccountId | None = None) -> list[Connection]:
    if account_id is None:
        rows = await tx.all(f"{_CONNECTION} ORDER BY created_at, connection_id")
    else:
        rows = await tx.all(
            f"{_CONNECTION} WHERE account_id = :account_id ORDER BY created_at, connection_id",
            account_id=account_id,
        )
    return [from_row(row) for row in rows]


async def connection_page(
    tx: Tx, *, account_id: AccountId | None, after: tuple[int, str], limit: int
) -> list[Connection]:
    """Those behind `after` in the same order, of one account where given."""
    narrowed = "" if account_id is None else " AND account_id = :account_id"
    rows = await tx.all(
        f"{_CONNECTION} WHERE (created_at, connection_id) > (:created_at, :connection_id)"
        f"{narrowed} ORDER BY created_at, connection_id LIMIT :limit",
        account_id=account_id,
        created_at=after[0],
        connection_id=after[1],
        limit=limit,
    )
    return [from_row(row) for row in rows]


async def revoke(tx: Tx, connection_id: ConnectionId, *, now: int) -> list[Connection]:
    """It and what it has made, as they are then; a repeated revoke keeps the first time."""
    family = "(connection_id = :connection_id OR parent_id = :connection_id)"
    await tx.run(
        f"UPDATE connection SET revoked_at = :now WHERE {family} AND revoked_at IS NULL",
        connection_id=connection_id,
        now=now,
    )
    rows = await tx.all(f"{_CONNECTION} WHERE {family}", connection_id=connection_id)
    return [from_row(row) for row in rows]


async def set_paused(
    tx: Tx, connection_id: ConnectionId, *, paused_at: int | None
) -> list[Connection]:
    """It and what it has made, as they are then; None ends a pause, whose begin stays."""
    family = "(connection_id = :connection_id OR parent_id = :connection_id)"
    await tx.run(
        f"UPDATE connection SET paused_at = :paused_at WHERE {family}"
        " AND (paused_at IS NULL OR :paused_at IS NULL)",
        connection_id=connection_id,
        paused_at=paused_at,
    )
    rows = await tx.all(f"{_CONNECTION} WHERE {family}", connection_id=connection_id)
    return [from_row(row) for row in rows]


async def child_count(tx: Tx, connection_id: ConnectionId) -> int:
    """How many it has made that were not revoked."""
    row = await tx.one(
        "SELECT count(*) AS children FROM connection"
        " WHERE parent_id = :connection_id AND revoked_at IS NULL",
        connection_id=connection_id,
    )
    return int(row["children"]) if row else 0


async def standing(tx: Tx, connection: Connection, *, now: int) -> Standing:
    """Judged inside the claiming transaction, not before it (I14)."""
    row = await tx.one(
        "SELECT paused_at, frozen_at FROM connection JOIN account"
        " ON account.account_id = connection.account_id WHERE connection_id = :connection_id"
        " AND connection.account_id = :account_id AND revoked_at IS NULL"
        " AND (expires_at IS NULL OR expires_at > :now)",
        connection_id=connection.connection_id,
        account_id=connection.account_id,
        now=now,
    )
    if row is None:
        return Standing.ENDED
    if row["frozen_at"] is not None:
        return Standing.FROZEN
    return Standing.SERVED if row["paused_at"] is None else Standing.PAUSED


async def use_budget(
    tx: Tx, connection_id: ConnectionId, *, period_start: int, amount_msat: Msat
) -> bool:
    """Count `amount_msat`, or change nothing and say False when it would pass the limit."""
    await tx.run(
        "INSERT INTO budget_period (connection_id, period_start)"
        " VALUES (:connection_id, :period_start) ON CONFLICT DO NOTHING",
        connection_id=connection_id,
        period_start=period_start,
    )
    row = await tx.one(
        "UPDATE budget_period SET used_msat = used_msat + :amount_msat"
        " WHERE connection_id = :connection_id AND period_start = :period_start"
        " AND used_msat + :amount_msat <= (SELECT budget_msat FROM connection"
        " WHERE connection_id = :connection_id) RETURNING used_msat",
        connection_id=connection_id,
        period_start=period_start,
        amount_msat=amount_msat,
    )
    return row is not None


async def give_budget_back(
    tx: Tx, connection_id: ConnectionId, *, period_start: int, amount_msat: Msat
) -> None:
    await tx.run(
        "UPDATE budget_period SET used_msat = used_msat - :amount_msat"
        " WHERE connection_id = :connection_id AND period_start = :period_start",
        connection_id=connection_id,
        period_start=period_start,
        amount_msat=amount_msat,
    )


async def budget_used_msat(tx: Tx, connection_id: ConnectionId, *, period_start: int) -> Msat:
    row = await tx.one(
        "SELECT used_msat FROM budget_period"
        " WHERE connection_id = :connection_id AND period_start = :period_start",
        connection_id=connection_id,
        period_start=period_start,
    )
    return Msat(row["used_msat"] if row else 0)


def from_row(row: Row) -> Connection:
    budget = None
    if row["budget_msat"] is not None:
        budget = Budget(Msat(row["budget_msat"]), Renewal(row["budget_renewal"]))
    max_payment_msat = row["max_payment_msat"]
    return Connection(
        connection_id=ConnectionId(row["connection_id"]),
        account_id=AccountId(row["account_id"]),
        backend=BackendName(row["backend"]),
        app=row["app"],
        wallet_pubkey=row["wallet_pubkey"],
        client_pubkey=row["client_pubkey"],
        scopes=frozenset(row["scopes"].split()),
        notifications=frozenset(NotificationType(t) for t in row["notifications"].split()),
        encryption=tuple(Encryption(scheme) for scheme in row["encryption"].split()),
        relays=tuple(json.loads(row["relays"])),
        budget=budget,
        max_payment_msat=None if max_payment_msat is None else Msat(max_payment_msat),
        created_at=row["created_at"],
        expires_at=row["expires_at"],
        revoked_at=row["revoked_at"],
        parent_id=row["parent_id"],
        request_id=row["request_id"],
        internal_only=bool(row["internal_only"]),
        destinations=_tuple(row["destinations"]),
        relays_by_user=bool(row["relays_by_user"]),
        lud16=row["lud16"],
        link_state=row["link_state"],
        metadata=row["metadata"],
        paused_at=row["paused_at"],
    )


def _listed(words: tuple[str, ...] | None) -> str | None:
    return None if words is None else json.dumps(words)


def _tuple(text: str | None) -> tuple[str, ...] | None:
    return None if text is None else tuple(json.loads(text))
