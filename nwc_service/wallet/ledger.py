"""The words of the ledger: accounts, and the entries that move money between them.

An entry moves one positive amount from a source to a destination, so every entry balances by
its shape and the sum over all ledger accounts is always zero. A user's money is `available`
or `held`; both are what the operator owes. A node's ledger account is the counterpart: its
balance is negative by what the node holds for us.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import NewType

from nwc_service.wallet.units import AccountId, BackendName, Msat

LedgerAccount = NewType("LedgerAccount", str)

LOSS = LedgerAccount("loss")
SUSPENSE = LedgerAccount("suspense")  # received, and not yet attributed to anyone
EQUITY = LedgerAccount("equity")  # the operator's own side of credits and debits

_AVAILABLE = "available:"
_HELD = "held:"
_NODE = "node:"


class EntryKind(StrEnum):
    RESERVE = "reserve"
    SETTLE = "settle"
    RELEASE = "release"
    RECEIVE = "receive"
    ASSIGN = "assign"  # a receipt that waited in suspense
    INTERNAL = "internal"
    OVERAGE = "overage"  # a fee above the cap, or a late success: the operator pays
    CREDIT = "credit"
    DEBIT = "debit"


@dataclass(frozen=True, slots=True)
class Entry:
    """One balanced, immutable movement; `amount_msat` is positive."""

    kind: EntryKind
    source: LedgerAccount
    destination: LedgerAccount
    amount_msat: Msat


def available(account_id: AccountId) -> LedgerAccount:
    return LedgerAccount(_AVAILABLE + account_id)


def held(account_id: AccountId) -> LedgerAccount:
    return LedgerAccount(_HELD + account_id)


def node(name: BackendName) -> LedgerAccount:
    return LedgerAccount(_NODE + name)


@dataclass(slots=True)
class Change:
    """What a set of entries does to one user account."""

    available_msat: int = 0
    held_msat: int = 0


def changes(entries: tuple[Entry, ...]) -> tuple[dict[AccountId, Change], dict[str, int]]:
    """The net change per user account, and per book (a ledger account of the operator's)."""
    users: dict[AccountId, Change] = {}
    books: dict[str, int] = {}
    for entry in entries:
        for account, amount_msat in (
            (entry.source, -entry.amount_msat),
            (entry.destination, entry.amount_msat),
        ):
            _add(users, books, account=account, amount_msat=amount_msat)
    return users, books


def _add(
    users: dict[AccountId, Change],
    books: dict[str, int],
    *,
    account: LedgerAccount,
    amount_msat: int,
) -> None:
    if account.startswith(_AVAILABLE):
        user = users.setdefault(AccountId(account.removeprefix(_AVAILABLE)), Change())
        user.available_msat += amount_msat
    elif account.startswith(_HELD):
        user = users.setdefault(AccountId(account.removeprefix(_HELD)), Change())
        user.held_msat += amount_msat
    else:
        books[account] = books.get(account, 0) + amount_msat
