"""What an operator is told of the connection to CLN, each fact on its own."""

from collections.abc import Awaitable, Callable, Sequence

from backends.cln import rights
from backends.cln.api import ClnApi
from backends.cln.node import (
    SLOW_MODE_IS_OFF,
    SLOW_MODE_REMEDY,
    UPDATE,
    ClnNode,
    is_too_old,
    node_info,
)
from backends.cln.options import Options
from nwc_service.backend import BackendUnavailable, Finding, findings

MAX_VERSION_LENGTH = 40
OLD_PLUGIN = "none: the plugin hold is older than 0.3.2"
UPDATE_PLUGIN = "use version 0.3.2 of the plugin hold, or newer"
SOCKET_RIGHTS = "the socket allows everything to whoever can open it"


async def checkup(name: str, options: Options) -> Sequence[Finding]:
    """On connections of its own, and without starting anything."""
    api = ClnApi(name, options)
    node = ClnNode(api, options)
    try:
        api.open()
        info = await node.told(operation="check")
    except BackendUnavailable as gone:
        await api.close()
        return [findings.of_problem("connection", gone)]
    says = f"Core Lightning {info.version[:MAX_VERSION_LENGTH]}"
    try:
        return [
            await _or_problem("rights", lambda: _rights(node, options)),
            Finding("version", says, UPDATE if is_too_old(info.version) else None),
            *findings.of_info(node_info(info)),
            await _or_problem("payments", lambda: _slow_mode(node)),
            await _or_problem("hold invoices", lambda: _holds(node)),
            await findings.of_balance(node.balance),
        ]
    finally:
        await api.close()


async def _or_problem(subject: str, look: Callable[[], Awaitable[Finding]]) -> Finding:
    try:
        return await look()
    except BackendUnavailable as gone:
        return findings.of_problem(subject, gone)


async def _rights(node: ClnNode, options: Options) -> Finding:
    if options.socket is not None:
        return Finding("rights", SOCKET_RIGHTS)
    found = await node.rune_rights()
    if found.missing:
        return Finding("rights", found.too_few, rights.CREATE)
    if found.excess:
        remedy = None if options.allow_broad_rune else rights.NARROW
        return Finding("rights", found.too_many, remedy)
    return Finding("rights", "the rune allows what is needed, and no more")


async def _slow_mode(node: ClnNode) -> Finding:
    if await node.is_slow(operation="check"):
        return Finding("payments", "xpay-slow-mode is on")
    return Finding("payments", SLOW_MODE_IS_OFF, SLOW_MODE_REMEDY)


async def _holds(node: ClnNode) -> Finding:
    """Without them the service does all else."""
    if not await node.commands() >= set(rights.HOLD):
        return Finding("hold invoices", "none: the plugin hold is not there")
    if await node.hold_deadline(operation="check") is None:
        return Finding("hold invoices", OLD_PLUGIN, UPDATE_PLUGIN)
    return Finding("hold invoices", "the plugin hold is there")
