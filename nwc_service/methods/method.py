"""What a NIP-47 method is: its name, its parameters, what it needs, and what it does."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated, Any

import orjson
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from nwc_service.answers import Caller, Clock
from nwc_service.backend import Cap, LightningBackend, NodeInfo
from nwc_service.nip47.connection import Connection
from nwc_service.receive import Receiver
from nwc_service.spend import Spender
from nwc_service.store.database import Database
from nwc_service.wallet.units import MAX_MSAT, BackendName

MAX_METADATA_CHARACTERS = 4096

NOTHING = Cap(0)

Result = Mapping[str, object]


class Preset(IntEnum):
    """Named sets of scopes; each holds those before it."""

    READ = 1
    RECEIVE = 2
    FULL = 3


class Params(BaseModel):
    """Parameters as they enter: exact types; unknown keys, which clients add, are ignored."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")


@dataclass(frozen=True, slots=True)
class Wallet:
    """What methods work with."""

    db: Database
    backends: Mapping[BackendName, LightningBackend]
    default_backend: BackendName
    node_info: Callable[[BackendName], NodeInfo]
    announced: Callable[[Connection], list[str]]
    spender: Spender
    receiver: Receiver
    invoice_expiry_s: int
    clock: Clock

    @property
    def backend(self) -> LightningBackend:
        return self.backends[self.default_backend]


@dataclass(frozen=True, slots=True)
class Context:
    wallet: Wallet
    caller: Caller


Handler = Callable[[Context, Any], Awaitable[Result | None]]
"""The result to answer with, or None when the outbox brings the answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """`preset` None: must be named to be granted. `mutates`: each request is claimed once for
    ever, its answer is stored, and its handler raises RequestError or AlreadyClaimed."""

    name: str
    params: type[Params]
    handle: Handler
    preset: Preset | None = Preset.FULL
    mutates: bool = False
    needs: Cap = NOTHING


def _storable(text: str) -> str:
    # A lone surrogate cannot be encoded, and PostgreSQL stores no NUL (A17).
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("is not valid Unicode") from None
    if "\0" in text:
        raise ValueError("contains a NUL character")
    return text


AmountMsat = Annotated[int, Field(ge=1, le=MAX_MSAT)]
Hex32 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Text = Annotated[str, AfterValidator(_storable)]


def stored_metadata(metadata: Mapping[str, object] | None) -> str | None:
    """NWC-06: more than 4096 characters are dropped, and the request proceeds."""
    if not metadata:
        return None
    try:
        text = orjson.dumps(metadata).decode()
        _storable(text)
    except (TypeError, ValueError):
        return None
    return text if len(text) <= MAX_METADATA_CHARACTERS else None
