"""get_info: the node, and what this connection may do.

Always answered; the node's fields only with the scope.
"""

from dataclasses import asdict

import orjson

from nwc_service.backend import NodeInfo
from nwc_service.methods.method import Context, Method, Params, Preset, Result
from nwc_service.nip47.info import extensions, notifications

NAME = "get_info"


async def handle(context: Context, params: Params) -> Result:
    wallet, connection = context.wallet, context.caller.connection
    result: dict[str, object] = {}
    if NAME in connection.scopes:
        result |= _node_fields(wallet.node_info(wallet.backend_name))
    lud16 = connection.lud16 or await wallet.lud16_of(connection.account_id)
    if lud16 is not None:
        result["lud16"] = lud16
    if connection.metadata is not None:
        result["metadata"] = orjson.loads(connection.metadata)
    methods = wallet.announced(connection)
    return result | {
        "methods": methods,
        "notifications": notifications(connection, methods),
        "extensions": extensions(connection, methods),
        # snstr falls back to NIP-04 without this list.
        "encryption": list(connection.encryption),
    }


def _node_fields(info: NodeInfo) -> dict[str, object]:
    """Unknown fields are left out rather than sent as garbage."""
    fields = asdict(info)
    del fields["synced"]
    return {name: value for name, value in fields.items() if value is not None}


METHOD = Method(name=NAME, params=Params, handle=handle, preset=Preset.READ, ungranted=True)
