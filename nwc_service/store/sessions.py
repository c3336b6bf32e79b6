"""Who is signed in at the page, and links with which one signs in once.

Their secrets are stored as hashes only.
"""

from dataclasses import dataclass

from nwc_service.store.database import Tx


@dataclass(frozen=True, slots=True)
class Session:
    """`token_id` is None of the owner's. It ends with its token, or at `expires_at`."""

    secret_hash: str
    token_id: str | None
    created_at: int
    expires_at: int
    is_link: bool = False


async def insert(tx: Tx, session: Session) -> None:
    """Those that have ended make room."""
    await tx.run("DELETE FROM session WHERE expires_at <= :now", now=session.created_at)
    await tx.run(
        "INSERT INTO session (secret_hash, is_link, token_id, created_at, expires_at)"
        " VALUES (:secret_hash, :is_link, :token_id, :created_at, :expires_at)",
        secret_hash=session.secret_hash,
        is_link=int(session.is_link),
        token_id=session.token_id,
        created_at=session.created_at,
        expires_at=session.expires_at,
    )


async def session(tx: Tx, secret_hash: str, *, now: int) -> Session | None:
    """The one that is open, with a token that is valid."""
    row = await tx.one(
        "SELECT token_id, created_at, expires_at FROM session"
        f" WHERE secret_hash = :secret_hash AND is_link = 0 AND {_VALID}",
        secret_hash=secret_hash,
        now=now,
    )
    if row is None:
        return None
    return Session(secret_hash, row["token_id"], row["created_at"], row["expires_at"])


async def use_link(tx: Tx, secret_hash: str, *, now: int) -> Session | None:
    """It is gone then: a link signs in once."""
    row = await tx.one(
        "DELETE FROM session WHERE secret_hash = :secret_hash AND is_link = 1"
        f" AND {_VALID} RETURNING token_id, created_at, expires_at",
        secret_hash=secret_hash,
        now=now,
    )
    if row is None:
        return None
    return Session(secret_hash, row["token_id"], row["created_at"], row["expires_at"], True)


async def end(tx: Tx, secret_hash: str) -> None:
    await tx.run(
        "DELETE FROM session WHERE secret_hash = :secret_hash", secret_hash=secret_hash
    )


_VALID = (
    "expires_at > :now AND (token_id IS NULL OR EXISTS (SELECT 1 FROM token"
    " WHERE token.token_id = session.token_id AND revoked_at IS NULL))"
)
