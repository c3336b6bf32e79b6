"""Backends, as far as the books know them."""

from collections.abc import Container, Mapping

from nwc_service.store import nodes
from nwc_service.store.database import Tx
from nwc_service.views.view import View
from nwc_service.wallet.errors import NotFound
from nwc_service.wallet.units import BackendName

BackendTypes = Mapping[BackendName, str]
Answering = Container[BackendName] | None
"""Which backends do, where anybody knows."""


async def backend_list(
    tx: Tx, *, types: BackendTypes, answering: Answering = None
) -> list[View]:
    return [await backend(tx, name, types=types, answering=answering) for name in sorted(types)]


async def backend(
    tx: Tx, name: str, *, types: BackendTypes, answering: Answering = None
) -> View:
    found = BackendName(name)
    if found not in types:
        raise NotFound(f"there is no backend {name!r}")
    pause = await nodes.paused(tx, found)
    reading = await nodes.last_reading(tx, found)
    return {
        "name": name,
        "type": types[found],
        "answering": None if answering is None else found in answering,
        "spendable_msat": reading["spendable_msat"] if reading else None,
        "read_at": reading["read_at"] if reading else None,
        "paused": pause.reason if pause else None,
        "stops": pause.stops if pause else None,
        "detail": pause.detail if pause else None,
        "paused_at": pause.paused_at if pause else None,
    }
