"""create_connection: connect another app to this account, within this connection's limits."""

from typing import Annotated

from pydantic import Field

from nwc_service.methods.method import (
    AmountMsat,
    Context,
    Method,
    Params,
    Text,
    stored_metadata,
)
from nwc_service.nip47.delegation import CREATE_CONNECTION, Grant
from nwc_service.nip47.kinds import NotificationType
from nwc_service.wallet.budget import Budget, Renewal
from nwc_service.wallet.errors import ErrorCode, Refused, RequestError
from nwc_service.wallet.units import Msat
from nwc_service.wishes import app_name, client_key

MAX_METHODS = 64

MethodName = Annotated[str, Field(pattern=r"^[a-z0-9_]{1,64}$")]


class CreateConnection(Params):
    pubkey: Text
    name: Text
    request_methods: Annotated[list[MethodName], Field(min_length=1, max_length=MAX_METHODS)]
    notification_types: Annotated[
        list[Annotated[NotificationType, Field(strict=False)]], Field(max_length=MAX_METHODS)
    ] = Field(default_factory=list)
    max_amount: AmountMsat | None = None
    # Of no effect without max_amount: apps send it with every request.
    budget_renewal: Annotated[Renewal, Field(strict=False)] | None = None
    expires_at: Annotated[int, Field(ge=1, le=2**53)] | None = None
    isolated: bool | None = None
    metadata: dict[str, object] | None = None


async def handle(context: Context, params: CreateConnection) -> None:
    wallet = context.wallet
    if params.expires_at is not None and params.expires_at <= wallet.clock():
        raise RequestError(ErrorCode.BAD_REQUEST, "expires_at: that is in the past")
    await wallet.delegation.grant(context.caller, _grant(params))


def _grant(params: CreateConnection) -> Grant:
    """Raises RequestError."""
    try:
        return Grant(
            client_pubkey=client_key("pubkey", params.pubkey.lower()),
            app=app_name("name", params.name),
            scopes=frozenset(params.request_methods),
            notifications=frozenset(params.notification_types),
            budget=_budget(params),
            expires_at=params.expires_at,
            is_isolated=bool(params.isolated),
            metadata=stored_metadata(params.metadata),
        )
    except Refused as error:
        raise RequestError(ErrorCode.BAD_REQUEST, str(error)) from error


def _budget(params: CreateConnection) -> Budget | None:
    if params.max_amount is None:
        return None
    return Budget(Msat(params.max_amount), params.budget_renewal or Renewal.NEVER)


METHOD = Method(
    name=CREATE_CONNECTION,
    params=CreateConnection,
    handle=handle,
    # nostr-sdk 0.44 rejects a whole get_info that names it; and it is for few to have.
    preset=None,
    mutates=True,
    bad_params=ErrorCode.BAD_REQUEST,
)
