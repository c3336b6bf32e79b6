"""Small facts about this deployment that must survive a restart."""

import json
from collections.abc import Sequence

from nwc_service.store.database import Tx

BORN_AT = "born_at"
"""When these books were opened: what strangers paid to a node before is none of theirs."""

ADVERTISED = "advertised_relays"
"""The relays in new connection URIs, so that they can be shown while the service is down."""


async def get(tx: Tx, name: str) -> str | None:
    row = await tx.one("SELECT value FROM meta WHERE name = :name", name=name)
    return str(row["value"]) if row else None


async def put(tx: Tx, name: str, value: str) -> None:
    await tx.run(
        "INSERT INTO meta (name, value) VALUES (:name, :value)"
        " ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        name=name,
        value=value,
    )


async def drop(tx: Tx, name: str) -> None:
    await tx.run("DELETE FROM meta WHERE name = :name", name=name)


async def get_list(tx: Tx, name: str) -> tuple[str, ...]:
    """Empty when never written."""
    value = await get(tx, name)
    return tuple(json.loads(value)) if value else ()


async def put_list(tx: Tx, name: str, values: Sequence[str]) -> None:
    await put(tx, name, json.dumps(list(values)))
