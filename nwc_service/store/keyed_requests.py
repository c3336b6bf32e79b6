"""Requests of the admin API that came with a key, and what was answered."""

from dataclasses import dataclass

from nwc_service.store.database import Tx


@dataclass(frozen=True, slots=True)
class KeyedRequest:
    """Without `status` it has no answer yet."""

    caller: str
    key: str
    request_hash: str
    status: int | None = None
    body: str | None = None


async def claim(tx: Tx, asked: KeyedRequest, *, now: int) -> KeyedRequest | None:
    """The one that has the key already; None where it is free, and now taken."""
    taken = await tx.run(
        "INSERT INTO keyed_request (caller, key, request_hash, created_at)"
        " VALUES (:caller, :key, :request_hash, :now) ON CONFLICT DO NOTHING",
        caller=asked.caller,
        key=asked.key,
        request_hash=asked.request_hash,
        now=now,
    )
    if taken == 1:
        return None
    row = await tx.one(
        "SELECT request_hash, status, body FROM keyed_request"
        " WHERE caller = :caller AND key = :key",
        caller=asked.caller,
        key=asked.key,
    )
    if row is None:
        return None
    return KeyedRequest(
        asked.caller, asked.key, row["request_hash"], row["status"], row["body"]
    )


async def answer(tx: Tx, asked: KeyedRequest, *, status: int, body: str) -> None:
    await tx.run(
        "UPDATE keyed_request SET status = :status, body = :body"
        " WHERE caller = :caller AND key = :key",
        caller=asked.caller,
        key=asked.key,
        status=status,
        body=body,
    )


async def forget(tx: Tx, asked: KeyedRequest) -> None:
    await tx.run(
        "DELETE FROM keyed_request WHERE caller = :caller AND key = :key AND status IS NULL",
        caller=asked.caller,
        key=asked.key,
    )


async def forget_before(tx: Tx, created_at: int) -> None:
    await tx.run(
        "DELETE FROM keyed_request WHERE created_at < :created_at", created_at=created_at
    )
