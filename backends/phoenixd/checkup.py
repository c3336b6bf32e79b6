"""What an operator is told of the connection to phoenixd, each fact on its own."""

from collections.abc import Sequence

from backends.phoenixd.api import PhoenixdApi
from backends.phoenixd.node import NO_FEE_CREDIT, PhoenixdNode, fee_credit_told, node_info
from backends.phoenixd.options import Options
from nwc_service.backend import BackendUnavailable, Finding, findings

OLDEST_VERSION = (0, 8)
MAX_VERSION_LENGTH = 40
NO_CHANNEL = "none yet: the first payment that comes in opens one, and pays for it"


async def checkup(name: str, options: Options) -> Sequence[Finding]:
    """On connections of its own, and without starting anything."""
    api = PhoenixdApi(name, options)
    node = PhoenixdNode(api, options)
    api.open()
    try:
        return await _of_node(node, options)
    except BackendUnavailable as gone:
        return [findings.of_problem("connection", gone)]
    finally:
        await api.close()


async def _of_node(node: PhoenixdNode, options: Options) -> Sequence[Finding]:
    """Raises BackendUnavailable."""
    info = await node.told("check")
    return [
        await _rights(node),
        _version(info.version),
        *findings.of_info(node_info(info)),
        Finding("channels", str(len(info.channels)) if info.channels else NO_CHANNEL),
        await _fee_credit(node, options),
        _balance(await findings.of_balance(node.balance)),
    ]


async def _rights(node: PhoenixdNode) -> Finding:
    if await node.is_limited("check"):
        return Finding("rights", "the password of limited access: it receives, and cannot pay")
    return Finding("rights", "the password may pay, and do all else")


def _version(version: str) -> Finding:
    """Its tags look like 0.8.0, and its builds like 0.8.0-abcdef."""
    numbers = version.split("-")[0].split(".")
    is_known = len(numbers) >= 2 and all(number.isdecimal() for number in numbers[:2])
    is_old = is_known and (int(numbers[0]), int(numbers[1])) < OLDEST_VERSION
    says = f"phoenixd {version[:MAX_VERSION_LENGTH]}".strip()
    return Finding("version", says, "run phoenixd 0.8 or newer" if is_old else None)


async def _fee_credit(node: PhoenixdNode, options: Options) -> Finding:
    credit_sat = await node.fee_credit_sat("check")
    if not credit_sat:
        return Finding("fee credit", "none")
    remedy = None if options.accept_fee_credit else NO_FEE_CREDIT
    return Finding("fee credit", fee_credit_told(credit_sat), remedy)


def _balance(finding: Finding) -> Finding:
    """It is empty until the first payment, and its channels come by themselves."""
    return Finding("balance", finding.says)
