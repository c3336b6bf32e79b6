"""Connections: made and revoked by the operator, or as an app asks with a link."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from secrets import token_hex

from nwc_service.accounts import Accounts
from nwc_service.addresses import Lud16Of
from nwc_service.answers import Clock
from nwc_service.directory import Directory
from nwc_service.failpoint import failpoint
from nwc_service.keyring import Keyring
from nwc_service.nip47 import uri
from nwc_service.nip47.connection import Connection
from nwc_service.nostr.keys import Keypair
from nwc_service.store import connections, decisions
from nwc_service.store.database import Database, Tx
from nwc_service.store.ledger import Account
from nwc_service.wallet.errors import NotFound, Refused
from nwc_service.wallet.units import AccountId, ConnectionId
from nwc_service.wishes import (
    Change,
    Scopes,
    Wish,
    app_name,
    budget,
    changed,
    client_key,
    encryption_schemes,
    end_of,
    lightning_address,
    limit,
    metadata_text,
    node_keys,
    notification_types,
    relay_urls,
)

Announce = Callable[[Connection], Awaitable[None]]
"""Listen for the connection and publish its info event, or take both back once revoked."""

CHANGED, ROTATED, REVOKED = "connection_changed", "connection_rotated", "connection_revoked"
PAUSED, RESUMED = "connection_paused", "connection_resumed"


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
        resolve_scopes: Scopes,
        relays_of: Callable[[Connection], tuple[str, ...]],
        lud16_of: Lud16Of,
        announce: Announce,
        clock: Clock,
    ) -> None:
        self._db = db
        self._accounts = accounts
        self._directory = directory
        self._keyring = keyring
        self._resolve_scopes = resolve_scopes
        self._relays_of = relays_of
        self._lud16_of = lud16_of
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
        return Created(connection, await self._uri(connection, secret) if secret else None)

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
            notifications=notification_types(wish.notifications),
            encryption=encryption_schemes(wish.encryption),
            relays=relay_urls(wish.relays),
            budget=budget(wish.budget_msat, wish.budget_renewal),
            max_payment_msat=limit("max_payment_msat", wish.max_payment_msat),
            created_at=now,
            expires_at=end_of(wish, now=now, asked=origin.expires_at if origin else None),
            internal_only=wish.internal_only,
            destinations=node_keys(wish.destinations),
            relays_by_user=origin is not None,
            lud16=lightning_address(wish.lud16),
            link_state=origin.state if origin else None,
            metadata=metadata_text(wish.metadata),
        )

    async def revoke(
        self, connection_id: ConnectionId, *, reason: str = "", by: str = ""
    ) -> None:
        """With every connection that it has made: a stolen key must not live on in them.

        Raises NotFound. Requests that were claimed before are still answered.
        """
        now = self._clock()

        async def work(tx: Tx) -> list[Connection]:
            found = await self._found(tx, connection_id)
            family = await connections.revoke(tx, connection_id, now=now)
            if found.revoked_at is None:
                await _record(tx, REVOKED, found, reason=reason, by=by, now=now)
            return family

        revoked = await self._db.write(work)
        failpoint("after_revoke")
        await self._have_changed(revoked)

    async def pause(
        self, connection_id: ConnectionId, *, reason: str = "", by: str = ""
    ) -> None:
        """Do nothing for it, nor for what it has made, until it is resumed.

        Raises NotFound, and Refused for one that was revoked. What was claimed before goes on.
        """
        await self._set_paused(connection_id, PAUSED, reason=reason, by=by)

    async def resume(
        self, connection_id: ConnectionId, *, reason: str = "", by: str = ""
    ) -> None:
        """Raises NotFound, and Refused for one that was revoked."""
        await self._set_paused(connection_id, RESUMED, reason=reason, by=by)

    async def change(
        self, connection_id: ConnectionId, change: Change, *, by: str = ""
    ) -> None:
        """What it has made keeps what it was given then, and counts in its budget as before.

        Raises NotFound, and Refused with nothing changed.
        """
        now = self._clock()

        async def work(tx: Tx) -> Connection:
            found = await self._not_revoked(tx, connection_id)
            new = changed(found, change, scopes=self._scopes, now=now)
            await connections.update(tx, new)
            detail = ", ".join(sorted(change.model_fields_set))
            await _record(tx, CHANGED, found, detail=detail, by=by, now=now)
            return new

        new = await self._db.write(work)
        await self._have_changed([new])

    async def rotate(
        self, connection_id: ConnectionId, *, client_pubkey: str | None = None, by: str = ""
    ) -> Created:
        """A new key for the app, its own `client_pubkey` or one in the URI; the old one is
        nobody's from now on. What it has made is untouched.

        Raises NotFound, and Refused with nothing changed.
        """
        secret = os.urandom(32) if client_pubkey is None else None
        key = (
            Keypair(secret).public_key
            if secret
            else client_key("client_pubkey", client_pubkey or "")
        )
        now = self._clock()

        async def work(tx: Tx) -> Connection:
            found = await self._not_revoked(tx, connection_id)
            if key == found.client_pubkey:
                raise Refused("client_pubkey: the connection has this key already")
            new = replace(found, client_pubkey=key)
            await connections.update(tx, new)
            await _record(tx, ROTATED, found, by=by, now=now)
            return new

        new = await self._db.write(work)
        await self._have_changed([new])
        return Created(new, await self._uri(new, secret) if secret else None)

    async def _set_paused(
        self, connection_id: ConnectionId, kind: str, *, reason: str, by: str
    ) -> None:
        now = self._clock()
        paused_at = now if kind == PAUSED else None

        async def work(tx: Tx) -> list[Connection]:
            found = await self._not_revoked(tx, connection_id)
            if (found.paused_at is None) is (paused_at is not None):
                await _record(tx, kind, found, reason=reason, by=by, now=now)
            return await connections.set_paused(tx, connection_id, paused_at=paused_at)

        family = await self._db.write(work)
        for connection in family:
            self._directory.put(connection)

    async def _found(self, tx: Tx, connection_id: ConnectionId) -> Connection:
        found = await connections.connection(tx, connection_id)
        if found is None:
            raise NotFound(f"there is no connection {connection_id!r}")
        return found

    async def _not_revoked(self, tx: Tx, connection_id: ConnectionId) -> Connection:
        found = await self._found(tx, connection_id)
        if found.revoked_at is not None:
            raise Refused("the connection is revoked, for good")
        return found

    async def _have_changed(self, those: list[Connection]) -> None:
        for connection in those:
            self._directory.put(connection)
        await asyncio.gather(*map(self._announce, those))

    @property
    def count(self) -> int:
        """Of those that are live."""
        now = self._clock()
        return sum(connection.is_live(now) for connection in self._directory)

    def serves(self, client_pubkey: str) -> bool:
        """Whether a live connection has this client key."""
        now = self._clock()
        return any(c.client_pubkey == client_pubkey and c.is_live(now) for c in self._directory)

    async def any_live(self, account_id: AccountId) -> bool:
        found = await self._db.read(
            lambda tx: connections.connections(tx, account_id=account_id)
        )
        return any(connection.is_live(self._clock()) for connection in found)

    async def _uri(self, connection: Connection, secret: bytes) -> str:
        lud16 = connection.lud16 or await self._lud16_of(connection.account_id)
        return uri.build(
            wallet_pubkey=connection.wallet_pubkey,
            relays=self._relays_of(connection),
            secret=secret.hex(),
            lud16=lud16,
        )

    def _scopes(self, text: str) -> frozenset[str]:
        try:
            return self._resolve_scopes(text)
        except ValueError as error:
            raise Refused(str(error)) from error


async def _record(
    tx: Tx,
    kind: str,
    connection: Connection,
    *,
    reason: str = "",
    detail: str = "",
    by: str,
    now: int,
) -> None:
    subject = connection.connection_id
    await decisions.record(
        tx, kind, subject=subject, reason=reason, detail=detail, by=by, now=now
    )
