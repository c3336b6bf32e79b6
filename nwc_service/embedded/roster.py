"""The open sockets of the embedded relay, and who gives way when there is no room."""

import asyncio
from collections.abc import Iterator

from websockets.asyncio.server import ServerConnection
from websockets.frames import Frame, Opcode
from websockets.protocol import Event as WebsocketEvent

from nwc_service.embedded.limits import RelayLimits, SocketCount, TokenBucket
from nwc_service.embedded.session import Session

__all__ = ["Roster", "connection_class", "ip_of"]


class Roster:
    """Every socket that was let in, the oldest first."""

    def __init__(self, limits: RelayLimits) -> None:
        self._limits = limits
        self._count = SocketCount(limits)
        self._sessions: dict[ServerConnection, Session | None] = {}

    def __iter__(self) -> Iterator[ServerConnection]:
        return iter(tuple(self._sessions))

    def enter(self, socket: ServerConnection) -> None:
        """Let it in, or turn it away; either way it must `leave` once it is lost."""
        may_enter = self._count.enter(ip_of(socket))
        if may_enter and (len(self._sessions) < self._limits.sockets or self._make_room()):
            self._sessions[socket] = None
        else:
            socket.transport.abort()

    def begin(self, socket: ServerConnection, session: Session) -> None:
        """The socket has become a websocket."""
        if socket in self._sessions:
            self._sessions[socket] = session

    def leave(self, socket: ServerConnection) -> None:
        self._count.leave(ip_of(socket))
        self._sessions.pop(socket, None)

    def _make_room(self) -> bool:
        """Disconnect the oldest stranger, one that names no known key if there is any.

        Who names one may be a client that only listens. But anyone can learn such a key, so in
        the end that must not keep out those who would sign.
        """
        strangers = [
            socket
            for socket, session in self._sessions.items()
            if session is None or not session.has_proof
        ]
        if not strangers:
            return False
        gone = next(filter(self._is_nameless, strangers), strangers[0])
        del self._sessions[gone]
        gone.transport.abort()
        return True

    def _is_nameless(self, socket: ServerConnection) -> bool:
        session = self._sessions[socket]
        return session is None or not session.names_known_key


def connection_class(roster: Roster, limits: RelayLimits) -> type[ServerConnection]:
    """Connections that are counted from the first byte, before any HTTP."""

    class CountedConnection(ServerConnection):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            # How much asyncio reads at once.
            transport.max_size = limits.read_bytes  # type: ignore[attr-defined]
            super().connection_made(transport)
            self._pings = TokenBucket(
                rate_per_s=limits.pings_per_s, burst=limits.ping_burst, now=self.loop.time()
            )
            roster.enter(self)

        def process_event(self, event: WebsocketEvent) -> None:
            super().process_event(event)
            # Pings never reach a session, and are answered whatever else is waiting.
            if isinstance(event, Frame) and event.opcode in (Opcode.PING, Opcode.PONG):
                self._pings.take(1)
                if self._pings.wait_s(self.loop.time()):
                    self.transport.abort()

        def connection_lost(self, exc: Exception | None) -> None:
            roster.leave(self)
            super().connection_lost(exc)

    return CountedConnection


def ip_of(socket: ServerConnection) -> str:
    address = socket.remote_address
    return str(address[0]) if address else ""
