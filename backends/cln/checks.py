"""What is refused before CLN hears of it."""

from backends._checks import bad, refused_amounts, refused_bolt11, refused_keysend
from nwc_service.backend import KeysendRequest, NotSent, PayRequest

BOLT12_PREFIX = "lni1"


def is_bolt12(invoice: str) -> bool:
    return invoice.lower().startswith(BOLT12_PREFIX)


def refused_here(request: PayRequest | KeysendRequest, *, now: float) -> NotSent | None:
    if (refused := refused_amounts(request)) is not None:
        return refused
    if isinstance(request, KeysendRequest):
        return refused_keysend(request)
    if is_bolt12(request.invoice):
        # only the node can read it, and is asked
        return bad("it names its amount") if request.amount_is_override else None
    return refused_bolt11(request, now=now)
