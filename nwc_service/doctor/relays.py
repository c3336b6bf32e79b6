"""Whether a relay can be reached, and passes on what is written to it."""

import asyncio
import os
import socket
import ssl
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidHandshake, InvalidStatus, WebSocketException

from nwc_service.backend import Finding, findings
from nwc_service.metrics.meters import relay_label
from nwc_service.nip47 import kinds
from nwc_service.nostr.event import Event, sign_event
from nwc_service.nostr.filter import Filter
from nwc_service.nostr.keys import Keypair
from nwc_service.nostr.relay_session import (
    AuthRequested,
    ClosedReceived,
    EventReceived,
    OkReceived,
    RelaySession,
    auth_event,
)

REACH_S = 10.0
ANSWER_S = 5.0
MIN_CERTIFICATE_S = 14 * 86_400
MESSAGE_CHARS = 100
MAX_FRAME_BYTES = 128 * 1024
SUBSCRIPTION = "doctor"

OTHER_RELAY = "ask its operator, or use another one: relay-config/ has what it must allow"
STRANGERS = ("restricted:", "blocked:", "auth-required:")


async def look(urls: Sequence[str], *, now: Callable[[], float]) -> Sequence[Finding]:
    found = await asyncio.gather(*(_of_relay(url, now=now) for url in urls))
    return [finding for each in found for finding in each]


async def _of_relay(url: str, *, now: Callable[[], float]) -> Sequence[Finding]:
    subject = relay_label(url)
    document = await _document(url, now=now)
    try:
        async with (
            asyncio.timeout(REACH_S + 6 * ANSWER_S),
            connect(
                url, compression=None, open_timeout=REACH_S, max_size=MAX_FRAME_BYTES
            ) as relay,
        ):
            told = [
                *_certificate(relay, now=now()),
                *await _Trial(relay, url=url, now=now).run(),
            ]
    except (OSError, WebSocketException, ValueError) as error:
        told = [_unreachable(error)]
    # Without a websocket the document says nothing that helps.
    is_reached = told[0].subject != "reach"
    told = [*document, *told] if is_reached else told
    return [Finding(f"{subject} {each.subject}", each.says, each.remedy) for each in told]


# --- its document


async def _document(url: str, *, now: Callable[[], float]) -> Sequence[Finding]:
    """NIP-11, and the time that its server has."""
    try:
        async with httpx.AsyncClient(timeout=REACH_S) as client:
            response = await client.get(
                url.replace("ws", "http", 1), headers={"Accept": "application/nostr+json"}
            )
            at = now()
            document: Any = response.json()
    except (httpx.HTTPError, httpx.InvalidURL, ValueError):
        return [Finding("NIP-11", "it has no information document")]
    date = response.headers.get("date", "")
    skew = findings.of_clock(date, now=at, whose="the relay's") if date else []
    return [*skew, *_demands(document)]


def _demands(document: Any) -> Iterator[Finding]:
    limitation = document.get("limitation") if isinstance(document, dict) else None
    if not isinstance(limitation, dict):
        yield Finding("NIP-11", "it tells no limits")
        return
    for name in ("payment_required", "min_pow_difficulty"):
        if limitation.get(name) not in (None, False, 0):
            says = f"{name}: it takes nothing from whom it does not know"
            yield Finding("NIP-11", says, OTHER_RELAY)
    yield Finding("NIP-11", "it tells its limits")


# --- reaching it


def _unreachable(error: Exception) -> Finding:
    says, remedy = _cause(error)
    return Finding("reach", says, remedy)


CAUSES: tuple[tuple[type[Exception], str, str], ...] = (
    (ssl.SSLError, "it does not speak TLS", "see its proxy, or whether it is ws:// instead"),
    (socket.gaierror, "its name has no address", "see its spelling, and this machine's DNS"),
    (TimeoutError, "it does not answer in time", "see that it runs, and the firewall between"),
    (ConnectionRefusedError, "nothing listens there", "see that it runs, and the port"),
    (
        ConnectionResetError,
        "it breaks the connection off",
        "see its log; under wss://, whether it or its proxy speaks TLS at all",
    ),
    (
        InvalidHandshake,
        "what answers is no websocket",
        "see the port and the path of the URL, and that a proxy passes websockets on",
    ),
)


def _cause(error: Exception) -> tuple[str, str]:
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"its certificate does not hold: {error.verify_message}",
            "renew it, or see that this machine knows its authority and the time",
        )
    if isinstance(error, InvalidStatus):
        return (
            f"it answers {error.response.status_code} instead of a websocket",
            "see the path of the URL, and that a proxy passes websockets on",
        )
    for kind, says, remedy in CAUSES:
        if isinstance(error, kind):
            return says, remedy
    return f"it cannot be reached: {type(error).__name__}", "see that it runs, and the network"


def _certificate(relay: ClientConnection, *, now: float) -> Iterator[Finding]:
    wrapped = relay.transport.get_extra_info("ssl_object")
    certificate = wrapped.getpeercert() if wrapped is not None else None
    if not certificate:
        return
    left_s = ssl.cert_time_to_seconds(certificate["notAfter"]) - now
    says = f"its certificate is good for {left_s / 86_400:.0f} days"
    remedy = "renew it" if left_s < MIN_CERTIFICATE_S else None
    yield Finding("TLS", says, remedy)


# --- writing to it, and reading that back


@dataclass(slots=True)
class _Heard:
    """By event id, what OK said; and what else came."""

    oks: dict[str, OkReceived] = field(default_factory=dict)
    seen: set[object] = field(default_factory=set)
    closed: str | None = None
    authenticated: bool = False


class _Trial:
    """As a service that answers: kind 23195, ephemeral, under keys that were made for this."""

    def __init__(self, relay: ClientConnection, *, url: str, now: Callable[[], float]) -> None:
        self._relay = relay
        self._url = url
        self._now = now
        self._session = RelaySession()
        self._keypair = Keypair(os.urandom(32))
        self._heard = _Heard()

    async def run(self) -> Sequence[Finding]:
        event = self._event()
        await self._ask(event)
        if self._wants_auth(event):
            await self._authenticate()
            self._heard = _Heard(authenticated=self._heard.authenticated)
            await self._ask(event)
        auth = [Finding("NIP-42", "it authenticates whoever asks")]
        return [*(auth if self._heard.authenticated else []), self._verdict(event)]

    def _event(self) -> Event:
        return sign_event(
            self._keypair,
            kind=kinds.RESPONSE,
            content="nwc-service doctor",
            tags=[("p", self._keypair.public_key), ("e", os.urandom(32).hex())],
            created_at=int(self._now()),
            aux=os.urandom(32),
        )

    async def _ask(self, event: Event) -> None:
        wanted = Filter(
            kinds=frozenset({kinds.RESPONSE}),
            authors=frozenset({self._keypair.public_key}),
            tags={"p": frozenset({self._keypair.public_key})},
        )
        await self._relay.send(self._session.subscribe(SUBSCRIPTION, [wanted]))
        # Some relays handle frames side by side, and what nobody listens for yet is lost.
        await self._until(lambda: self._session.is_subscribed or self._heard.closed is not None)
        await self._relay.send(self._session.publish(event))
        await self._until(lambda: self._is_decided(event))

    async def _authenticate(self) -> None:
        challenge = self._session.challenge
        if challenge is None:
            return
        proof = auth_event(
            self._keypair,
            relay_url=self._url,
            challenge=challenge,
            created_at=int(self._now()),
            aux=os.urandom(32),
        )
        await self._relay.send(self._session.authenticate(proof))
        await self._until(lambda: proof.id in self._heard.oks)
        ok = self._heard.oks.get(proof.id)
        self._heard.authenticated = ok is not None and ok.accepted

    async def _until(self, is_so: Callable[[], bool]) -> None:
        """Read on, for ANSWER_S at most."""
        try:
            async with asyncio.timeout(ANSWER_S):
                while not is_so():
                    frame = await self._relay.recv()
                    if isinstance(frame, str):
                        self._hear(frame)
        except TimeoutError:
            return

    def _hear(self, frame: str) -> None:
        match self._session.receive(frame):
            case OkReceived() as ok:
                self._heard.oks[ok.event_id] = ok
            case EventReceived(_, raw):
                self._heard.seen.add(raw.get("id"))
            case ClosedReceived(_, reason):
                self._heard.closed = reason
            case AuthRequested():
                pass  # the session has kept the challenge

    def _is_decided(self, event: Event) -> bool:
        heard = self._heard
        ok = heard.oks.get(event.id)
        if ok is None:
            return False
        return not ok.accepted or event.id in heard.seen or heard.closed is not None

    def _wants_auth(self, event: Event) -> bool:
        ok = self._heard.oks.get(event.id)
        said = (ok.message if ok else "", self._heard.closed or "")
        return any(each.startswith("auth-required:") for each in said)

    def _verdict(self, event: Event) -> Finding:
        ok, closed = self._heard.oks.get(event.id), self._heard.closed
        if ok is None:
            return Finding("write", f"no OK in {ANSWER_S:.0f} s", OTHER_RELAY)
        message = ok.message[:MESSAGE_CHARS]
        if not ok.accepted and message.startswith(STRANGERS):
            return Finding("write", f"it takes nothing from strangers: {message}; not tried")
        if not ok.accepted:
            return Finding("write", f"it refuses answers: {message}", OTHER_RELAY)
        if closed is not None:
            says = f"it closes a subscription: {closed[:MESSAGE_CHARS]}"
            return Finding("read", says, OTHER_RELAY)
        if event.id not in self._heard.seen:
            says = f"it took an answer and passed it on to nobody in {ANSWER_S:.0f} s"
            return Finding("read", says, OTHER_RELAY)
        return Finding("write", "an answer came back as it was sent")
