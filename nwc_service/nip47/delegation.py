"""What a connection may hand on with create_connection: never more than it has itself."""

from collections.abc import Collection
from dataclasses import dataclass, replace

from nwc_service.nip47.connection import Connection
from nwc_service.nip47.kinds import NotificationType
from nwc_service.wallet.budget import Budget, Renewal
from nwc_service.wallet.errors import ErrorCode, RequestError
from nwc_service.wallet.units import AccountId, ConnectionId

CREATE_CONNECTION = "create_connection"
_PERIODS = tuple(Renewal)  # from the shortest to the longest


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """What the new connection shall be. A limit that is None is the maker's own."""

    client_pubkey: str
    app: str
    scopes: frozenset[str]
    notifications: frozenset[NotificationType]
    budget: Budget | None
    expires_at: int | None
    is_isolated: bool
    metadata: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who the new connection is. `account_id` is the maker's own unless it is isolated."""

    connection_id: ConnectionId
    wallet_pubkey: str
    account_id: AccountId
    request_id: str
    created_at: int


def child(
    parent: Connection, grant: Grant, *, identity: Identity, supported: Collection[str]
) -> Connection:
    """The connection that `parent` makes. `supported` are the methods that `parent` could call.

    Relays, schemes, the cap of one payment and who may be paid are the parent's. Raises
    RequestError for whatever is more than the parent's own.
    """
    _check_methods(parent, grant, supported=supported)
    ungranted = grant.notifications - parent.notifications
    if ungranted:
        raise _refused(f"notification_types: not granted here: {_listed(ungranted)}")
    is_isolated = grant.is_isolated
    return replace(
        parent,
        connection_id=identity.connection_id,
        account_id=identity.account_id,
        app=grant.app,
        wallet_pubkey=identity.wallet_pubkey,
        client_pubkey=grant.client_pubkey,
        scopes=grant.scopes,
        notifications=grant.notifications,
        budget=_budget(parent.budget, grant.budget),
        created_at=identity.created_at,
        expires_at=_expires_at(parent, grant),
        parent_id=parent.connection_id,
        request_id=identity.request_id,
        # What pays into the parent's account does not pay into another.
        lud16=None if is_isolated else parent.lud16,
        link_state=None,
        metadata=grant.metadata,
    )


def _check_methods(parent: Connection, grant: Grant, *, supported: Collection[str]) -> None:
    if CREATE_CONNECTION in grant.scopes:
        raise _refused(f"request_methods: {CREATE_CONNECTION} cannot be granted")
    # Not `supported` alone: some methods are answered without the scope, and tell less then.
    ungranted = grant.scopes - (parent.scopes & set(supported))
    if ungranted:
        raise _refused(f"request_methods: not granted here: {_listed(ungranted)}")


def _budget(own: Budget | None, asked: Budget | None) -> Budget | None:
    if own is None or asked is None:
        return asked or own
    if asked.limit_msat > own.limit_msat:
        raise _refused(f"max_amount: this connection has {own.limit_msat} msat itself")
    if _PERIODS.index(asked.renewal) < _PERIODS.index(own.renewal):
        raise _refused(f"budget_renewal: that of this connection itself is {own.renewal}")
    return asked


def _expires_at(parent: Connection, grant: Grant) -> int | None:
    if grant.expires_at is None or parent.expires_at is None:
        return grant.expires_at or parent.expires_at
    if grant.expires_at > parent.expires_at:
        raise _refused(f"expires_at: this connection itself ends at {parent.expires_at}")
    return grant.expires_at


def _listed(words: Collection[str]) -> str:
    return ", ".join(sorted(words))


def _refused(message: str) -> RequestError:
    return RequestError(ErrorCode.RESTRICTED, message)
