"""The embedded relay on a websocket server: sockets, HTTP and the NIP-11 document."""

import asyncio
import logging
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from http import HTTPStatus

import orjson
import structlog
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from nwc_service import __version__, metrics
from nwc_service.embedded.auth import host_of
from nwc_service.embedded.hub import Hub
from nwc_service.embedded.limits import RelayLimits, Strangers
from nwc_service.embedded.outlet import Outlet
from nwc_service.embedded.roster import Roster, connection_class, ip_of
from nwc_service.embedded.session import Session
from nwc_service.nostr.event import Event

__all__ = ["EmbeddedRelay", "open_embedded_relay"]

DEFAULT_LIMITS = RelayLimits()
CLOSE_TIMEOUT_S = 0.5
FRAMES_PER_TURN = 16  # how many frames of one client are handled before the others' turn
LOOPBACK_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})
NIP_11_TYPE = "application/nostr+json"

log = structlog.get_logger()

_sockets = metrics.EMBEDDED_SOCKETS.of()


class EmbeddedRelay:
    """An open relay; made by `open_embedded_relay`."""

    def __init__(self, hub: Hub, *, host: str, port: int) -> None:
        self._hub = hub
        self._is_open = True
        self.port = port
        self.url = f"ws://{f'[{host}]' if ':' in host else host}:{port}"

    def publish(self, event: Event) -> bool:
        """Take an event of the service's own (kinds 13194, 23195, 23196, 23197), unverified.

        False once the relay is closed. Raises ValueError for any other kind.
        """
        if self._is_open:
            self._hub.publish(event)
        return self._is_open

    def restore(self, events: Iterable[Event]) -> None:
        """Take back responses and notifications that were published before a restart: the same
        bytes, each until it would have been forgotten. Others among `events` are left out."""
        self._hub.restore(events)

    def close(self) -> None:
        """Take nothing more: what is published now would reach nobody."""
        self._is_open = False

    def remove_info(self, pubkey: str) -> None:
        """Forget the info event of a connection that is no more."""
        self._hub.remove_info(pubkey)


@asynccontextmanager
async def open_embedded_relay(
    host: str,
    port: int,
    *,
    is_party: Callable[[str, str], bool],
    on_request: Callable[[Event], bool],
    limits: RelayLimits = DEFAULT_LIMITS,
    require_auth: bool = False,
    public_url: str | None = None,
    now: Callable[[], float] = time.time,
) -> AsyncIterator[EmbeddedRelay]:
    """Listen until left. Port 0 takes a free one. Raises OSError if the port is taken.

    `is_party` gets a client's and a wallet service's public key and says whether they belong
    together. `on_request` gets each of their requests once, verified, and must not block; if it
    does not take one, or raises, the client is told to try again. With `require_auth` only the
    parties of an event may read or write it (NIP-42). `public_url` is what clients call this
    relay, if that is not its own address.
    """
    hub = Hub(
        limits, is_party=is_party, on_request=on_request, require_auth=require_auth, now=now
    )
    listener = _Listener(hub, public_hosts=_public_hosts(host, public_url))
    server = await listener.listen(host, port)
    relay = EmbeddedRelay(hub, host=host, port=server.sockets[0].getsockname()[1])
    try:
        log.info("embedded_relay.listening", url=relay.url)
        yield relay
    finally:
        relay.close()
        await listener.close(server)


class _Listener:
    """Turns sockets into sessions."""

    def __init__(self, hub: Hub, *, public_hosts: frozenset[str]) -> None:
        self._hub = hub
        self._limits = hub.limits
        self._public_hosts = public_hosts
        self._roster = Roster(hub.limits)
        self._strangers = Strangers(hub.limits, clock=time.monotonic)

    async def listen(self, host: str, port: int) -> Server:
        return await serve(
            self._serve,
            host,
            port,
            create_connection=connection_class(self._roster, self._limits),
            process_request=self._answer_http,
            compression=None,
            server_header=None,
            max_size=self._limits.frame_bytes,
            write_limit=self._limits.unsent_bytes,
            open_timeout=self._limits.open_timeout_s,
            close_timeout=CLOSE_TIMEOUT_S,
            ping_interval=self._limits.ping_interval_s,
            ping_timeout=self._limits.ping_timeout_s,
            logger=_quiet_logger(),
        )

    async def close(self, server: Server) -> None:
        server.close()
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await server.wait_closed()
        except TimeoutError:
            for socket in self._roster:
                socket.transport.abort()
            await server.wait_closed()

    async def _serve(self, socket: ServerConnection) -> None:
        outlet = Outlet(socket, self._limits)
        session = Session(
            self._hub,
            challenge=secrets.token_hex(16),
            hosts=self._hosts_of(socket),
            deliver=outlet.deliver,
            shared=self._strangers.buckets(ip_of(socket)),
            clock=time.monotonic,
        )
        self._roster.begin(socket, session)
        _sockets.inc()
        try:
            await outlet.reply(session.greeting())
            await _converse(socket, session, outlet=outlet)
        except ConnectionClosed:
            pass
        except Exception:  # one client's session must not be silent about a bug of ours
            log.exception("embedded_relay.session_failed")
        finally:
            _sockets.inc(-1)
            session.close()

    def _hosts_of(self, socket: ServerConnection) -> frozenset[str]:
        """This relay's names, and the address at which this client found it."""
        address = socket.local_address
        own = frozenset({str(address[0])}) if address else frozenset()
        return self._public_hosts | (LOOPBACK_HOSTS if own & LOOPBACK_HOSTS else own)

    def _answer_http(self, socket: ServerConnection, request: Request) -> Response | None:
        """The NIP-11 document or a line of text, where no websocket is wanted."""
        if request.headers.get_all("Upgrade"):
            return None
        if not any(NIP_11_TYPE in accept for accept in request.headers.get_all("Accept")):
            return socket.respond(HTTPStatus.OK, "A Nostr relay for NIP-47 alone.\n")
        response = socket.respond(HTTPStatus.OK, _nip_11(self._hub))
        del response.headers["Content-Type"]
        response.headers["Content-Type"] = NIP_11_TYPE
        # NIP-11: "Relays MUST accept CORS requests by sending" these headers.
        for header in ("Origin", "Headers", "Methods"):
            response.headers[f"Access-Control-Allow-{header}"] = "*"
        return response


async def _converse(socket: ServerConnection, session: Session, *, outlet: Outlet) -> None:
    frames = 0
    async for frame in socket:
        for reply in session.receive(frame):
            await outlet.reply(reply)
        frames += 1
        if wait_s := session.wait_s():
            await _pause(socket, wait_s)
        elif frames % FRAMES_PER_TURN == 0 or not session.is_trusted:
            await asyncio.sleep(0)


async def _pause(socket: ServerConnection, wait_s: float) -> None:
    try:
        async with asyncio.timeout(wait_s):
            await socket.wait_closed()
    except TimeoutError:
        pass


def _nip_11(hub: Hub) -> str:
    limits = hub.limits
    document = {
        "name": "nwc-service",
        "description": "Carries NIP-47 between this wallet service and its own clients only.",
        "supported_nips": [1, 11, 40, 42, 47],
        "software": "nwc-service",
        "version": __version__,
        "limitation": {
            "max_message_length": limits.frame_bytes,
            "max_subscriptions": limits.subscriptions_per_socket,
            "max_filters": limits.filters_per_req,
            "max_limit": limits.stored_per_filter,
            "default_limit": limits.stored_per_filter,
            "max_subid_length": limits.subscription_id_chars,
            "max_event_tags": limits.tags_per_event,
            "max_content_length": limits.content_chars,
            "min_pow_difficulty": 0,
            "auth_required": hub.require_auth,
            "payment_required": False,
            "restricted_writes": True,
            "created_at_lower_limit": limits.max_age_s,
            "created_at_upper_limit": limits.max_ahead_s,
        },
    }
    return orjson.dumps(document).decode()


def _public_hosts(host: str, public_url: str | None) -> frozenset[str]:
    named = host_of(public_url) if public_url else None
    return frozenset({named} if named else {host.lower()})


def _quiet_logger() -> logging.Logger:
    """What strangers do to a socket is worth no line of the log; our own bugs have theirs."""
    logger = logging.getLogger("nwc_service.embedded.websockets")
    logger.setLevel(logging.CRITICAL)
    return logger
