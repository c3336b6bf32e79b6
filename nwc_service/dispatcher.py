"""Request event to response event: check, open, handle, answer. One place maps errors.

Each request has its own task, few per connection at a time, so that no request waits for
another user's. A method that changes something answers through the outbox, and so does its
refusal: what was refused once can never be executed by a later copy of the same event.
"""

import asyncio
import time
from collections import Counter
from dataclasses import dataclass

import structlog
from structlog.contextvars import bind_contextvars

from nwc_service.answers import Answers, Caller, Clock
from nwc_service.config import LONGEST_EXPIRATION_S
from nwc_service.directory import Directory
from nwc_service.failpoint import failpoint
from nwc_service.keyring import Keyring
from nwc_service.methods import METHODS
from nwc_service.methods.method import Context, Method, Result, Wallet, validated
from nwc_service.metrics.meters import OTHER, dropped, request_meter
from nwc_service.nip47.connection import Connection
from nwc_service.nip47.envelope import (
    BadEnvelope,
    Request,
    error_payload,
    named_encryption,
    open_request,
    outcome_of,
    result_payload,
    sniffed_encryption,
)
from nwc_service.nip47.kinds import Encryption
from nwc_service.nostr.event import Event
from nwc_service.outbox import Outbox, Spawn
from nwc_service.ratelimit import Buckets, Rate
from nwc_service.store import connections, outbox, requests
from nwc_service.store.connections import Standing
from nwc_service.store.database import Database, Tx
from nwc_service.store.outbox import Outgoing
from nwc_service.store.requests import AlreadyClaimed, Claim
from nwc_service.tracing import annotate, traced
from nwc_service.wallet.errors import ErrorCode, RequestError
from nwc_service.wallet.refusals import CONNECTION_ENDED, CONNECTION_PAUSED

log = structlog.get_logger()

_open = traced("nwc.open")(open_request)
_foreign, _untimely, _rate = map(dropped, ("foreign", "untimely", "rate"))
_repeated, _failed = map(dropped, ("repeated", "failed"))

REPETITIONS = Rate(per_s=5, burst=50)
REFUSALS = Rate(per_s=5, burst=50)
"""Of requests beyond the rate: each that changes something costs a row."""
_ENDED = RequestError(ErrorCode.UNAUTHORIZED, CONNECTION_ENDED)
_PAUSED = RequestError(ErrorCode.RESTRICTED, CONNECTION_PAUSED)
_TOO_MANY = RequestError(ErrorCode.RATE_LIMITED, "too many requests")
RECOVER_EVERY_S = 30.0
REQUEST_ID_CHARS = 16
"""Of its event's id, in the lines of the log that belong to a request."""


@dataclass(frozen=True, slots=True)
class RequestPolicy:
    """Ages are of the request's own date; a request is ignored outside them."""

    max_age_s: int  # of a request that only reads
    max_mutating_age_s: int
    max_future_s: int
    rate: Rate  # per connection
    account_rate: Rate  # of all connections of one account together
    max_in_progress: int  # per connection


@dataclass(frozen=True, slots=True)
class _Copy:
    """Of a request event, as it was delivered: taken before, beyond its rate, and whether no
    earlier one is in hand."""

    is_repeated: bool
    is_limited: bool
    is_first: bool


class Dispatcher:
    def __init__(
        self,
        db: Database,
        *,
        wallet: Wallet,
        directory: Directory,
        keyring: Keyring,
        answers: Answers,
        outbox: Outbox,
        policy: RequestPolicy,
        spawn: Spawn,
        clock: Clock,
    ) -> None:
        self._db = db
        self._wallet = wallet
        self._directory = directory
        self._keyring = keyring
        self._answers = answers
        self._outbox = outbox
        self._policy = policy
        self._spawn = spawn
        self._clock = clock
        self._buckets = Buckets(policy.rate)
        self._accounts = Buckets(policy.account_rate)
        # Answers to what is not a request in order: at most one a second and connection.
        self._complaints = Buckets(Rate(per_s=1, burst=1))
        self._repetitions = Buckets(REPETITIONS)
        self._refusals = Buckets(REFUSALS)
        self._in_progress: Counter[str] = Counter()
        self._handled: Counter[str] = Counter()  # copies of each event, now

    def submit(self, event: Event, repeated: bool) -> bool:  # noqa: FBT001 (a callback)
        """Take a request event whose signature holds, or drop it without an answer: False.
        Never blocks and never raises.

        `repeated` events were taken before: a read is not answered again, and whatever changed
        something gets its stored answer.
        """
        connection = self._directory.by_wallet(event.tag_value("p") or "")
        if connection is None or connection.client_pubkey != event.pubkey:
            _foreign.inc()
            return False
        if not self._is_timely(event, max_age_s=self._policy.max_age_s):
            _untimely.inc()
            return False
        limited = self._is_limited(connection, repeated=repeated)
        # A repetition beyond its rate, and a refusal beyond its own, get no answer.
        if limited and (repeated or not self._may_refuse(connection)):
            _rate.inc()
            return False
        self._in_progress[connection.connection_id] += 1
        self._spawn(self._run(connection, event, repeated=repeated, limited=limited))
        return True

    async def run(self) -> None:
        """A database that failed between the items of one request leaves some of them."""
        while True:
            await asyncio.sleep(RECOVER_EVERY_S)
            try:
                if await self._db.read(requests.orphans):
                    self._outbox.push(await self.recover())
            except Exception:
                log.exception("request.recover_failed")

    async def recover(self) -> list[Outgoing]:
        """Refuse what was claimed, never begun, and is in nobody's hands any more."""
        error = RequestError(ErrorCode.INTERNAL, "interrupted before anything was done")

        async def work(tx: Tx) -> list[Outgoing]:
            refusals: list[Outgoing] = []
            for claim in await requests.orphans(tx):
                connection = self._directory.by_id(claim.connection_id)
                if connection is not None and claim.event_id not in self._handled:
                    payload = error_payload(claim.method, error)
                    refusals += await self._answers.store(
                        tx, connection, claim=claim, payload=payload
                    )
            return refusals

        return await self._db.write(work)

    def _is_limited(self, connection: Connection, *, repeated: bool) -> bool:
        """Repetitions have a bucket of their own: anyone may replay what a relay has kept."""
        key, now = connection.connection_id, time.monotonic()
        if repeated:
            return not self._repetitions.take(key, now=now)
        if self._in_progress[key] >= self._policy.max_in_progress:
            return True
        if not self._buckets.take(key, now=now):
            return True
        return not self._accounts.take(connection.account_id, now=now)

    def _may_refuse(self, connection: Connection) -> bool:
        return self._refusals.take(connection.connection_id, now=time.monotonic())

    def _may_complain(self, connection: Connection) -> bool:
        return self._complaints.take(connection.connection_id, now=time.monotonic())

    @traced("nwc.request", begins=True)
    async def _run(
        self, connection: Connection, event: Event, *, repeated: bool, limited: bool
    ) -> None:
        is_first = not self._handled[event.id]
        self._handled[event.id] += 1
        bind_contextvars(request_id=event.id[:REQUEST_ID_CHARS])  # of this task and its own
        began = time.monotonic()
        try:
            copy = _Copy(is_repeated=repeated, is_limited=limited, is_first=is_first)
            method = await self._handle(connection, event, copy=copy)
            request_meter(method).seconds.observe(time.monotonic() - began)
        except asyncio.CancelledError:
            raise
        except Exception:
            # The world failed outside a handler, the database for one: without a stored
            # answer there is nothing true to say, and a repeated request may still succeed.
            _failed.inc()
            log.exception("request.failed", connection_id=connection.connection_id)
        finally:
            _less(self._in_progress, connection.connection_id)
            _less(self._handled, event.id)

    async def _handle(self, connection: Connection, event: Event, *, copy: _Copy) -> str:
        """The method that it asked for, as far as that could be read."""
        try:
            encryption = _encryption(connection, event)
            request = _open(event, self._keyring.channel(connection), encryption=encryption)
        except RequestError as error:
            self._complain(connection, event, error=error)
            return OTHER
        except BadEnvelope as error:
            self._complain(connection, event, error=RequestError(ErrorCode.OTHER, str(error)))
            return OTHER
        annotate(method=request.method, request_id=event.id[:REQUEST_ID_CHARS])
        log.debug(
            "request.opened", method=request.method, connection_id=connection.connection_id
        )
        claim = _claim(connection, event, method=request.method, encryption=encryption)
        caller = Caller(connection, claim)
        method = METHODS.get(request.method)
        mutates = method is not None and method.mutates
        if copy.is_limited:
            await self._refuse_now(caller, _TOO_MANY, mutates=mutates)
        elif not connection.is_live(self._clock()):
            await self._refuse_ended(caller, is_first=copy.is_first)
        elif connection.paused_at is not None and not copy.is_repeated:
            await self._refuse_now(caller, _PAUSED, mutates=mutates)
        elif mutates or not copy.is_repeated:
            await self._answer(caller, request, event=event)
        else:
            _repeated.inc()
        return request.method

    async def _answer(self, caller: Caller, request: Request, *, event: Event) -> None:
        method = METHODS.get(request.method)
        if method is None or method.needs not in self._wallet.backend.caps:
            error = RequestError(ErrorCode.NOT_IMPLEMENTED, "this method is not supported")
            self._reply(caller, error_payload(request.method, error))
        elif method.mutates:
            if self._is_timely(event, max_age_s=self._policy.max_mutating_age_s):
                await self._mutate(caller, method, request=request)
            else:  # too old to be executed, and not too old to be told what became of it
                await self._repeat(caller.claim.request_id)
        else:
            await self._read(caller, method, request=request)

    async def _read(self, caller: Caller, method: Method, *, request: Request) -> None:
        """Answered at once; nothing is written."""
        try:
            result = await self._call(caller, method, request=request)
            payload = result_payload(method.name, result or {})
        except RequestError as error:
            payload = error_payload(method.name, error)
        self._reply(caller, payload)

    async def _mutate(self, caller: Caller, method: Method, *, request: Request) -> None:
        failpoint("before_claim")
        try:
            await self._call(caller, method, request=request)
        except AlreadyClaimed:
            await self._repeat(caller.claim.request_id)
        except RequestError as error:
            await self._refuse(caller, error)

    @traced("nwc.method")
    async def _call(self, caller: Caller, method: Method, *, request: Request) -> Result | None:
        """Raises RequestError, INTERNAL for whatever went wrong inside, and AlreadyClaimed."""
        connection = caller.connection
        if method.name not in connection.scopes and not method.ungranted:
            raise RequestError(ErrorCode.RESTRICTED, f"{method.name} is not granted")
        params = validated(method.params, request.params, bad_params=method.bad_params)
        try:
            context = Context(self._wallet.at(connection.backend), caller, self._refuse)
            return await method.handle(context, params)
        except (RequestError, AlreadyClaimed, asyncio.CancelledError):
            raise
        except Exception as error:
            log.exception(
                "method.failed", method=method.name, connection_id=connection.connection_id
            )
            raise RequestError(ErrorCode.INTERNAL, "something went wrong inside") from error

    # --- answers

    async def _refuse(self, caller: Caller, error: RequestError) -> None:
        """Claim the request and store its refusal, unless it has had its effects already.

        Once its connection has ended every copy is told so, whatever else was wrong.
        """

        async def work(tx: Tx) -> list[Outgoing]:
            await requests.claim(tx, caller.claim, now=self._clock())
            standing = await connections.standing(tx, caller.connection, now=self._clock())
            told = _ENDED if standing is Standing.ENDED else error
            payload = error_payload(caller.claim.method, told)
            return await self._answers.store(
                tx, caller.connection, claim=caller.claim, payload=payload
            )

        try:
            self._outbox.push(await self._db.write(work))
        except AlreadyClaimed:
            await self._repeat(caller.claim.request_id)

    async def _repeat(self, request_id: str) -> None:
        """A copy of a claimed request gets the stored answers, or waits for them."""
        for stored in await self._db.read(lambda tx: outbox.answers_to(tx, request_id)):
            if stored.is_published:
                self._outbox.resend(stored.connection_id, stored)

    async def _refuse_ended(self, caller: Caller, *, is_first: bool) -> None:
        """What was claimed before the end keeps its one answer, given or still to come.

        What comes after it costs no row, and is told the same words as what came just then;
        while an earlier copy is in hand, that one gives the answer.
        """
        request_id = caller.claim.request_id
        if await self._db.read(lambda tx: requests.claimed(tx, request_id)) is not None:
            await self._repeat(request_id)
        elif is_first and self._may_complain(caller.connection):
            self._reply(caller, error_payload(caller.claim.method, _ENDED))

    async def _refuse_now(self, caller: Caller, error: RequestError, *, mutates: bool) -> None:
        """What will not last is stored, so that no copy is executed once it is over."""
        if mutates:
            await self._refuse(caller, error)
        else:
            self._reply(caller, error_payload(caller.claim.method, error))

    def _complain(self, connection: Connection, event: Event, *, error: RequestError) -> None:
        """Answer what could not be read as a request, rarely and without a row."""
        if not self._may_complain(connection):
            return
        claim = _claim(connection, event, method="", encryption=_best_guess(connection, event))
        self._reply(Caller(connection, claim), error_payload("", error))

    def _reply(self, caller: Caller, payload: str) -> None:
        event = self._answers.seal(caller.connection, caller.claim, payload=payload)
        request_meter(caller.claim.method).answered(outcome_of(payload))
        self._outbox.send(caller.connection, event)

    def _is_timely(self, event: Event, *, max_age_s: int) -> bool:
        now = self._clock()
        if event.created_at > now + self._policy.max_future_s:
            return False
        expiration = event.tag_value("expiration")
        if expiration is None:
            return now - event.created_at <= max_age_s
        # NIP-47: an expired request "should be ignored", so no error response.
        readable = expiration.isascii() and expiration.isdigit()
        recent = now - event.created_at <= LONGEST_EXPIRATION_S
        return readable and recent and now <= int(expiration[:15])


def _less(counter: Counter[str], key: str) -> None:
    counter[key] -= 1
    if not counter[key]:
        del counter[key]


def _claim(
    connection: Connection, event: Event, *, method: str, encryption: Encryption
) -> Claim:
    return Claim(
        request_id=event.id,
        connection_id=connection.connection_id,
        method=method,
        encryption=encryption,
        created_at=event.created_at,
    )


def _encryption(connection: Connection, event: Event) -> Encryption:
    """Raises RequestError for a scheme that this connection was not offered."""
    named = named_encryption(event)
    for scheme in connection.encryption:
        if scheme.value == named:
            return scheme
    raise RequestError(
        ErrorCode.UNSUPPORTED_ENCRYPTION,
        f"this connection speaks {' and '.join(connection.encryption)}",
    )


def _best_guess(connection: Connection, event: Event) -> Encryption:
    """To answer what could not be read: the scheme it looks like, if that is allowed."""
    sniffed = sniffed_encryption(event.content)
    return sniffed if sniffed in connection.encryption else connection.encryption[0]
