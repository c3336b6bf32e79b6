"""A connection: one app's key on an account, and what it may do."""

from dataclasses import dataclass

from nwc_service.nip47.kinds import Encryption, NotificationType
from nwc_service.wallet.budget import Budget
from nwc_service.wallet.units import AccountId, BackendName, ConnectionId, Msat


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """`relays` is empty where the connection uses the service's own; `relays_by_user` where
    they were not the operator's choice, so that they are checked before each connect.

    `backend` is its account's. `destinations` are the only node keys that it may pay,
    `internal_only` says that it pays nobody outside. `parent_id` is the connection that made
    it with create_connection: its budget counts too. `link_state` is what a client-initiated
    connection wants repeated (NWC-08), `metadata` a JSON object as text. Nothing is done for
    one that is paused, until its operator lets it go on.
    """

    connection_id: ConnectionId
    account_id: AccountId
    backend: BackendName
    app: str
    wallet_pubkey: str
    client_pubkey: str
    scopes: frozenset[str]
    notifications: frozenset[NotificationType]
    encryption: tuple[Encryption, ...]
    relays: tuple[str, ...]
    budget: Budget | None
    max_payment_msat: Msat | None
    created_at: int
    expires_at: int | None
    revoked_at: int | None = None
    paused_at: int | None = None
    parent_id: ConnectionId | None = None
    request_id: str | None = None
    internal_only: bool = False
    destinations: tuple[str, ...] | None = None
    relays_by_user: bool = False
    lud16: str | None = None
    link_state: str | None = None
    metadata: str | None = None

    def is_live(self, now: int) -> bool:
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)

    def is_served(self, now: int) -> bool:
        return self.is_live(now) and self.paused_at is None

    @property
    def sees_account(self) -> bool:
        """Without list_transactions a connection sees only what it made itself."""
        return "list_transactions" in self.scopes
