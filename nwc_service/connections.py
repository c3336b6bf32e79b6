"""Connections: made and revoked by the operator, or as an app asks with a link."""

import asyncio
import os
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import StrEnum
from secrets import token_hex
from typing import Annotated, TypeVar

import orjson
from pydantic import BaseModel, ConfigDict, Field

from nwc_service.accounts import Accounts
from nwc_service.answers import Clock
from nwc_service.directory import Directory
from nwc_service.failpoint import failpoint
from nwc_service.keyring import Keyring
from nwc_service.nip47 import uri
from nwc_service.nip47.connection import Connection
from nwc_service.nip47.kinds import DEFAULT_ENCRYPTION, Encryption, NotificationType
from nwc_service.nostr.keys import InvalidKey, Keypair, parse_public_key
from nwc_service.store import connections
from nwc_service.store.database import Database
from nwc_service.store.ledger import Account
from nwc_service.wallet.budget import Budget, Renewal
from nwc_service.wallet.errors import NotFound, Refused
from nwc_service.wallet.units import MAX_MSAT, AccountId, ConnectionId, Msat

RELAY_URL = re.compile(r"wss?://[^\s/?#]+[^\s]*")
MAX_RELAYS = 8
MAX_APP_CHARACTERS = 128
MAX_DESTINATIONS = 100
MAX_METADATA_CHARACTERS = 4096

# LUD-16, with what LUD-16 allows beside: a tag behind a plus, and a port.
LUD16 = re.compile(r"[a-z0-9._-]{1,64}(\+[a-z0-9._-]{1,64})?@[a-z0-9.-]{1,253}(:[0-9]{1,5})?")

Word = TypeVar("Word", bound=StrEnum)
Announce = Callable[[Connection], Awaitable[None]]
"""Listen for the connection and publish its info event, or take both back once revoked."""


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


@dataclass(frozen=True, slots=True)
class Origin:
    """Of a connection that an app asked for by a link: its relays were not the operator's
    choice, `state` is repeated in its info event (NWC-08), `methods` are what it asked for by
    name, where it did, and it ends at `expires_at` at the latest."""

    state: str | None
    methods: frozenset[str] | None
    expires_at: int | None


@dataclass(frozen=True, slots=True)
class Created:
    """`uri` holds the client's secret, which is shown once and not stored; it is None when the
    client made its own key."""

    connection: Connection
    uri: str | None = field(repr=False)


class Connections:
    def __init__(
        self,
        db: Database,
        *,
        accounts: Accounts,
        directory: Directory,
        keyring: Keyring,
        resolve_scopes: Callable[[str], frozenset[str]],
        relays_of: Callable[[Connection], tuple[str, ...]],
        announce: Announce,
        clock: Clock,
    ) -> None:
        self._db = db
        self._accounts = accounts
        self._directory = directory
        self._keyring = keyring
        self._resolve_scopes = resolve_scopes
        self._relays_of = relays_of
        self._announce = announce
        self._clock = clock

    async def create(self, wish: Wish, *, origin: Origin | None = None) -> Created:
        """Raises Refused and NotFound, with nothing changed."""
        account = await self._accounts.named(wish.account)
        secret = os.urandom(32) if wish.client_pubkey is None else None
        connection = self._connection(wish, secret, account=account, origin=origin)
        await self._db.write(lambda tx: connections.insert(tx, connection))
        failpoint("after_connection_create")
        self._directory.put(connection)
        await self._announce(connection)
        return Created(connection, self._uri(connection, secret) if secret else None)

    def _connection(
        self, wish: Wish, secret: bytes | None, *, account: Account, origin: Origin | None
    ) -> Connection:
        """Raises Refused."""
        connection_id = ConnectionId(token_hex(16))
        now = self._clock()
        return Connection(
            connection_id=connection_id,
            account_id=account.account_id,
            backend=account.backend,
            app=app_name("app", wish.app),
            wallet_pubkey=self._keyring.wallet_pubkey(connection_id),
            client_pubkey=(
                Keypair(secret).public_key
                if secret
                else client_key("client_pubkey", wish.client_pubkey or "")
            ),
            scopes=(origin and origin.methods) or self._scopes(wish.scopes),
            notifications=_notifications(wish.notifications),
            encryption=_encryption(wish.encryption),
            relays=_relays(wish.relays),
            budget=_budget(wish),
            max_payment_msat=_limit("max_payment_msat", wish.max_payment_msat),
            created_at=now,
            expires_at=_expires_at(wish, origin, now=now),
            internal_only=wish.internal_only,
            destinations=_destinations(wish.destinations),
            relays_by_user=origin is not None,
            lud16=_lud16(wish.lud16),
            link_state=origin.state if origin else None,
            metadata=_metadata(wish.metadata),
        )

    async def revoke(self, connection_id: ConnectionId) -> None:
        """With every connection that it has made: a stolen key must not live on in them.

        Raises NotFound. Requests that were claimed before are still answered.
        """
        now = self._clock()
        revoked = await self._db.write(
            lambda tx: connections.revoke(tx, connection_id, now=now)
        )
        if not revoked:
            raise NotFound(f"there is no connection {connection_id!r}")
        failpoint("after_revoke")
        for connection in revoked:
            self._directory.put(connection)
        await asyncio.gather(*map(self._announce, revoked))

    def serves(self, client_pubkey: str) -> bool:
        """Whether a live connection has this client key."""
        now = self._clock()
        return any(c.client_pubkey == client_pubkey and c.is_live(now) for c in self._directory)

    async def any_live(self, account_id: AccountId) -> bool:
        found = await self._db.read(
            lambda tx: connections.connections(tx, account_id=account_id)
        )
        return any(connection.is_live(self._clock()) for connection in found)

    def _uri(self, connection: Connection, secret: bytes) -> str:
        return uri.build(
            wallet_pubkey=connection.wallet_pubkey,
            relays=self._relays_of(connection),
            secret=secret.hex(),
            lud16=connection.lud16,
        )

    def _scopes(self, text: str) -> frozenset[str]:
        try:
            return self._resolve_scopes(text)
        except ValueError as error:
            raise Refused(str(error)) from error


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


def _expires_at(wish: Wish, origin: Origin | None, *, now: int) -> int | None:
    if wish.expires_in_s is not None and wish.expires_at is not None:
        raise Refused("expires_at and expires_in_s are both given")
    wished = wish.expires_at if wish.expires_in_s is None else now + wish.expires_in_s
    asked = None if origin is None else origin.expires_at
    expires_at = min((end for end in (wished, asked) if end is not None), default=None)
    if expires_at is not None and expires_at <= now:
        raise Refused("expires_at is in the past")
    return expires_at


def _destinations(keys: list[str]) -> tuple[str, ...] | None:
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


def _lud16(address: str | None) -> str | None:
    if address is not None and not LUD16.fullmatch(address):
        raise Refused("lud16 is not a Lightning address such as name@example.org")
    return address


def _metadata(metadata: dict[str, object] | None) -> str | None:
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


def _notifications(text: str | None) -> frozenset[NotificationType]:
    if text is None:
        return frozenset(NotificationType)
    return frozenset(_words("notifications", text, kind=NotificationType))


def _encryption(text: str | None) -> tuple[Encryption, ...]:
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


def _budget(wish: Wish) -> Budget | None:
    limit_msat = _limit("budget_msat", wish.budget_msat)
    if limit_msat is None:
        if wish.budget_renewal is not None:
            raise Refused("budget_renewal is given without budget_msat")
        return None
    try:
        return Budget(limit_msat, Renewal(wish.budget_renewal or Renewal.NEVER))
    except ValueError as error:
        raise Refused(f"budget_renewal: {error}; choices: {', '.join(Renewal)}") from error


def _limit(field: str, amount_msat: int | None) -> Msat | None:
    if amount_msat is None:
        return None
    if not 0 < amount_msat <= MAX_MSAT:
        raise Refused(f"{field} {amount_msat} is not between 1 and {MAX_MSAT}")
    return Msat(amount_msat)


def _relays(relays: list[str]) -> tuple[str, ...]:
    if len(relays) > MAX_RELAYS:
        raise Refused(f"relays: at most {MAX_RELAYS}")
    for relay in relays:
        if not RELAY_URL.fullmatch(relay):
            raise Refused(f"relay {relay!r} is not a ws:// or wss:// URL")
    return tuple(dict.fromkeys(relay.rstrip("/") for relay in relays))
