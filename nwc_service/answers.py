"""Answers and notifications: sealed once, stored in the transaction that makes them true."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from nwc_service.keyring import Keyring
from nwc_service.metrics.meters import request_meter
from nwc_service.nip47.connection import Connection
from nwc_service.nip47.envelope import (
    ENTROPY_BYTES,
    MAX_FUTURE_S,
    USUAL_SHAPE,
    Shape,
    notification_payload,
    outcome_of,
    seal_notification,
    seal_response,
)
from nwc_service.nip47.kinds import NotificationType
from nwc_service.nostr.event import Event
from nwc_service.store import connections, outbox, requests
from nwc_service.store.database import Tx
from nwc_service.store.outbox import Outgoing
from nwc_service.store.requests import Claim
from nwc_service.wallet.units import AccountId, ConnectionId, InvoiceId, PaymentId

Clock = Callable[[], int]
"""Unix seconds."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, and what is needed to answer."""

    connection: Connection
    claim: Claim


class Answers:
    def __init__(
        self,
        keyring: Keyring,
        *,
        clock: Clock,
        shape: Shape = USUAL_SHAPE,
        entropy: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._keyring = keyring
        self._clock = clock
        self._shape = shape
        self._entropy = entropy
        self._last_created_at: dict[ConnectionId, int] = {}

    def seal(self, connection: Connection, claim: Claim, *, payload: str) -> Event:
        """A response event; the same payload gives another event each time, so store it."""
        return seal_response(
            payload if self._shape == USUAL_SHAPE else self._shape.of(payload),
            self._keyring.channel(connection),
            encryption=claim.encryption,
            request_id=claim.event_id,
            d_tag=claim.d_tag,
            created_at=self._created_at(connection, not_before=claim.created_at),
            entropy=self._entropy(ENTROPY_BYTES),
        )

    async def store(
        self, tx: Tx, connection: Connection, *, claim: Claim, payload: str
    ) -> list[Outgoing]:
        """The answer to a claimed request; nothing when it has its answer already."""
        if not await requests.mark_answered(tx, claim.request_id, now=self._clock()):
            return []
        tx.on_commit(partial(request_meter(claim.method).answered, outcome_of(payload)))
        event = self.seal(connection, claim, payload=payload)
        outgoing = self._outgoing(event, connection, request_id=claim.request_id)
        await outbox.insert(tx, outgoing)
        return [outgoing]

    async def store_for_waiting(
        self, tx: Tx, payment_id: PaymentId, *, payload: Callable[[str], str]
    ) -> list[Outgoing]:
        """Answer every request that waits for this payment; `payload` is told the method."""
        return await self._store_all(
            tx, await requests.waiting_for(tx, payment_id), payload=payload
        )

    async def store_for_invoice(
        self, tx: Tx, invoice_id: InvoiceId, *, payload: Callable[[str], str]
    ) -> list[Outgoing]:
        """As `store_for_waiting`, for requests that wait for this invoice."""
        return await self._store_all(
            tx, await requests.waiting_for_invoice(tx, invoice_id), payload=payload
        )

    async def _store_all(
        self, tx: Tx, claims: list[Claim], *, payload: Callable[[str], str]
    ) -> list[Outgoing]:
        stored: list[Outgoing] = []
        for claim in claims:
            connection = await connections.connection(tx, claim.connection_id)
            if connection is not None:
                stored += await self.store(
                    tx, connection, claim=claim, payload=payload(claim.method)
                )
        return stored

    async def notify(
        self,
        tx: Tx,
        kind: NotificationType,
        *,
        account_id: AccountId,
        made_by: ConnectionId | None,
        body: Mapping[str, object],
    ) -> list[Outgoing]:
        """Tell every live connection of the account that wants to know and may see the row."""
        payload = notification_payload(kind, body)
        stored: list[Outgoing] = []
        for connection in await connections.connections(tx, account_id=account_id):
            if kind not in connection.notifications or not connection.is_served(self._clock()):
                continue
            if not connection.sees_account and connection.connection_id != made_by:
                continue
            for event in self._notifications(connection, payload):
                outgoing = self._outgoing(event, connection, request_id=None)
                await outbox.insert(tx, outgoing)
                stored.append(outgoing)
        return stored

    def redate(self, connection: Connection, event: Event) -> Event:
        """The same content with a fresh date, for relays that refuse old ephemeral events."""
        channel = self._keyring.channel(connection)
        return channel.sign(
            kind=event.kind,
            content=event.content,
            tags=event.tags,
            created_at=self._created_at(connection),
            aux=self._entropy(32),
        )

    def _notifications(self, connection: Connection, payload: str) -> list[Event]:
        # NIP-47: a service that supports both schemes should publish both kinds.
        return [
            seal_notification(
                payload,
                self._keyring.channel(connection),
                encryption=encryption,
                created_at=self._created_at(connection),
                entropy=self._entropy(ENTROPY_BYTES),
            )
            for encryption in connection.encryption
        ]

    def _created_at(self, connection: Connection, *, not_before: int = 0) -> int:
        """Never before the request's own date, which defeats clients with `since` filters and
        skewed clocks, and never going back for one connection."""
        now = self._clock()
        last = self._last_created_at.get(connection.connection_id, 0)
        created_at = min(max(now, not_before, last), now + MAX_FUTURE_S)
        self._last_created_at[connection.connection_id] = created_at
        return created_at

    def _outgoing(
        self, event: Event, connection: Connection, *, request_id: str | None
    ) -> Outgoing:
        return Outgoing(
            event_id=event.id,
            event=event.to_json(),
            connection_id=connection.connection_id,
            request_id=request_id,
            created_at=event.created_at,
        )
