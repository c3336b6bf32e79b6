"""What a NIP-47 method is: its name, its parameters, what it needs, and what it does."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from enum import IntEnum
from functools import cache
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import orjson
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from nwc_service.addresses import Lud16Of
from nwc_service.answers import Caller, Clock
from nwc_service.backend import Cap, LightningBackend, NodeInfo
from nwc_service.delegation import Delegation
from nwc_service.holds import Holds
from nwc_service.nip47.connection import Connection
from nwc_service.offers import OfferMaker
from nwc_service.receive import Receiver
from nwc_service.spend import Spender
from nwc_service.store.database import Database
from nwc_service.wallet.errors import ErrorCode, RequestError
from nwc_service.wallet.refusals import NODE_GONE
from nwc_service.wallet.units import MAX_MSAT, BackendName

MAX_METADATA_CHARACTERS = 4096

NOTHING = Cap(0)

Result = Mapping[str, object]


class Preset(IntEnum):
    """Named sets of scopes; each holds those before it.

    FULL is what older apps know: nostr-sdk 0.44 rejects a whole get_info that names a method
    which it does not. ALL is for apps that read on.
    """

    READ = 1
    RECEIVE = 2
    FULL = 3
    ALL = 4


class Params(BaseModel, hide_input_in_errors=True):
    """Parameters as they enter: exact types; unknown keys, which clients add, are ignored, and
    so is an optional text that is empty, since some clients send every key. What a client
    wrote is in no traceback, whatever else fails with it."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")

    @model_validator(mode="before")
    @classmethod
    def _without_empty_texts(cls, raw: object) -> object:
        if not isinstance(raw, dict):
            return raw
        optional = _optional_texts(cls)
        return {
            name: value for name, value in raw.items() if not (value == "" and name in optional)
        }


@cache
def _optional_texts(params: type[Params]) -> frozenset[str]:
    """By the names that clients use."""
    return frozenset(
        field.alias or name
        for name, field in params.model_fields.items()
        if not field.is_required() and _is_text(field.annotation)
    )


def _is_text(kind: object) -> bool:
    """Whether it is a type of text, or one of several with which it may be left out."""
    if get_origin(kind) in (Annotated, Literal, Union, UnionType):
        return any(map(_is_text, get_args(kind)))
    return isinstance(kind, str) or (isinstance(kind, type) and issubclass(kind, str))


@dataclass(frozen=True, slots=True)
class Wallet:
    """What methods work with; `backend_name` is that of the account which asks."""

    db: Database
    backends: Mapping[BackendName, LightningBackend]
    backend_name: BackendName
    node_info: Callable[[BackendName], NodeInfo]
    announced: Callable[[Connection], list[str]]
    spender: Spender
    receiver: Receiver
    offers: OfferMaker
    holds: Holds
    delegation: Delegation
    lud16_of: Lud16Of
    invoice_expiry_s: int
    clock: Clock

    @property
    def backend(self) -> LightningBackend:
        """Raises RequestError where the operator has taken it away."""
        try:
            return self.backends[self.backend_name]
        except KeyError:
            raise RequestError(ErrorCode.INTERNAL, NODE_GONE) from None

    @property
    def own_pubkeys(self) -> frozenset[str | None]:
        """Of all nodes: the accounts here are behind each of them."""
        return frozenset(self.node_info(name).pubkey for name in self.backends)

    def at(self, backend_name: BackendName) -> "Wallet":
        return replace(self, backend_name=backend_name)


@dataclass(frozen=True, slots=True)
class Context:
    """`refuse` stores the refusal of a claimed request as its answer."""

    wallet: Wallet
    caller: Caller
    refuse: Callable[[Caller, RequestError], Awaitable[None]]


Handler = Callable[[Context, Any], Awaitable[Result | None]]
"""The result to answer with, or None when the outbox brings the answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """`preset` None: must be named to be granted. `mutates`: each request is claimed once for
    ever, its answer is stored, and its handler raises RequestError or AlreadyClaimed.
    `ungranted`: answered without the scope too. `bad_params` is the code for parameters that
    are not in order."""

    name: str
    params: type[Params]
    handle: Handler
    preset: Preset | None = Preset.FULL
    mutates: bool = False
    needs: Cap = NOTHING
    ungranted: bool = False
    bad_params: ErrorCode = ErrorCode.OTHER


def validated(
    params: type[Params], raw: object, *, bad_params: ErrorCode = ErrorCode.OTHER
) -> Params:
    """Raises RequestError that names the field, in the field's words, without its value."""
    try:
        return params.model_validate(raw)
    except ValidationError as error:
        problem = error.errors(include_input=False, include_url=False)[0]
        field = ".".join(str(part) for part in problem["loc"]) or "params"
        raise RequestError(bad_params, f"{field}: {problem['msg']}") from error


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
Hex32 = Annotated[str, Field(pattern=r"^[0-9a-fA-F]{64}$"), AfterValidator(str.lower)]
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
