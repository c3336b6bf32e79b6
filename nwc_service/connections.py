"""Connections: made and revoked, by the operator now and by methods later."""

import os
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from enum import StrEnum
from secrets import token_hex
from typing import Annotated, TypeVar

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
from nwc_service.wallet.budget import Budget, Renewal
from nwc_service.wallet.errors import NotFound, Refused
from nwc_service.wallet.units import MAX_MSAT, ConnectionId, Msat

RELAY_URL = re.compile(r"wss?://[^\s/?#]+[^\s]*")
MAX_RELAYS = 8
MAX_APP_CHARACTERS = 128

Word = TypeVar("Word", bound=StrEnum)
Announce = Callable[[Connection], Awaitable[None]]
"""Listen for the connection and publish its info event, or take both back once revoked."""


class Wish(BaseModel):
    """What a new connection shall be, as the operator asks; None means the default."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    account: str
    app: str
    scopes: str = "full"
    notifications: str | None = None
    budget_msat: int | None = None
    budget_renewal: str | None = None
    max_payment_msat: int | None = None
    expires_in_s: Annotated[int, Field(ge=1, le=100 * 366 * 86_400)] | None = None
    encryption: str | None = None
    client_pubkey: str | None = None
    relays: list[str] = Field(default_factory=list)


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

    async def create(self, wish: Wish) -> Created:
        """Raises Refused and NotFound, with nothing changed."""
        account = await self._accounts.named(wish.account)
        secret = os.urandom(32) if wish.client_pubkey is None else None
        client_pubkey = (
            Keypair(secret).public_key if secret else _public_key(wish.client_pubkey)
        )
        connection_id = ConnectionId(token_hex(16))
        now = self._clock()
        connection = Connection(
            connection_id=connection_id,
            account_id=account.account_id,
            app=_app(wish.app),
            wallet_pubkey=self._keyring.wallet_pubkey(connection_id),
            client_pubkey=client_pubkey,
            scopes=self._scopes(wish.scopes),
            notifications=_notifications(wish.notifications),
            encryption=_encryption(wish.encryption),
            relays=_relays(wish.relays),
            budget=_budget(wish),
            max_payment_msat=_limit("max_payment_msat", wish.max_payment_msat),
            created_at=now,
            expires_at=None if wish.expires_in_s is None else now + wish.expires_in_s,
        )
        await self._db.write(lambda tx: connections.insert(tx, connection))
        failpoint("after_connection_create")
        self._directory.put(connection)
        await self._announce(connection)
        return Created(connection, self._uri(connection, secret) if secret else None)

    async def revoke(self, connection_id: ConnectionId) -> Connection:
        """Raises NotFound. Requests that were claimed before are still answered."""
        connection = self._directory.by_id(connection_id)
        if connection is None:
            raise NotFound(f"there is no connection {connection_id!r}")
        now = self._clock()
        await self._db.write(lambda tx: connections.revoke(tx, connection_id, now=now))
        failpoint("after_revoke")
        revoked = replace(connection, revoked_at=connection.revoked_at or now)
        self._directory.put(revoked)
        await self._announce(revoked)
        return revoked

    def _uri(self, connection: Connection, secret: bytes) -> str:
        return uri.build(
            wallet_pubkey=connection.wallet_pubkey,
            relays=self._relays_of(connection),
            secret=secret.hex(),
        )

    def _scopes(self, text: str) -> frozenset[str]:
        try:
            return self._resolve_scopes(text)
        except ValueError as error:
            raise Refused(str(error)) from error


def _app(app: str) -> str:
    if not 0 < len(app.strip()) <= MAX_APP_CHARACTERS or not app.isprintable():
        raise Refused(f"app must be 1 to {MAX_APP_CHARACTERS} printable characters")
    return app.strip()


def _public_key(text: str | None) -> str:
    try:
        return parse_public_key(text or "")
    except InvalidKey as error:
        raise Refused(f"client_pubkey: {error}") from error


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
