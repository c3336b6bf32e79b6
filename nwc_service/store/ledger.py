"""Accounts, books and entries. One conditional statement decides every movement of money."""

from dataclasses import asdict, dataclass, fields

from nwc_service import metrics
from nwc_service.store.database import Row, Tx
from nwc_service.wallet.ledger import Entry, available, changes
from nwc_service.wallet.units import (
    MAX_MSAT,
    AccountId,
    BackendName,
    InvoiceId,
    Msat,
    PaymentId,
)

_accounts = metrics.ACCOUNTS.of()


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountLimits:
    """The most that the account may hold, pay at once, and pay in a day of UTC with its fees;
    None where the operator set no limit."""

    max_balance_msat: Msat | None = None
    max_payment_msat: Msat | None = None
    max_daily_msat: Msat | None = None


NO_LIMITS = AccountLimits()


@dataclass(frozen=True, slots=True)
class Account:
    """A subaccount. `available_msat` can be spent, `held_msat` waits for open payments.

    `keysend_id` names it in the TLV 696969 of a keysend, and is good for nothing else. All that
    its connections ask of a node goes to `backend`. `made_by` is the token that made it, if
    that was not the owner's. While it is frozen its apps may only read.
    With `nostr_pubkey` its user signs in at the page.
    """

    account_id: AccountId
    name: str
    available_msat: Msat
    held_msat: Msat
    created_at: int
    backend: BackendName
    keysend_id: str | None = None
    made_by: str | None = None
    limits: AccountLimits = NO_LIMITS
    frozen_at: int | None = None
    nostr_pubkey: str | None = None


class InsufficientBalance(Exception):
    """The account has less available than this takes; nothing was moved."""


async def post(
    tx: Tx,
    entries: tuple[Entry, ...],
    *,
    now: int,
    payment_id: PaymentId | None = None,
    invoice_id: InvoiceId | None = None,
    reason: str | None = None,
) -> None:
    """Write `entries` and move the balances with them. Raises InsufficientBalance.

    Accounts are touched in the order of their ids, so that two transactions cannot deadlock.
    """
    users, books = changes(entries)
    for account_id in sorted(users):
        change = users[account_id]
        # Also where as much comes back: an account pays itself only what it has.
        taken_msat = sum(e.amount_msat for e in entries if e.source == available(account_id))
        moved = await tx.one(
            "UPDATE account SET available_msat = available_msat + :available_msat,"
            " held_msat = held_msat + :held_msat WHERE account_id = :account_id"
            " AND available_msat >= :taken_msat AND held_msat + :held_msat >= 0"
            " RETURNING account_id",
            account_id=account_id,
            available_msat=change.available_msat,
            held_msat=change.held_msat,
            taken_msat=taken_msat,
        )
        if moved is None:
            raise InsufficientBalance(account_id)
    for book in sorted(books):
        await tx.run(
            "INSERT INTO book (name, balance_msat) VALUES (:name, :amount_msat)"
            " ON CONFLICT (name) DO UPDATE SET"
            " balance_msat = book.balance_msat + excluded.balance_msat",
            name=book,
            amount_msat=books[book],
        )
    for entry in entries:
        await tx.run(
            "INSERT INTO entry (kind, source, destination, amount_msat, payment_id,"
            " invoice_id, reason, created_at) VALUES (:kind, :source, :destination,"
            " :amount_msat, :payment_id, :invoice_id, :reason, :created_at)",
            kind=entry.kind,
            source=entry.source,
            destination=entry.destination,
            amount_msat=entry.amount_msat,
            payment_id=payment_id,
            invoice_id=invoice_id,
            reason=reason,
            created_at=now,
        )


async def has_room(tx: Tx, account_id: AccountId, *, amount_msat: Msat) -> bool:
    """Whether the account can take it, by the bound of all amounts (I24)."""
    row = await tx.one(
        "SELECT 1 AS found FROM account WHERE account_id = :account_id"
        " AND available_msat <= :room_msat",
        account_id=account_id,
        room_msat=MAX_MSAT - amount_msat,
    )
    return row is not None


async def create_account(tx: Tx, account: Account) -> bool:
    """False when the name is taken."""
    row = await tx.one(
        "INSERT INTO account (account_id, name, created_at, keysend_id, backend, made_by)"
        " VALUES (:account_id, :name, :created_at, :keysend_id, :backend, :made_by)"
        " ON CONFLICT (name) DO NOTHING RETURNING account_id",
        account_id=account.account_id,
        name=account.name,
        created_at=account.created_at,
        keysend_id=account.keysend_id,
        backend=account.backend,
        made_by=account.made_by,
    )
    if row is not None:
        tx.on_commit(_accounts.inc)
    return row is not None


async def pin_accounts(tx: Tx, backend: BackendName) -> None:
    """Those that were there before an account had a backend of its own."""
    await tx.run("UPDATE account SET backend = :backend WHERE backend IS NULL", backend=backend)


_ACCOUNT = (
    "SELECT account_id, name, available_msat, held_msat, created_at, backend, keysend_id,"
    " made_by, frozen_at, max_balance_msat, max_payment_msat, max_daily_msat,"
    " nostr_pubkey FROM account"
)


async def account_count(tx: Tx) -> int:
    """Looks at each of them."""
    row = await tx.one("SELECT count(*) AS accounts FROM account")
    return int(row["accounts"]) if row else 0


async def account_named(tx: Tx, name: str) -> Account | None:
    return _account(await tx.one(f"{_ACCOUNT} WHERE name = :name", name=name))


async def account(tx: Tx, account_id: AccountId) -> Account | None:
    row = await tx.one(f"{_ACCOUNT} WHERE account_id = :account_id", account_id=account_id)
    return _account(row)


async def account_of_keysend(tx: Tx, keysend_id: str) -> Account | None:
    return _account(
        await tx.one(f"{_ACCOUNT} WHERE keysend_id = :keysend_id", keysend_id=keysend_id)
    )


async def account_of_nostr(tx: Tx, nostr_pubkey: str) -> Account | None:
    return _account(
        await tx.one(f"{_ACCOUNT} WHERE nostr_pubkey = :pubkey", pubkey=nostr_pubkey)
    )


async def set_nostr(tx: Tx, account_id: AccountId, *, nostr_pubkey: str | None) -> bool:
    """False where another account has the key."""
    if nostr_pubkey is not None:
        found = await account_of_nostr(tx, nostr_pubkey)
        if found is not None and found.account_id != account_id:
            return False
    await tx.run(
        "UPDATE account SET nostr_pubkey = :pubkey WHERE account_id = :account_id",
        pubkey=nostr_pubkey,
        account_id=account_id,
    )
    return True


async def used_of_day(tx: Tx, account_id: AccountId, *, day: int) -> Msat:
    row = await tx.one(
        "SELECT used_msat FROM account_day WHERE account_id = :account_id AND day = :day",
        account_id=account_id,
        day=day,
    )
    return Msat(row["used_msat"] if row else 0)


async def accounts(tx: Tx) -> list[Account]:
    """All of them, the oldest first."""
    rows = await tx.all(f"{_ACCOUNT} ORDER BY created_at, name")
    return [found for row in rows if (found := _account(row)) is not None]


async def account_page(
    tx: Tx, *, after: tuple[int, str], prefix: str, limit: int
) -> list[Account]:
    """Those behind `after` in the same order whose name begins with `prefix`."""
    rows = await tx.all(
        f"{_ACCOUNT} WHERE (created_at, name) > (:created_at, :name)"
        " AND substr(name, 1, :length) = :prefix"
        " ORDER BY created_at, name LIMIT :limit",
        created_at=after[0],
        name=after[1],
        prefix=prefix,
        length=len(prefix),
        limit=limit,
    )
    return [found for row in rows if (found := _account(row)) is not None]


async def newest_at(tx: Tx) -> int | None:
    """When the last entry was made."""
    row = await tx.one("SELECT created_at FROM entry ORDER BY entry_id DESC LIMIT 1")
    return row["created_at"] if row else None


async def set_limits(tx: Tx, account_id: AccountId, limits: AccountLimits) -> None:
    await tx.run(
        "UPDATE account SET max_balance_msat = :max_balance_msat,"
        " max_payment_msat = :max_payment_msat, max_daily_msat = :max_daily_msat"
        " WHERE account_id = :account_id",
        account_id=account_id,
        **asdict(limits),
    )


async def set_frozen(tx: Tx, account_id: AccountId, *, frozen_at: int | None) -> bool:
    """None thaws it. False where it is so already; the first freeze counts."""
    return (
        await tx.run(
            "UPDATE account SET frozen_at = :frozen_at WHERE account_id = :account_id"
            " AND (frozen_at IS NULL) = (:frozen_at IS NOT NULL)",
            account_id=account_id,
            frozen_at=frozen_at,
        )
        == 1
    )


async def limits_of(tx: Tx, account_id: AccountId) -> AccountLimits:
    row = await tx.one(
        "SELECT max_balance_msat, max_payment_msat, max_daily_msat FROM account"
        " WHERE account_id = :account_id",
        account_id=account_id,
    )
    return _limits(row) if row else NO_LIMITS


async def has_room_for(tx: Tx, account_id: AccountId, *, amount_msat: Msat) -> bool:
    """Whether the account may hold so much more, by the operator's limit."""
    row = await tx.one(
        "SELECT 1 AS found FROM account WHERE account_id = :account_id AND (max_balance_msat"
        " IS NULL OR available_msat + held_msat <= max_balance_msat - :amount_msat)",
        account_id=account_id,
        amount_msat=amount_msat,
    )
    return row is not None


async def use_day(tx: Tx, account_id: AccountId, *, day: int, amount_msat: Msat) -> bool:
    """Count `amount_msat`, or change nothing and say False when it would pass the limit."""
    await tx.run(
        "INSERT INTO account_day (account_id, day) VALUES (:account_id, :day)"
        " ON CONFLICT DO NOTHING",
        account_id=account_id,
        day=day,
    )
    row = await tx.one(
        "UPDATE account_day SET used_msat = used_msat + :amount_msat"
        " WHERE account_id = :account_id AND day = :day AND used_msat + :amount_msat <="
        " (SELECT max_daily_msat FROM account WHERE account_id = :account_id)"
        " RETURNING used_msat",
        account_id=account_id,
        day=day,
        amount_msat=amount_msat,
    )
    return row is not None


async def give_day_back(tx: Tx, account_id: AccountId, *, day: int, amount_msat: Msat) -> None:
    await tx.run(
        "UPDATE account_day SET used_msat = used_msat - :amount_msat"
        " WHERE account_id = :account_id AND day = :day",
        account_id=account_id,
        day=day,
        amount_msat=amount_msat,
    )


async def book_msat(tx: Tx, name: str) -> int:
    """Of one of the operator's books; its sign is as the books have it."""
    row = await tx.one("SELECT balance_msat FROM book WHERE name = :name", name=name)
    return int(row["balance_msat"]) if row else 0


async def liabilities_msat(tx: Tx) -> Msat:
    """What the operator owes: all that users have, and what waits in suspense."""
    row = await tx.one(
        "SELECT coalesce((SELECT sum(available_msat + held_msat) FROM account), 0)"
        " + coalesce((SELECT balance_msat FROM book WHERE name = 'suspense'), 0) AS owed_msat"
    )
    return Msat(int(row["owed_msat"]) if row else 0)


def _account(row: Row | None) -> Account | None:
    if row is None:
        return None
    return Account(
        account_id=AccountId(row["account_id"]),
        name=row["name"],
        available_msat=Msat(row["available_msat"]),
        held_msat=Msat(row["held_msat"]),
        created_at=row["created_at"],
        backend=BackendName(row["backend"]),
        keysend_id=row["keysend_id"],
        made_by=row["made_by"],
        limits=_limits(row),
        frozen_at=row["frozen_at"],
        nostr_pubkey=row["nostr_pubkey"],
    )


def _limits(row: Row) -> AccountLimits:
    return AccountLimits(**{name: row[name] for name in LIMITS})


LIMITS = tuple(field.name for field in fields(AccountLimits))
