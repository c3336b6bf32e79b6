"""BOLT12 offers: claimed, made by their node, and stored with the answer.

An offer is the node's from then on: it answers for it whether or not this service runs, and
what comes in through it is credited as any receipt is (`unasked.py`).
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from secrets import token_hex

import structlog

from nwc_service import limits
from nwc_service.answers import Answers, Caller, Clock
from nwc_service.backend import (
    BackendUnavailable,
    BadRequest,
    LightningBackend,
    OfferReport,
    OfferSpec,
)
from nwc_service.failpoint import failpoint
from nwc_service.guard import is_distrusted
from nwc_service.nip47.envelope import error_payload, result_payload
from nwc_service.nip47.offer import result_of
from nwc_service.outbox import Outbox
from nwc_service.store import connections, offers, requests
from nwc_service.store.database import Database, Tx
from nwc_service.store.outbox import Outgoing
from nwc_service.wallet import bolt12
from nwc_service.wallet.errors import ErrorCode, RequestError
from nwc_service.wallet.invoice import Invoice
from nwc_service.wallet.offer import MadeOffer, OfferState
from nwc_service.wallet.refusals import NODE_PAUSED
from nwc_service.wallet.units import BackendName, Msat

log = structlog.get_logger()

NAME = "make_offer"
CREATE_TIMEOUT_S = 30.0
BESIDE_TIMEOUT_S = 5.0
"""An invoice waits for the offer beside it no longer."""
CREATE_ATTEMPTS = 3
CREATE_RETRY_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferOrder:
    """What a client asks for; `metadata` is a JSON object as text."""

    amount_msat: Msat | None
    description: str
    issuer: str | None
    single_use: bool
    expires_at: int | None
    metadata: str | None


class _Reused(Exception):
    """The node gave out an offer that it had given out before."""


class OfferMaker:
    def __init__(
        self,
        db: Database,
        *,
        backends: Mapping[BackendName, LightningBackend],
        answers: Answers,
        outbox: Outbox,
        max_age_s: int,
        max_open_offers: int,
        clock: Clock,
    ) -> None:
        self._db = db
        self._backends = backends
        self._answers = answers
        self._outbox = outbox
        self._max_age_s = max_age_s
        self._max_open_offers = max_open_offers
        self._clock = clock
        self._active: set[str] = set()
        """Offers that a task of this process is having made now."""

    async def issue(self, caller: Caller, order: OfferOrder, *, backend: BackendName) -> None:
        """Claim the request, have the node make the offer, store it with the answer.

        Raises RequestError when refused before anything was done, and AlreadyClaimed.
        """
        now = self._clock()
        requested = _requested(caller, order, backend=backend, now=now)

        async def work(tx: Tx) -> None:
            await requests.claim(tx, caller.claim, now=now)
            if await is_distrusted(tx, backend):
                raise _unavailable(NODE_PAUSED)
            await limits.must_be_served(tx, caller.connection, now=now)
            await limits.check_room(tx, requested.account_id, amount_msat=requested.amount_msat)
            open_ones = await offers.open_count(tx, requested.account_id, now=now)
            if open_ones >= self._max_open_offers:
                raise RequestError(ErrorCode.RATE_LIMITED, "too many open offers")
            await offers.insert(tx, requested)
            failpoint("in_offer_claim")

        self._active.add(requested.offer_id)
        try:
            await self._db.write(work)
            failpoint("after_offer_claim")
            await self._make(requested)
        finally:
            self._active.discard(requested.offer_id)

    async def make_beside(self, invoice: Invoice) -> None:
        """Have an offer of the terms of a claimed invoice made, for the answer to the same
        request: ACTIVE by then, or left out of it."""
        requested = _beside(invoice)

        async def work(tx: Tx) -> bool:
            open_ones = await offers.open_count(tx, requested.account_id, now=self._clock())
            if open_ones >= self._max_open_offers:
                return False
            await offers.insert(tx, requested)
            return True

        self._active.add(requested.offer_id)
        try:
            if await self._db.write(work):
                failpoint("after_offer_claim")
                await self._make(requested, timeout_s=BESIDE_TIMEOUT_S)
        finally:
            self._active.discard(requested.offer_id)

    async def resume(self) -> None:
        """After a crash: have what was claimed made, unless nobody waits for it any more."""
        for requested in await self._db.read(offers.requested):
            if requested.offer_id not in self._active:
                await self._resume(requested)

    async def _resume(self, requested: MadeOffer) -> None:
        backend = requested.backend
        if backend not in self._backends:
            await self._fail(requested, _unavailable("its node is gone"))
        elif await self._db.read(lambda tx: is_distrusted(tx, backend)):
            await self._fail(requested, _unavailable(NODE_PAUSED))
        elif self._clock() - requested.created_at > self._max_age_s:
            await self._fail(requested, _unavailable("interrupted"))
        elif not await self._is_awaited(requested):
            await self._fail(requested, _unavailable("its invoice goes without it"))
        else:
            await self._make(requested)

    async def _is_awaited(self, offer: MadeOffer) -> bool:
        """Not where it was to stand beside an invoice, which is answered for without it."""
        claim = await self._db.read(lambda tx: requests.claimed(tx, offer.request_id or ""))
        return claim is not None and claim.method == NAME

    async def _make(self, requested: MadeOffer, *, timeout_s: float = CREATE_TIMEOUT_S) -> None:
        """Have a REQUESTED offer made and answer for it."""
        try:
            made = _checked(requested, await self._create(requested, timeout_s=timeout_s))
        except BadRequest as error:
            await self._fail(requested, RequestError(ErrorCode.BAD_REQUEST, str(error)))
        except (BackendUnavailable, TimeoutError) as error:
            log.warning("offer.backend_unavailable", backend=requested.backend, why=str(error))
            await self._fail(requested, _unavailable("the node cannot make it now"))
        except Exception:
            # A backend that breaks its word: nobody has seen what it may have made.
            log.exception("offer.backend_raised", backend=requested.backend)
            await self._fail(requested, RequestError(ErrorCode.INTERNAL, "the node failed"))
        else:
            failpoint("after_offer_created")
            await self._store(made)

    async def _create(self, requested: MadeOffer, *, timeout_s: float) -> OfferReport:
        """A lost reply is repaired by asking again: the same `our_id` gives the same offer.

        Raises BackendUnavailable, BadRequest and TimeoutError.
        """
        backend = self._backends[requested.backend]
        spec = OfferSpec(
            our_id=requested.offer_id,
            amount_msat=requested.amount_msat,
            description=requested.description,
            issuer=requested.issuer,
            single_use=requested.single_use,
            expires_at=requested.expires_at,
        )
        async with asyncio.timeout(timeout_s):
            for _ in range(CREATE_ATTEMPTS - 1):
                try:
                    return await backend.create_offer(spec)
                except BackendUnavailable:
                    await asyncio.sleep(CREATE_RETRY_S)
            return await backend.create_offer(spec)

    async def _store(self, made: MadeOffer) -> None:
        async def work(tx: Tx) -> list[Outgoing]:
            if await offers.is_known(tx, made):
                raise _Reused
            if not await offers.finish(tx, made):
                return []
            failpoint("in_offer_store")
            payload = result_payload(NAME, result_of(made))
            return await self._answer(tx, made, payload=payload)

        try:
            outgoing = await self._db.write(work)
        except _Reused:
            # What is paid through it could not be told apart.
            log.error("offer.reused", backend=made.backend)
            error = RequestError(ErrorCode.INTERNAL, "the node made an offer twice")
            await self._fail(made, error)
            return
        failpoint("after_offer_store")
        self._outbox.push(outgoing)

    async def _fail(self, offer: MadeOffer, error: RequestError) -> None:
        failed = replace(
            offer, state=OfferState.FAILED, offer="", node_offer_id=None, bolt12_id=None
        )

        async def work(tx: Tx) -> list[Outgoing]:
            if not await offers.finish(tx, failed):
                return []
            return await self._answer(tx, offer, payload=error_payload(NAME, error))

        self._outbox.push(await self._db.write(work))

    async def _answer(self, tx: Tx, offer: MadeOffer, *, payload: str) -> list[Outgoing]:
        """Nothing where the request is the invoice's to answer, beside which the offer was
        made."""
        claim = await requests.claimed(tx, offer.request_id or "")
        connection = claim and await connections.connection(tx, claim.connection_id)
        if claim is None or claim.method != NAME or not connection:
            return []
        return await self._answers.store(tx, connection, claim=claim, payload=payload)


def _requested(
    caller: Caller, order: OfferOrder, *, backend: BackendName, now: int
) -> MadeOffer:
    return MadeOffer(
        offer_id=token_hex(16),
        account_id=caller.connection.account_id,
        connection_id=caller.connection.connection_id,
        request_id=caller.claim.request_id,
        backend=backend,
        state=OfferState.REQUESTED,
        offer="",
        node_offer_id=None,
        bolt12_id=None,
        description=order.description,
        issuer=order.issuer,
        amount_msat=order.amount_msat,
        single_use=order.single_use,
        metadata=order.metadata,
        created_at=now,
        expires_at=order.expires_at,
    )


def _beside(invoice: Invoice) -> MadeOffer:
    """It ends with the invoice, so that they do not pile up at the node."""
    return MadeOffer(
        offer_id=token_hex(16),
        account_id=invoice.account_id,
        connection_id=invoice.connection_id,
        request_id=invoice.request_id,
        backend=invoice.backend,
        state=OfferState.REQUESTED,
        offer="",
        node_offer_id=None,
        bolt12_id=None,
        description=invoice.description,
        issuer=None,
        amount_msat=invoice.amount_msat,
        single_use=False,
        metadata=invoice.metadata,
        created_at=invoice.created_at,
        expires_at=invoice.expires_at,
    )


def _checked(requested: MadeOffer, report: OfferReport) -> MadeOffer:
    """The offer as the node made it. Raises BackendUnavailable when it is not what was asked.

    NWC-12: "The wallet MUST NOT silently replace a non-empty `description` or `issuer` supplied
    by the client."
    """
    try:
        decoded = bolt12.decode(report.offer)
    except bolt12.InvalidOffer as error:
        raise BackendUnavailable("the node made an offer that cannot be read") from error
    same = (
        decoded.currency is None
        and decoded.amount == requested.amount_msat
        and decoded.expires_at == requested.expires_at
        and requested.description in ("", decoded.description)
        and requested.issuer in (None, "", decoded.issuer)
    )
    if not same:
        raise BackendUnavailable("the node made another offer than it was asked for")
    return replace(
        requested,
        state=OfferState.ACTIVE,
        offer=decoded.offer,
        node_offer_id=report.node_offer_id,
        bolt12_id=bolt12.offer_id(decoded),
        description=decoded.description or "",
        issuer=decoded.issuer,
    )


def _unavailable(why: str) -> RequestError:
    """NWC-12: "The wallet cannot create or keep the offer payable at this time."""
    return RequestError(ErrorCode.TEMPORARILY_UNAVAILABLE, why)
