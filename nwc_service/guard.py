"""Watches that no node goes back in time, and stops what may not be used as it is (I20).

A node that was restored from a backup has forgotten payments: its "not found" proves nothing
any more, nor does its "failed". It is stopped before anybody acts on either, and only the
operator starts it again.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

import structlog

from nwc_service.answers import Clock
from nwc_service.backend import InvoiceStatus, LightningBackend, NodeInfo, PaymentRef
from nwc_service.store import alarms, decisions, invoices, meta, nodes, payments
from nwc_service.store.database import Database, Tx
from nwc_service.store.nodes import Pause, Stops
from nwc_service.wallet.errors import NotFound, Refused
from nwc_service.wallet.invoice import Invoice
from nwc_service.wallet.outcome import InFlight, Settled, Unknown
from nwc_service.wallet.payment import Payment
from nwc_service.wallet.units import BackendName

log = structlog.get_logger()

ROLLED_BACK = "rolled_back"
OTHER_NODE = "other_node"
PAUSED = "backend_paused"
RESUMED = "backend_resumed"

CANARY_ATTEMPTS = 3
CANARY_RETRY_S = 1.0


@dataclass(frozen=True, slots=True)
class _Known:
    """What the books say that the node must still know."""

    counters: Mapping[str, int]
    identity: str | None
    paid: Payment | None
    received: Invoice | None


class Guard:
    def __init__(
        self, db: Database, *, backends: Mapping[BackendName, LightningBackend], clock: Clock
    ) -> None:
        self._db = db
        self._backends = backends
        self._clock = clock

    async def check(self, name: BackendName, info: NodeInfo) -> None:
        """Stop the backend when it is not what it was. Raises BackendUnavailable."""
        # The books first: what the node counts afterwards can only be as much or more.
        known = await self._db.read(lambda tx: _known(tx, name))
        told = await self._backends[name].counters()
        identity = _identity(info)
        if known.identity not in (None, identity):
            await self._stop(
                name, OTHER_NODE, detail=f"it was {known.identity}, it is {identity}"
            )
        elif fallen := _fallen(known.counters, told):
            await self._stop(name, ROLLED_BACK, detail=fallen)
        elif forgotten := await self._forgotten(name, known):
            await self._stop(name, ROLLED_BACK, detail=forgotten)
        else:
            await self._remember(name, known, told=told, identity=identity)

    async def resume(self, name: str, *, reason: str) -> None:
        """The operator has looked at it. What it counts now is the new floor.

        Raises NotFound and Refused.
        """
        backend = BackendName(name)
        if backend not in self._backends:
            raise NotFound(f"there is no backend {name!r}")
        if not reason.strip():
            raise Refused("a reason is required")

        async def work(tx: Tx) -> bool:
            stopped = await nodes.paused(tx, backend)
            if stopped is None:
                return False
            await nodes.resume(tx, backend)
            await nodes.forget_counters(tx, backend)
            await meta.drop(tx, _identity_of(backend))
            await alarms.clear(tx, PAUSED, subject=backend)
            await decisions.record(
                tx,
                RESUMED,
                subject=backend,
                reason=reason,
                detail=f"{stopped.reason}: {stopped.detail}",
                now=self._clock(),
            )
            return True

        if not await self._db.write(work):
            raise Refused(f"backend {name} is not paused")
        log.warning("backend.resumed", backend=name, reason=reason)

    async def _stop(self, name: BackendName, reason: str, *, detail: str) -> None:
        await self._db.write(
            lambda tx: stop(
                tx, name, stops=Stops.ALL, reason=reason, detail=detail, now=self._clock()
            )
        )

    async def _remember(
        self,
        name: BackendName,
        known: _Known,
        *,
        told: Mapping[str, int],
        identity: str | None,
    ) -> None:
        if dict(known.counters) == dict(told) and known.identity == identity:
            return

        async def work(tx: Tx) -> None:
            await nodes.raise_counters(tx, name, told)
            if identity is not None:
                await meta.put(tx, _identity_of(name), identity)

        await self._db.write(work)

    async def _forgotten(self, name: BackendName, known: _Known) -> str | None:
        """The canary: what was settled last must still be settled, asked more than once."""
        for attempt in range(CANARY_ATTEMPTS):
            if attempt:
                await asyncio.sleep(CANARY_RETRY_S)
            problem = await self._missing(name, known)
            if problem is None:
                return None
        return problem

    async def _missing(self, name: BackendName, known: _Known) -> str | None:
        backend = self._backends[name]
        if known.paid is not None:
            ref = PaymentRef(
                our_id=known.paid.payment_id,
                payment_hash=known.paid.payment_hash,
                dispatched_at=known.paid.dispatched_at or known.paid.created_at,
            )
            outcome = await backend.lookup_payment(ref)
            # One that it calls open, or cannot tell about, it has not forgotten.
            if not isinstance(outcome, Settled | InFlight | Unknown):
                return f"payment {known.paid.payment_id} was settled, it knows of none"
        if known.received is not None and known.received.payment_hash is not None:
            report = await backend.lookup_invoice(known.received.payment_hash)
            if report is None or report.status is not InvoiceStatus.SETTLED:
                return f"invoice {known.received.invoice_id} was paid, it does not know it"
        return None


async def stop(
    tx: Tx, backend: BackendName, *, stops: Stops, reason: str, detail: str, now: int
) -> None:
    """Pause the backend and raise the alarm, once."""
    if await nodes.pause(tx, Pause(backend, stops, reason, detail, now)):
        log.error("alarm", kind=PAUSED, backend=backend, reason=reason, detail=detail)
        await alarms.raise_alarm(
            tx, PAUSED, subject=backend, detail=f"{reason}: {detail}", now=now
        )


async def is_distrusted(tx: Tx, backend: BackendName | None) -> bool:
    """Whether its "no" proves nothing any more."""
    found = await nodes.paused(tx, backend) if backend is not None else None
    return found is not None and found.stops is Stops.ALL


async def _known(tx: Tx, name: BackendName) -> _Known:
    resumed_at = await decisions.last_at(tx, RESUMED, subject=name)
    return _Known(
        counters=await nodes.counters(tx, name),
        identity=await meta.get(tx, _identity_of(name)),
        paid=await payments.newest_settled(tx, name, since=resumed_at),
        received=await invoices.newest_received(tx, name, since=resumed_at),
    )


def _fallen(known: Mapping[str, int], told: Mapping[str, int]) -> str | None:
    for name in sorted(known):
        if told.get(name, known[name]) < known[name]:
            return f"{name} was {known[name]}, it is {told[name]}"
    return None


def _identity(info: NodeInfo) -> str | None:
    return f"{info.pubkey} on {info.network}" if info.pubkey else None


def _identity_of(name: BackendName) -> str:
    return f"identity_{name}"
