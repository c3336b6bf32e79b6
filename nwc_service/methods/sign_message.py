"""sign_message: a signature by the node's key, with which the node speaks for itself."""

import asyncio
from typing import Annotated

from pydantic import Field

from nwc_service.backend import BackendUnavailable, BadRequest, Cap
from nwc_service.methods.method import Context, Method, Params, Result, Text
from nwc_service.wallet.errors import ErrorCode, RequestError

MAX_MESSAGE_CHARACTERS = 4096
SIGN_TIMEOUT_S = 10.0


class SignMessage(Params):
    message: Annotated[Text, Field(max_length=MAX_MESSAGE_CHARACTERS)]


async def handle(context: Context, params: SignMessage) -> Result:
    try:
        async with asyncio.timeout(SIGN_TIMEOUT_S):
            signature = await context.wallet.backend.sign_message(params.message)
    except (BackendUnavailable, TimeoutError) as error:
        raise RequestError(ErrorCode.INTERNAL, "the node cannot be reached") from error
    except BadRequest as error:
        raise RequestError(ErrorCode.OTHER, f"message: {error}") from error
    return {"message": params.message, "signature": signature}


METHOD = Method(
    name="sign_message",
    params=SignMessage,
    handle=handle,
    # All accounts share the node's key: who may sign with it is for the operator to say. And
    # nostr-sdk 0.44 rejects a whole get_info that names it.
    preset=None,
    needs=Cap.SIGN,
)
