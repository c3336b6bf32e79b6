"""What a connection shall be, as the operator asks for it: read, and checked."""

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from enum import StrEnum
from typing import Annotated, Any, TypeVar

import orjson
from pydantic import BaseModel, ConfigDict, Field

from nwc_service.nip47.connection import Connection
from nwc_service.nip47.kinds import DEFAULT_ENCRYPTION, Encryption, NotificationType
from nwc_service.nostr.keys import InvalidKey, parse_public_key
from nwc_service.wallet.budget import Budget, Renewal
from nwc_service.wallet.errors import Refused
from nwc_service.wallet.units import MAX_MSAT, Msat

RELAY_URL = re.compile(r"wss?://[^\s/?#]+[^\s]*")
MAX_RELAYS = 8
MAX_APP_CHARACTERS = 128
MAX_DESTINATIONS = 100
MAX_METADATA_CHARACTERS = 4096

# LUD-16, with what LUD-16 allows beside: a tag behind a plus, and a port.
LUD16 = re.compile(r"[a-z0-9._-]{1,64}(\+[a-z0-9._-]{1,64})?@[a-z0-9.-]{1,253}(:[0-9]{1,5})?")

Word = TypeVar("Word", bound=StrEnum)

ExpiresInS = Annotated[int, Field(ge=1, le=100 * 366 * 86_400)]


class Wish(BaseModel):
    """What a new connection shall be, as the operator asks; None means the default, and no
    destinations mean that any node may be paid."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    account: str
    app: str
    scopes: str = "full"
    notifications: str | None = None
    budget_msat: int | None = None
    budget_renewal: str | None = None
    max_payment_msat: int | None = None
    expires_in_s: ExpiresInS | None = None
    expires_at: Annotated[int, Field(ge=1, le=2**53)] | None = None
    encryption: str | None = None
    client_pubkey: str | None = None
    relays: list[str] = Field(default_factory=list)
    internal_only: bool = False
    destinations: list[str] = Field(default_factory=list)
    lud16: str | None = None
    metadata: dict[str, object] | None = None


class Change(BaseModel):
    """What of a connection shall be otherwise: only what is given, null for no limit."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    app: str = ""
    scopes: str = ""
    notifications: str | None = None
    budget_msat: int | None = None
    budget_renewal: str | None = None
    max_payment_msat: int | None = None
    expires_in_s: ExpiresInS | None = None
    expires_at: Annotated[int, Field(ge=1, le=2**53)] | None = None
    internal_only: bool = False
    destinations: list[str] = Field(default_factory=list)
    lud16: str | None = None
    metadata: dict[str, object] | None = None


Scopes = Callable[[str], frozenset[str]]
"""The methods that a word such as `full`, or a list of methods, stands for."""


def changed(connection: Connection, change: Change, *, scopes: Scopes, now: int) -> Connection:
    """Raises Refused."""
    new = _plain(change, scopes=scopes)
    given = change.model_fields_set
    values: dict[str, Any] = {name: value() for name, value in new.items() if name in given}
    if given & {"budget_msat", "budget_renewal"}:
        values["budget"] = _changed_budget(connection.budget, change)
    if given & {"expires_at", "expires_in_s"}:
        values["expires_at"] = end_of(change, now=now)
    return replace(connection, **values)


def _plain(change: Change, *, scopes: Scopes) -> Mapping[str, Callable[[], object]]:
    """Each field that has one name here and in the connection."""
    return {
        "app": lambda: app_name("app", change.app),
        "scopes": lambda: scopes(change.scopes),
        "notifications": lambda: notification_types(change.notifications),
        "max_payment_msat": lambda: limit("max_payment_msat", change.max_payment_msat),
        "internal_only": lambda: change.internal_only,
        "destinations": lambda: node_keys(change.destinations),
        "lud16": lambda: lightning_address(change.lud16),
        "metadata": lambda: metadata_text(change.metadata),
    }


def _changed_budget(current: Budget | None, change: Change) -> Budget | None:
    """What is not given stays as it is; no budget has no renewal."""
    given = change.model_fields_set
    budget_msat = change.budget_msat
    if "budget_msat" not in given and current is not None:
        budget_msat = current.limit_msat
    renewal = change.budget_renewal
    if "budget_renewal" not in given and budget_msat is not None and current is not None:
        renewal = current.renewal
    return budget(budget_msat, renewal)


def end_of(wish: Wish | Change, *, now: int, asked: int | None = None) -> int | None:
    """The earlier of what the operator wishes and the app has `asked`. Raises Refused."""
    if wish.expires_in_s is not None and wish.expires_at is not None:
        raise Refused("expires_at and expires_in_s are both given")
    wished = wish.expires_at if wish.expires_in_s is None else now + wish.expires_in_s
    expires_at = min((end for end in (wished, asked) if end is not None), default=None)
    if expires_at is not None and expires_at <= now:
        raise Refused("expires_at is in the past")
    return expires_at


def app_name(field: str, app: str) -> str:
    """Raises Refused."""
    if not 0 < len(app.strip()) <= MAX_APP_CHARACTERS or not app.isprintable():
        raise Refused(f"{field} must be 1 to {MAX_APP_CHARACTERS} printable characters")
    return app.strip()


def client_key(field: str, text: str) -> str:
    """Raises Refused."""
    try:
        return parse_public_key(text)
    except InvalidKey as error:
        raise Refused(f"{field}: {error}") from error


def node_keys(keys: list[str]) -> tuple[str, ...] | None:
    if len(keys) > MAX_DESTINATIONS:
        raise Refused(f"destinations: at most {MAX_DESTINATIONS}")
    return tuple(dict.fromkeys(map(_node_key, keys))) or None


def _node_key(key: str) -> str:
    try:
        parse_public_key(key[2:])
    except InvalidKey as error:
        raise Refused(f"destination: {error}") from error
    if key[:2] not in ("02", "03"):
        raise Refused("destination: a node's key begins with 02 or 03")
    return key


def lightning_address(address: str | None) -> str | None:
    if address is not None and not LUD16.fullmatch(address):
        raise Refused("lud16 is not a Lightning address such as name@example.org")
    return address


def metadata_text(metadata: dict[str, object] | None) -> str | None:
    """NWC-06 drops what is too long; an operator is told instead."""
    if not metadata:
        return None
    try:
        text = orjson.dumps(metadata).decode()
    except TypeError as error:
        raise Refused("metadata is not text that can be stored") from error
    if len(text) > MAX_METADATA_CHARACTERS:
        raise Refused(f"metadata: at most {MAX_METADATA_CHARACTERS} characters as JSON")
    return text


def notification_types(text: str | None) -> frozenset[NotificationType]:
    if text is None:
        return frozenset(NotificationType)
    return frozenset(_words("notifications", text, kind=NotificationType))


def encryption_schemes(text: str | None) -> tuple[Encryption, ...]:
    if text is None:
        return DEFAULT_ENCRYPTION
    chosen = _words("encryption", text, kind=Encryption)
    if not chosen:
        raise Refused("encryption: at least one scheme is required")
    return tuple(scheme for scheme in Encryption if scheme in chosen)


def _words(field: str, text: str, *, kind: type[Word]) -> list[Word]:
    try:
        return [kind(word.strip()) for word in text.split(",") if word.strip()]
    except ValueError as error:
        raise Refused(f"{field}: {error}; choices: {', '.join(kind)}") from error


def budget(budget_msat: int | None, renewal: str | None) -> Budget | None:
    """Raises Refused, as all of these do."""
    limit_msat = limit("budget_msat", budget_msat)
    if limit_msat is None:
        if renewal is not None:
            raise Refused("budget_renewal is given without budget_msat")
        return None
    try:
        return Budget(limit_msat, Renewal(renewal or Renewal.NEVER))
    except ValueError as error:
        raise Refused(f"budget_renewal: {error}; choices: {', '.join(Renewal)}") from error


def limit(field: str, amount_msat: int | None) -> Msat | None:
    if amount_msat is None:
        return None
    if not 0 < amount_msat <= MAX_MSAT:
        raise Refused(f"{field} {amount_msat} is not between 1 and {MAX_MSAT}")
    return Msat(amount_msat)


def relay_urls(relays: list[str]) -> tuple[str, ...]:
    if len(relays) > MAX_RELAYS:
        raise Refused(f"relays: at most {MAX_RELAYS}")
    for relay in relays:
        if not RELAY_URL.fullmatch(relay):
            raise Refused(f"relay {relay!r} is not a ws:// or wss:// URL")
    return tuple(dict.fromkeys(relay.rstrip("/") for relay in relays))
