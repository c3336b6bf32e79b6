"""What the check of a backend finds, and what is found in the same way at each of them."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

from nwc_service.backend.reports import Balance, NodeInfo
from nwc_service.backend.words import BackendUnavailable

MAX_CLOCK_SKEW_S = 60  # a request may be dated no further ahead; expiries are compared, too

SEE_ITS_LOG = "see that the node runs, and its log"


@dataclass(frozen=True, slots=True)
class Finding:
    """One fact. With a remedy it is wrong."""

    subject: str
    says: str
    remedy: str | None = None


async def of_node(
    *, info: Callable[[], Awaitable[NodeInfo]], balance: Callable[[], Awaitable[Balance]]
) -> Sequence[Finding]:
    """Who it is, its network, whether it is in sync, its balance; or why it does not say so."""
    try:
        told = of_info(await info())
    except BackendUnavailable as gone:
        return [of_problem("connection", gone)]
    return [*told, await of_balance(balance)]


def of_info(info: NodeInfo) -> Sequence[Finding]:
    identity = " ".join(filter(None, (info.alias, info.pubkey)))
    findings = [Finding("identity", identity)] if identity else []
    if info.network is not None:
        findings.append(Finding("network", info.network))
    height = "" if info.block_height is None else f" at block {info.block_height}"
    if not info.synced:
        remedy = "wait until it has caught up; until then it may miss what it is paid"
        findings.append(Finding("chain", f"not in sync{height}", remedy))
    elif height:
        findings.append(Finding("chain", f"in sync{height}"))
    return findings


async def of_balance(read: Callable[[], Awaitable[Balance]]) -> Finding:
    try:
        balance = await read()
    except BackendUnavailable as gone:
        return of_problem("balance", gone)
    says = f"{balance.spendable_msat} msat to spend"
    if balance.receivable_msat is None:
        return Finding("balance", says)
    says += f", {balance.receivable_msat} msat to receive"
    is_empty = not balance.spendable_msat and not balance.receivable_msat
    remedy = "open a channel, or reconnect its peers: nothing can be paid" if is_empty else None
    return Finding("balance", says, remedy)


def of_problem(subject: str, gone: BackendUnavailable) -> Finding:
    return Finding(subject, gone.problem or "no usable answer", gone.remedy or SEE_ITS_LOG)


def of_clock(date: str, *, now: float, whose: str = "the node's") -> Sequence[Finding]:
    """From the header `Date` of an answer; nothing where there is none."""
    try:
        skew_s = round(parsedate_to_datetime(date).timestamp() - now)
    except ValueError:
        return []
    if abs(skew_s) <= MAX_CLOCK_SKEW_S:
        return [Finding("clock", f"this machine's and {whose} agree")]
    where = "ahead of" if skew_s > 0 else "behind"
    says = f"{whose} is {abs(skew_s)} s {where} this machine's"
    return [Finding("clock", says, "set both from the network (NTP)")]
