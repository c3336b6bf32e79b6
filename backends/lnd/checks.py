"""What is refused before LND hears of it."""

from backends._checks import refused_amounts, refused_bolt11, refused_keysend
from nwc_service.backend import KeysendRequest, NotSent, PayRequest


def refused_here(request: PayRequest | KeysendRequest, *, now: float) -> NotSent | None:
    if (refused := refused_amounts(request)) is not None:
        return refused
    if isinstance(request, KeysendRequest):
        return refused_keysend(request)
    return refused_bolt11(request, now=now)
