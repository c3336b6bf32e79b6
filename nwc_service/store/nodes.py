"""What is known of each backend: pauses, the counters that may never fall, its balance."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from nwc_service.store.database import Row, Tx
from nwc_service.wallet.units import BackendName, Msat

READING_LASTS_S = 600
"""A backend that has not told its balance for longer than this backs nothing."""


class Stops(StrEnum):
    OUTGOING = "outgoing"  # nothing is sent; what arrives is credited
    ALL = "all"  # nor are invoices made, nor does its "no" give anything back


@dataclass(frozen=True, slots=True)
class Pause:
    """Until the operator resumes the backend; never lifted by itself.

    `gravity` orders reasons: a graver one takes the place of another, and tells of it.
    """

    backend: BackendName
    stops: Stops
    gravity: int
    reason: str
    detail: str
    paused_at: int


_COLUMNS = "backend, stops, gravity, reason, detail, paused_at"
_PAUSE = f"SELECT {_COLUMNS} FROM pause"


async def pause(tx: Tx, pause: Pause) -> bool:
    """False when it is paused as gravely already."""
    row = await tx.one(
        f"INSERT INTO pause ({_COLUMNS}) VALUES (:backend, :stops, :gravity, :reason, :detail,"
        " :paused_at) ON CONFLICT (backend) DO UPDATE SET stops = excluded.stops,"
        " gravity = excluded.gravity, reason = excluded.reason, paused_at = excluded.paused_at,"
        " detail = excluded.detail || '; before: ' || pause.reason || ': ' || pause.detail"
        " WHERE pause.gravity < excluded.gravity RETURNING backend",
        backend=pause.backend,
        stops=pause.stops,
        gravity=pause.gravity,
        reason=pause.reason,
        detail=pause.detail,
        paused_at=pause.paused_at,
    )
    return row is not None


async def paused(tx: Tx, backend: BackendName) -> Pause | None:
    row = await tx.one(f"{_PAUSE} WHERE backend = :backend", backend=backend)
    return Pause(**{**row, "stops": Stops(row["stops"])}) if row else None


async def pauses(tx: Tx) -> list[Pause]:
    rows = await tx.all(f"{_PAUSE} ORDER BY backend")
    return [Pause(**{**row, "stops": Stops(row["stops"])}) for row in rows]


async def resume(tx: Tx, backend: BackendName) -> bool:
    """False when it was not paused."""
    row = await tx.one(
        "DELETE FROM pause WHERE backend = :backend RETURNING backend", backend=backend
    )
    return row is not None


async def counters(tx: Tx, backend: BackendName) -> dict[str, int]:
    """The highest that each was seen at."""
    rows = await tx.all(
        "SELECT name, value FROM counter WHERE backend = :backend", backend=backend
    )
    return {row["name"]: int(row["value"]) for row in rows}


async def raise_counters(tx: Tx, backend: BackendName, told: Mapping[str, int]) -> None:
    for name in sorted(told):
        await tx.run(
            "INSERT INTO counter (backend, name, value) VALUES (:backend, :name, :value)"
            " ON CONFLICT (backend, name) DO UPDATE SET value = excluded.value"
            " WHERE counter.value < excluded.value",
            backend=backend,
            name=name,
            value=told[name],
        )


async def set_counters(tx: Tx, backend: BackendName, told: Mapping[str, int]) -> None:
    """The new floor."""
    await tx.run("DELETE FROM counter WHERE backend = :backend", backend=backend)
    await raise_counters(tx, backend, told)


async def put_reading(tx: Tx, backend: BackendName, *, spendable_msat: Msat, now: int) -> None:
    await tx.run(
        "INSERT INTO reading (backend, spendable_msat, read_at)"
        " VALUES (:backend, :spendable_msat, :now) ON CONFLICT (backend) DO UPDATE SET"
        " spendable_msat = excluded.spendable_msat, read_at = excluded.read_at",
        backend=backend,
        spendable_msat=spendable_msat,
        now=now,
    )


async def readings_msat(tx: Tx, *, since: int) -> dict[BackendName, Msat]:
    """What each backend said last that it can spend, where that was not before `since`."""
    rows = await tx.all(
        "SELECT backend, spendable_msat FROM reading WHERE read_at >= :since", since=since
    )
    return {BackendName(row["backend"]): Msat(row["spendable_msat"]) for row in rows}


async def last_reading(tx: Tx, backend: BackendName) -> Row | None:
    """However old it is."""
    return await tx.one(
        "SELECT spendable_msat, read_at FROM reading WHERE backend = :backend", backend=backend
    )
