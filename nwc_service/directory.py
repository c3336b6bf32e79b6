"""All connections in memory, found by the service key that a request names.

Revoked ones stay, so that their client is told; a key that is not here costs nothing at all.
"""

from collections.abc import Iterable, Iterator

from nwc_service.nip47.connection import Connection
from nwc_service.wallet.units import ConnectionId


class Directory:
    def __init__(self, connections: Iterable[Connection] = ()) -> None:
        self._by_wallet: dict[str, Connection] = {}
        self._wallet_of: dict[ConnectionId, str] = {}
        for connection in connections:
            self.put(connection)

    def put(self, connection: Connection) -> None:
        """Add a connection, or replace what was known of it."""
        self._by_wallet[connection.wallet_pubkey] = connection
        self._wallet_of[connection.connection_id] = connection.wallet_pubkey

    def by_wallet(self, wallet_pubkey: str) -> Connection | None:
        return self._by_wallet.get(wallet_pubkey)

    def by_id(self, connection_id: ConnectionId) -> Connection | None:
        wallet_pubkey = self._wallet_of.get(connection_id)
        return None if wallet_pubkey is None else self._by_wallet[wallet_pubkey]

    def is_party(self, client_pubkey: str, wallet_pubkey: str) -> bool:
        connection = self._by_wallet.get(wallet_pubkey)
        return connection is not None and connection.client_pubkey == client_pubkey

    def __len__(self) -> int:
        return len(self._by_wallet)

    def __iter__(self) -> Iterator[Connection]:
        return iter(tuple(self._by_wallet.values()))
