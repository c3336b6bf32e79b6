"""Who is signed in at the page, and links with which one signs in once.

Their secrets are stored as hashes only.
"""

from dataclasses import dataclass

from nwc_service.store.database import Row, Tx
from nwc_service.wallet.units import AccountId


@dataclass(frozen=True, slots=True)
class Session:
    """Of the user of an account; else of a token, with which it ends; else of the owner."""

    secret_hash: str
    token_id: str | None
    account_id: AccountId | None
    created_at: int
    expires_at: int
    is_link: bool = False


async def insert(tx: Tx, session: Session) -> None:
    """Those that have ended make room."""
    await tx.run("DELETE FROM session WHERE expires_at <= :now", now=session.created_at)
    await tx.run(
        "INSERT INTO session (secret_hash, is_link, token_id, account_id, created_at,"
        " expires_at)"
        " VALUES (:secret_hash, :is_link, :token_id, :account_id, :created_at, :expires_at)",
        secret_hash=session.secret_hash,
        is_link=int(session.is_link),
        token_id=session.token_id,
        account_id=session.account_id,
        created_at=session.created_at,
        expires_at=session.expires_at,
    )


async def session(tx: Tx, secret_hash: str, *, now: int) -> Session | None:
    """The one that is open, with a token that is valid."""
    row = await tx.one(
        f"SELECT {_COLUMNS} FROM session"
        f" WHERE secret_hash = :secret_hash AND is_link = 0 AND {_VALID}",
        secret_hash=secret_hash,
        now=now,
    )
    return _session(row) if row else None


async def use_link(tx: Tx, secret_hash: str, *, now: int) -> Session | None:
    """It is gone then: a link signs in once."""
    row = await tx.one(
        "DELETE FROM session WHERE secret_hash = :secret_hash AND is_link = 1"
        f" AND {_VALID} RETURNING {_COLUMNS}",
        secret_hash=secret_hash,
        now=now,
    )
    return _session(row) if row else None


async def end(tx: Tx, secret_hash: str) -> None:
    await tx.run(
        "DELETE FROM session WHERE secret_hash = :secret_hash", secret_hash=secret_hash
    )


def _session(row: Row) -> Session:
    return Session(
        row["secret_hash"],
        row["token_id"],
        row["account_id"],
        row["created_at"],
        row["expires_at"],
        bool(row["is_link"]),
    )


_COLUMNS = "secret_hash, is_link, token_id, account_id, created_at, expires_at"
_VALID = (
    "expires_at > :now AND (token_id IS NULL OR EXISTS (SELECT 1 FROM token"
    " WHERE token.token_id = session.token_id AND revoked_at IS NULL))"
)
