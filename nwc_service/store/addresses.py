"""Lightning addresses, and the invoices that payers asked for."""

from dataclasses import dataclass

from nwc_service.store.database import Row, Tx
from nwc_service.wallet.units import AccountId

_ADDRESS = (
    "SELECT address.name, address.account_id, address.nostr_pubkey, address.created_at,"
    " account.name AS account_name, account.backend, account.max_balance_msat,"
    " account.frozen_at"
    " FROM address JOIN account ON account.account_id = address.account_id"
)


@dataclass(frozen=True, slots=True)
class Address:
    """`name` without its domain; `nostr_pubkey` is what NIP-05 tells of it."""

    name: str
    account_id: AccountId
    nostr_pubkey: str | None
    created_at: int
    account_name: str
    backend: str | None
    max_balance_msat: int | None = None
    """The most that the account may hold."""
    is_frozen: bool = False


async def insert(
    tx: Tx, *, name: str, account_id: AccountId, nostr_pubkey: str | None, now: int
) -> bool:
    """False when the name is taken."""
    row = await tx.one(
        "INSERT INTO address (name, account_id, nostr_pubkey, created_at)"
        " VALUES (:name, :account_id, :nostr_pubkey, :now) ON CONFLICT DO NOTHING"
        " RETURNING name",
        name=name,
        account_id=account_id,
        nostr_pubkey=nostr_pubkey,
        now=now,
    )
    return row is not None


async def delete(tx: Tx, name: str) -> bool:
    """False when there is none. Its invoices credit the account all the same."""
    row = await tx.one("DELETE FROM address WHERE name = :name RETURNING name", name=name)
    return row is not None


async def named(tx: Tx, name: str) -> Address | None:
    row = await tx.one(f"{_ADDRESS} WHERE address.name = :name", name=name)
    return _from_row(row) if row else None


async def first_of(tx: Tx, account_id: AccountId) -> Address | None:
    """The oldest of the account."""
    row = await tx.one(
        f"{_ADDRESS} WHERE address.account_id = :account_id"
        " ORDER BY address.created_at, address.name LIMIT 1",
        account_id=account_id,
    )
    return _from_row(row) if row else None


async def page(
    tx: Tx, *, after: str, account_id: AccountId | None, limit: int
) -> list[Address]:
    """In the order of their names, those behind `after`; of one account where given."""
    narrowed = "" if account_id is None else " AND address.account_id = :account_id"
    rows = await tx.all(
        f"{_ADDRESS} WHERE address.name > :after{narrowed} ORDER BY address.name LIMIT :limit",
        after=after,
        account_id=account_id,
        limit=limit,
    )
    return [_from_row(row) for row in rows]


async def open_counts(tx: Tx, name: str, *, now: int) -> tuple[int, int]:
    """Invoices that payers of this address can still pay, and those of all addresses that are
    not at their end yet."""
    row = await tx.one(
        "SELECT count(*) AS in_all,"
        " coalesce(sum(CASE WHEN address = :name AND expires_at > :now THEN 1 ELSE 0 END), 0)"
        " AS of_one FROM invoice WHERE address IS NOT NULL"
        " AND state IN ('REQUESTED', 'PENDING', 'ACCEPTED')",
        name=name,
        now=now,
    )
    return (int(row["of_one"]), int(row["in_all"])) if row else (0, 0)


async def forget_unpaid(tx: Tx, *, expired_before: int) -> int:
    """Drop what payers asked for and never paid; the number of invoices."""
    gone = (
        "SELECT invoice_id FROM invoice WHERE address IS NOT NULL"
        " AND state IN ('EXPIRED', 'CANCELED') AND expires_at < :expired_before"
        " AND received_msat IS NULL"
    )
    await tx.run(f"DELETE FROM zap WHERE invoice_id IN ({gone})", expired_before=expired_before)
    return await tx.run(
        f"DELETE FROM invoice WHERE invoice_id IN ({gone})", expired_before=expired_before
    )


def _from_row(row: Row) -> Address:
    return Address(
        name=row["name"],
        account_id=AccountId(row["account_id"]),
        nostr_pubkey=row["nostr_pubkey"],
        created_at=row["created_at"],
        account_name=row["account_name"],
        backend=row["backend"],
        max_balance_msat=row["max_balance_msat"],
        is_frozen=row["frozen_at"] is not None,
    )
