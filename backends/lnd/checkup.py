"""What an operator is told of the connection to LND, each fact on its own."""

from collections.abc import Sequence

from backends.lnd import credentials
from backends.lnd.api import LndApi
from backends.lnd.node import UPDATE, LndNode, is_too_old, node_info
from backends.lnd.options import Options
from backends.lnd.wire import Info
from nwc_service.backend import BackendUnavailable, Finding, findings

MAX_VERSION_LENGTH = 40


async def checkup(name: str, options: Options) -> Sequence[Finding]:
    """On connections of its own: also a macaroon that is refused shows whether LND is there."""
    now = credentials.now_utc()
    told = list(credentials.findings(options, now=now))
    api = LndApi(name, options)
    try:
        api.open(with_any_rights=True)
    except BackendUnavailable:
        return told  # and it is said there why
    try:
        state = await api.get("/v1/state", operation="check")
        told += findings.of_clock(state.date, now=now.timestamp())
        told += await _of_node(LndNode(api))
    except BackendUnavailable as gone:
        told.append(findings.of_problem("connection", gone))
    finally:
        await api.close()
    return told


async def _of_node(node: LndNode) -> Sequence[Finding]:
    """Raises BackendUnavailable."""
    info = await node.told()
    balance = await findings.of_balance(node.balance)
    return [_version(info), *findings.of_info(node_info(info)), _graph(info), balance]


def _version(info: Info) -> Finding:
    says = f"LND {info.version[:MAX_VERSION_LENGTH]}".strip()
    return Finding("version", says, UPDATE if is_too_old(info.version) else None)


def _graph(info: Info) -> Finding:
    if info.synced_to_graph:
        return Finding("graph", "in sync")
    remedy = "wait, and see that LND has peers: until then it may find no routes"
    return Finding("graph", "not in sync", remedy)
