"""get_balance: what the account can spend."""

from nwc_service.methods.method import Context, Method, Params, Preset, Result
from nwc_service.store import ledger
from nwc_service.wallet.errors import ErrorCode, RequestError


async def handle(context: Context, params: Params) -> Result:
    account_id = context.caller.connection.account_id
    account = await context.wallet.db.read(lambda tx: ledger.account(tx, account_id))
    if account is None:
        raise RequestError(ErrorCode.UNAUTHORIZED, "this connection has no account")
    return {"balance": account.available_msat}


METHOD = Method(name="get_balance", params=Params, handle=handle, preset=Preset.READ)
