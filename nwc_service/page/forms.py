"""What people write into forms, as the API wants it."""

from decimal import Decimal, InvalidOperation

from nwc_service.page.api import Problem
from nwc_service.page.visit import Visit

MSAT_PER_SAT = 1000


def amount_msat(visit: Visit, name: str, *, label: str) -> int:
    """Of sat, with up to three digits behind the point. Raises Problem."""
    found = limit_msat(visit, name, label=label)
    if found is None:
        raise Problem(422, f"{label}: an amount in sat is missing")
    return found


def limit_msat(visit: Visit, name: str, *, label: str) -> int | None:
    """As `amount_msat`; None where nothing is written."""
    text = visit.text(name).replace(",", "").replace(" ", "")
    if not text:
        return None
    try:
        msat = Decimal(text) * MSAT_PER_SAT
    except InvalidOperation:
        raise Problem(422, f"{label}: {text[:40]!r} is not an amount in sat") from None
    if not msat.is_finite() or msat != int(msat):
        raise Problem(422, f"{label}: an amount in sat has three digits behind the point")
    return int(msat)


def days_s(visit: Visit, name: str, *, label: str) -> int | None:
    """Days as seconds; None where nothing is written. Raises Problem."""
    text = visit.text(name)
    if not text:
        return None
    if not text.isascii() or not text.isdigit() or len(text) > 6:
        raise Problem(422, f"{label}: a number of days")
    return int(text) * 86_400


def lines(visit: Visit, name: str) -> list[str]:
    """One a line, or between commas."""
    return [word for word in visit.text(name).replace(",", " ").split() if word]
