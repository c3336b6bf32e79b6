"""What the admin API works on."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from nwc_service import views
from nwc_service.accounts import Accounts
from nwc_service.addresses import Addresses
from nwc_service.answers import Clock
from nwc_service.backend import LightningBackend, NodeInfo
from nwc_service.connections import Connections
from nwc_service.guard import Guard
from nwc_service.linking import Linking
from nwc_service.nip47.connection import Connection
from nwc_service.relays import Relays
from nwc_service.resolve import Resolver
from nwc_service.solvency import Solvency
from nwc_service.store.database import Database
from nwc_service.wallet.units import BackendName


@dataclass(frozen=True, slots=True)
class State:
    """`node_info` has the nodes that answered last time; `warnings` are for whoever has made a
    connection."""

    db: Database
    books: Database
    accounts: Accounts
    addresses: Addresses
    connections: Connections
    linking: Linking
    warnings: Callable[[Connection], list[str]]
    relays: Relays
    backends: Mapping[BackendName, LightningBackend]
    backend_types: Mapping[BackendName, str]
    node_info: Mapping[BackendName, NodeInfo]
    resolver: Resolver
    guard: Guard
    solvency: Solvency
    required_percent: int
    clock: Clock


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Reason(Body):
    """Kept in the books, with whose decision it was."""

    reason: str = ""


class Page(BaseModel):
    """Of a list; `cursor` is the `next_cursor` of the page before."""

    model_config = ConfigDict(extra="forbid")

    cursor: str | None = None
    limit: Annotated[int, Field(ge=1, le=views.MAX_PAGE)] = 100
