"""Tokens of the admin API. Their secrets are stored as hashes only."""

from dataclasses import dataclass

from nwc_service.store.database import Row, Tx

_COLUMNS = "token_id, name, role, created_at, revoked_at, last_used_at"


@dataclass(frozen=True, slots=True)
class Token:
    token_id: str
    name: str
    role: str
    created_at: int
    revoked_at: int | None = None
    last_used_at: int | None = None


async def insert(tx: Tx, token: Token, *, secret_hash: str) -> bool:
    """False where another one that is valid has the name."""
    return (
        await tx.run(
            "INSERT INTO token (token_id, name, role, secret_hash, created_at)"
            " VALUES (:token_id, :name, :role, :secret_hash, :created_at)"
            " ON CONFLICT DO NOTHING",
            token_id=token.token_id,
            name=token.name,
            role=token.role,
            secret_hash=secret_hash,
            created_at=token.created_at,
        )
        == 1
    )


async def by_secret(tx: Tx, secret_hash: str) -> Token | None:
    """The one that is valid."""
    row = await tx.one(
        f"SELECT {_COLUMNS} FROM token WHERE secret_hash = :secret_hash AND revoked_at IS NULL",
        secret_hash=secret_hash,
    )
    return _token(row) if row else None


async def token(tx: Tx, token_id: str) -> Token | None:
    """The one that is valid."""
    row = await tx.one(
        f"SELECT {_COLUMNS} FROM token WHERE token_id = :token_id AND revoked_at IS NULL",
        token_id=token_id,
    )
    return _token(row) if row else None


async def tokens(tx: Tx) -> list[Token]:
    """All that ever were, oldest first."""
    return [
        _token(row)
        for row in await tx.all(f"SELECT {_COLUMNS} FROM token ORDER BY created_at, token_id")
    ]


async def revoke(tx: Tx, name: str, *, now: int) -> Token | None:
    """None where no valid one has the name."""
    row = await tx.one(
        "UPDATE token SET revoked_at = :now WHERE name = :name AND revoked_at IS NULL"
        f" RETURNING {_COLUMNS}",
        name=name,
        now=now,
    )
    return _token(row) if row else None


async def used(tx: Tx, token_id: str, *, now: int) -> None:
    await tx.run(
        "UPDATE token SET last_used_at = :now WHERE token_id = :token_id",
        token_id=token_id,
        now=now,
    )


def _token(row: Row) -> Token:
    return Token(
        row["token_id"],
        row["name"],
        row["role"],
        row["created_at"],
        row["revoked_at"],
        row["last_used_at"],
    )
