"""ping: a method that a developer might add, as one file of `nwc_service/methods/`."""

from nwc_service.methods.method import Context, Method, Params, Preset, Result


class Ping(Params):
    word: str = "pong"


async def handle(context: Context, params: Ping) -> Result:
    return {"word": params.word, "at": context.wallet.clock()}


METHOD = Method(name="ping", params=Ping, handle=handle, preset=Preset.READ)
