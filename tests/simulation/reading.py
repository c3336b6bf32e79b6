"""What the judges read of the service's database."""

import sqlite3

from tests.simulation.world import World

Row = sqlite3.Row


def rows_of(world: World, sql: str, *values: object) -> list[Row]:
    return world.connection.execute(sql, values).fetchall()


def moved_msat(world: World, payment: Row, *, kind: str) -> int:
    [row] = rows_of(
        world,
        "SELECT coalesce(sum(amount_msat), 0) AS msat FROM entry"
        " WHERE payment_id = ? AND kind = ?",
        payment["payment_id"],
        kind,
    )
    return int(row["msat"])


def has_alarm(world: World, payment_id: str, kind: str) -> bool:
    return bool(
        rows_of(world, "SELECT 1 FROM alarm WHERE subject = ? AND kind = ?", payment_id, kind)
    )
