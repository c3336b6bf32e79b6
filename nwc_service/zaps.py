"""Receipts of zaps (NIP-57), brought to the relays that the zap requests name.

What is due is found in the rows, so nothing is lost with the process; a receipt is signed once
and kept before it is published, so that every copy of it has the same id.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable

import structlog

from nwc_service.answers import Clock
from nwc_service.keyring import Keyring
from nwc_service.lnurl import zap as nip57
from nwc_service.nip47 import strict_json
from nwc_service.nostr.event import Event, parse_event
from nwc_service.outbound import ForbiddenAddress, Outbound
from nwc_service.relay.connection import PublishResult, RelayConnection
from nwc_service.store import zaps
from nwc_service.store.database import Database
from nwc_service.store.zaps import Zap

log = structlog.get_logger()

EVERY_S = 1.0
AT_A_TIME = 10
PUBLISH_TIMEOUT_S = 10.0
RETRY_AFTER_S = (10, 60, 600, 3600)
"""After each attempt but the last; then those relays go without."""

Publish = Callable[[str, Event], Awaitable[PublishResult]]


class Zaps:
    def __init__(
        self, db: Database, *, keyring: Keyring, publish: Publish, clock: Clock
    ) -> None:
        self._db = db
        self._keyring = keyring
        self._publish = publish
        self._clock = clock

    async def run(self) -> None:
        """For ever; in a task of its own."""
        while True:
            try:
                await self.publish_due()
            except Exception:
                log.exception("zaps.failed")
            await asyncio.sleep(EVERY_S)

    async def publish_due(self) -> None:
        """The receipts that are due now, some at a time, each attempt within its timeout."""
        now = self._clock()
        due = await self._db.read(lambda tx: zaps.due(tx, now=now, limit=AT_A_TIME))
        await asyncio.gather(*map(self._bring, due))

    async def _bring(self, zap: Zap) -> None:
        event = await self._receipt(zap)
        results = await asyncio.gather(*(self._publish(relay, event) for relay in zap.relays))
        open_ones = [
            relay
            for relay, result in zip(zap.relays, results, strict=True)
            if not result.accepted and not result.is_refused
        ]
        is_last = zap.attempts >= len(RETRY_AFTER_S)
        now = self._clock()
        next_at = now if is_last else now + RETRY_AFTER_S[zap.attempts]
        await self._db.write(
            lambda tx: zaps.tried(
                tx,
                zap.invoice_id,
                relays=open_ones,
                next_at=next_at,
                done_at=now if is_last or not open_ones else None,
            )
        )

    async def _receipt(self, zap: Zap) -> Event:
        if zap.receipt is not None:
            return parse_event(strict_json.loads(zap.receipt))
        signed = nip57.receipt(
            self._keyring.zap_keypair(),
            zap.request,
            invoice=zap.invoice,
            preimage=zap.preimage,
            settled_at=zap.settled_at,
            aux=os.urandom(32),
        )
        kept = await self._db.write(
            lambda tx: zaps.keep_receipt(tx, zap.invoice_id, signed.to_json())
        )
        return parse_event(strict_json.loads(kept))


def publisher(outbound: Outbound) -> Publish:
    """To relays that strangers name: to public addresses only, one connection each time."""

    async def publish(url: str, event: Event) -> PublishResult:
        try:
            address = (await outbound.addresses(url))[0]
        except ForbiddenAddress as error:
            return PublishResult(False, f"blocked: {error}")
        except (OSError, ValueError) as error:
            return PublishResult(False, f"error: {error}")

        async def route() -> str | None:
            return address

        relay = RelayConnection(
            url,
            subscriptions=dict,
            on_event=lambda _url, _raw: None,
            on_open=lambda: None,
            route=route,
        )
        running = asyncio.create_task(relay.run())
        try:
            return await relay.publish(event, timeout_s=PUBLISH_TIMEOUT_S)
        finally:
            running.cancel()
            await asyncio.wait([running])

    return publish
