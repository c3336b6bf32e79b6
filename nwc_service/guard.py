"""Watches that no node goes back in time, and stops what may not be used as it is (I20).

A node that was restored from a backup has forgotten payments: its "not found" proves nothing
any more, nor does its "failed". So it is checked before either gives money back, and before
anything is sent after it was out of reach. Only the operator starts a stopped one again.
"""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import structlog

from nwc_service.answers import Clock
from nwc_service.backend import (
    BackendUnavailable,
    InvoiceStatus,
    LightningBackend,
    NodeInfo,
    ref_to,
)
from nwc_service.store import alarms, decisions, invoices, meta, nodes, payments
from nwc_service.store.database import Database, Tx
from nwc_service.store.nodes import Pause, Stops
from nwc_service.wallet.errors import NotFound, Refused
from nwc_service.wallet.invoice import Invoice
from nwc_service.wallet.outcome import InFlight, Settled, Unknown
from nwc_service.wallet.payment import Payment
from nwc_service.wallet.units import BackendName

log = structlog.get_logger()

ALARM = "backend_paused"

ROLLED_BACK = "rolled_back"
OTHER_NODE = "other_node"
RESTORED = "restored"
RESUMED = "backend_resumed"
ROLLBACK_ACCEPTED = "rollback_accepted"

CHECK_TIMEOUT_S = 30.0
CANARIES = 3
CANARY_ATTEMPTS = 3
CANARY_RETRY_S = 1.0
CANARY_EVERY_S = 60
CANARY_LIVES_S = 7 * 24 * 3600
"""Nodes may prune their history: what is older proves nothing by being unknown."""


@dataclass(frozen=True, slots=True)
class _Known:
    """What the books say that the node must still know."""

    counters: Mapping[str, int]
    identity: str | None
    accepted_at: int  # when the operator accepted last that it had gone back
    paid: Sequence[Payment]
    received: Invoice | None


class Guard:
    def __init__(
        self, db: Database, *, backends: Mapping[BackendName, LightningBackend], clock: Clock
    ) -> None:
        self._db = db
        self._backends = backends
        self._clock = clock
        self._checked: set[BackendName] = set()  # and not out of reach since
        self._losses: Counter[BackendName] = Counter()
        self._one_at_a_time = {name: asyncio.Lock() for name in backends}
        self._canaries_at: dict[BackendName, int] = {}

    # --- check

    def lost(self, name: BackendName) -> None:
        """It was out of reach: who knows what it is when it comes back."""
        self._losses[name] += 1
        self._checked.discard(name)

    async def ensure(self, name: BackendName) -> None:
        """Check it unless it was checked since it was last out of reach.

        Raises BackendUnavailable and TimeoutError.
        """
        async with self._one_at_a_time[name]:
            if name not in self._checked:
                await self.check(name)

    async def check(self, name: BackendName) -> NodeInfo:
        """Stop the backend when it is not what it was. Raises as `ensure`."""
        return await self._look(name, with_canaries=True)

    async def glance(self, name: BackendName) -> NodeInfo:
        """As `check`, but with the canaries only now and then. Raises as `ensure`."""
        is_due = self._clock() - self._canaries_at.get(name, 0) >= CANARY_EVERY_S
        return await self._look(name, with_canaries=is_due or name not in self._checked)

    async def _look(self, name: BackendName, *, with_canaries: bool) -> NodeInfo:
        losses = self._losses[name]
        try:
            async with asyncio.timeout(CHECK_TIMEOUT_S):
                info = await self._backends[name].start()
                await self._compare(name, info, with_canaries=with_canaries)
        except BaseException:
            self.lost(name)
            raise
        if with_canaries and self._losses[name] == losses:
            self._checked.add(name)
        return info

    async def _compare(self, name: BackendName, info: NodeInfo, *, with_canaries: bool) -> None:
        # The books first: what the node counts afterwards can only be as much or more.
        known = await self._db.read(lambda tx: self._known(tx, name))
        told = await self._backends[name].counters()
        identity = f"{info.pubkey} on {info.network}" if info.pubkey else None
        if identity and known.identity not in (None, identity):
            problem = f"it was {known.identity}, it is {identity}"
            await self._stop(name, OTHER_NODE, detail=problem, known=known)
        elif fallen := _fallen(known.counters, told):
            await self._stop(name, ROLLED_BACK, detail=fallen, known=known)
        elif with_canaries and (forgotten := await self._forgotten(name, known)):
            await self._stop(name, ROLLED_BACK, detail=forgotten, known=known)
        else:
            await self._remember(name, known, told=told, identity=identity)

    async def _known(self, tx: Tx, name: BackendName) -> _Known:
        accepted_at = await decisions.last_at(tx, ROLLBACK_ACCEPTED, subject=name)
        since = max(accepted_at, self._clock() - CANARY_LIVES_S)
        return _Known(
            counters=await nodes.counters(tx, name),
            identity=await meta.get(tx, _identity_of(name)),
            accepted_at=accepted_at,
            paid=await payments.newest_settled(tx, name, since=since, limit=CANARIES),
            received=await invoices.newest_received(tx, name, since=since),
        )

    async def _stop(
        self, name: BackendName, reason: str, *, detail: str, known: _Known
    ) -> None:
        async def work(tx: Tx) -> None:
            accepted_at = await decisions.last_at(tx, ROLLBACK_ACCEPTED, subject=name)
            if accepted_at != known.accepted_at:
                return  # the operator has just accepted what was found here
            await stop(
                tx, name, stops=Stops.ALL, reason=reason, detail=detail, now=self._clock()
            )

        await self._db.write(work)

    async def _remember(
        self,
        name: BackendName,
        known: _Known,
        *,
        told: Mapping[str, int],
        identity: str | None,
    ) -> None:
        is_same = identity is None or identity == known.identity
        if is_same and all(told.get(n) == known.counters.get(n) for n in told):
            return

        async def work(tx: Tx) -> None:
            await nodes.raise_counters(tx, name, told)
            if identity is not None:
                await meta.put(tx, _identity_of(name), identity)

        await self._db.write(work)

    async def _forgotten(self, name: BackendName, known: _Known) -> str | None:
        """The canaries: what was settled last must still be settled, asked more than once."""
        for attempt in range(CANARY_ATTEMPTS):
            if attempt:
                await asyncio.sleep(CANARY_RETRY_S)
            problem = await self._missing(name, known)
            if problem is None:
                self._canaries_at[name] = self._clock()
                return None
        return problem

    async def _missing(self, name: BackendName, known: _Known) -> str | None:
        backend = self._backends[name]
        for paid in known.paid:
            outcome = await backend.lookup_payment(ref_to(paid))
            # One that it calls open, or cannot tell about, it has not forgotten.
            if not isinstance(outcome, Settled | InFlight | Unknown):
                return f"payment {paid.payment_id} was settled, it knows of none"
        if known.received is not None and known.received.payment_hash is not None:
            report = await backend.lookup_invoice(known.received.payment_hash)
            if report is None or report.status is not InvoiceStatus.SETTLED:
                return f"invoice {known.received.invoice_id} was paid, it does not know it"
        return None

    # --- resume

    async def resume(self, name: str, *, reason: str, by: str = "") -> None:
        """The operator has looked at it. One that went back starts from what it is now.

        Raises NotFound and Refused.
        """
        backend = BackendName(name)
        if backend not in self._backends:
            raise NotFound(f"there is no backend {name!r}")
        if not reason.strip():
            raise Refused("a reason is required")
        stopped = await self._db.read(lambda tx: nodes.paused(tx, backend))
        if stopped is None:
            raise Refused(f"backend {name} is not paused")
        told = await self._floor(backend) if stopped.stops is Stops.ALL else None

        async def work(tx: Tx) -> bool:
            if await nodes.paused(tx, backend) != stopped:
                return False
            await nodes.resume(tx, backend)
            await alarms.clear(tx, ALARM, subject=backend)
            if told is not None:
                await nodes.set_counters(tx, backend, told)
                await meta.drop(tx, _identity_of(backend))
                await invoices.forget_cursor(tx, backend)
            await decisions.record(
                tx,
                RESUMED if told is None else ROLLBACK_ACCEPTED,
                subject=backend,
                reason=reason,
                detail=f"{stopped.reason}: {stopped.detail}",
                by=by,
                now=self._clock(),
            )
            return True

        if not await self._db.write(work):
            raise Refused(f"backend {name} was paused anew just now: look at it again")
        log.warning("backend.resumed", backend=name, reason=reason)

    async def _floor(self, name: BackendName) -> Mapping[str, int]:
        """Raises Refused."""
        try:
            async with asyncio.timeout(CHECK_TIMEOUT_S):
                return await self._backends[name].counters()
        except (BackendUnavailable, TimeoutError) as error:
            raise Refused(
                f"backend {name} does not answer: resume it when it does, from what it is then"
            ) from error


async def stop(
    tx: Tx, backend: BackendName, *, stops: Stops, reason: str, detail: str, now: int
) -> None:
    """Pause the backend and raise the alarm, once."""
    gravity = 3 if stops is Stops.ALL else 2 if reason == RESTORED else 1
    pause = Pause(backend, stops, gravity, reason, detail=detail, paused_at=now)
    if not await nodes.pause(tx, pause):
        return
    log.error("alarm", kind=ALARM, backend=backend, reason=reason, detail=detail)
    await alarms.clear(tx, ALARM, subject=backend)  # of what it was paused for before
    await alarms.raise_alarm(tx, ALARM, subject=backend, detail=f"{reason}: {detail}", now=now)


async def is_distrusted(tx: Tx, backend: BackendName | None) -> bool:
    """Whether its "no" proves nothing any more."""
    found = await nodes.paused(tx, backend) if backend is not None else None
    return found is not None and found.stops is Stops.ALL


def _fallen(known: Mapping[str, int], told: Mapping[str, int]) -> str | None:
    for name in sorted(known):
        if told.get(name, known[name]) < known[name]:
            return f"{name} was {known[name]}, it is {told[name]}"
    return None


def _identity_of(name: BackendName) -> str:
    return f"identity_{name}"
