"""How text leaves for one client, without it ever holding up another."""

import asyncio

from websockets.asyncio.server import ServerConnection, broadcast

from nwc_service.embedded.limits import RelayLimits

__all__ = ["Outlet"]

CHECK_INTERVAL_S = 0.05


class Outlet:
    """A client may leave `unsent_bytes` unread; above that it is cut off.

    The socket's own flow control begins at the same mark, where it would hold back the pings
    that find out who is gone.
    """

    def __init__(self, socket: ServerConnection, limits: RelayLimits) -> None:
        self._socket = socket
        self._limits = limits

    def deliver(self, text: str) -> None:
        """Send without waiting."""
        if self._socket.transport.is_closing():
            return
        broadcast([self._socket], text)
        if self._unsent_bytes() > self._limits.unsent_bytes:
            self._socket.transport.abort()

    async def reply(self, text: str) -> None:
        """Send, and wait while much is unread, so that room is left for live events.

        Raises ConnectionClosed.
        """
        await self._socket.send(text)
        if self._unsent_bytes() > self._limits.unsent_bytes // 2:
            await self._until_read()

    async def _until_read(self) -> None:
        for _ in range(round(self._limits.unread_s / CHECK_INTERVAL_S)):
            await asyncio.sleep(CHECK_INTERVAL_S)
            if self._unsent_bytes() <= self._limits.unsent_bytes // 2:
                return
        self._socket.transport.abort()

    def _unsent_bytes(self) -> int:
        return self._socket.transport.get_write_buffer_size()
