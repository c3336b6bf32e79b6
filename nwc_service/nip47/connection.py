"""A connection: one app's key on an account, and what it may do."""

from dataclasses import dataclass

from nwc_service.nip47.kinds import Encryption, NotificationType
from nwc_service.wallet.budget import Budget
from nwc_service.wallet.units import AccountId, ConnectionId, Msat


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """`relays` is empty where the connection uses the service's own."""

    connection_id: ConnectionId
    account_id: AccountId
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

    def is_live(self, now: int) -> bool:
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)

    @property
    def sees_account(self) -> bool:
        """Without list_transactions a connection sees only what it made itself."""
        return "list_transactions" in self.scopes
