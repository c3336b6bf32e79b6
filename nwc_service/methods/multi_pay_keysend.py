"""multi_pay_keysend (legacy): several keysends in one request, one response for each."""

from collections.abc import Mapping

from nwc_service.methods import pay_keysend
from nwc_service.methods.method import Context, Method, Params, Preset
from nwc_service.methods.multi_pay import Items, Kind, pay_each
from nwc_service.wallet.node_key import is_node_key


class MultiPayKeysend(Params):
    keysends: Items


def _pubkey(item: Mapping[str, object]) -> str:
    """ "d" is the pubkey, as it was sent, where the item has no id, and nothing where it is
    none."""
    pubkey = str(item.get("pubkey"))
    return pubkey if is_node_key(pubkey.lower()) else ""


KIND = Kind(item=pay_keysend.PayKeysend, pay=pay_keysend.handle, d_tag=_pubkey)


async def handle(context: Context, params: MultiPayKeysend) -> None:
    await pay_each(context, params.keysends, kind=KIND)


METHOD = Method(
    name="multi_pay_keysend",
    params=MultiPayKeysend,
    handle=handle,
    preset=Preset.ALL,
    mutates=True,
    needs=pay_keysend.METHOD.needs,
)
