"""A spending limit per calendar period in UTC; pure arithmetic on (limit, spent, now)."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from nwc_service.wallet.units import Msat


class Renewal(StrEnum):
    """NIP-47's renewal periods: midnight, Monday, the 1st of the month, 1 January, never."""

    DAILY = "daily"
    WEEKLY = "weekly"
    MONTHLY = "monthly"
    YEARLY = "yearly"
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class Budget:
    """What a connection may spend in one period, fees included."""

    limit_msat: Msat
    renewal: Renewal


def period_start(renewal: Renewal, now: int) -> int:
    """When the period that holds `now` began; 0 for a budget that never renews."""
    today = datetime.fromtimestamp(now, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    match renewal:
        case Renewal.DAILY:
            start = today
        case Renewal.WEEKLY:
            start = today - timedelta(days=today.weekday())
        case Renewal.MONTHLY:
            start = today.replace(day=1)
        case Renewal.YEARLY:
            start = today.replace(month=1, day=1)
        case Renewal.NEVER:
            return 0
    return int(start.timestamp())


def renews_at(renewal: Renewal, now: int) -> int | None:
    """When the next period begins; None for a budget that never renews."""
    start = datetime.fromtimestamp(period_start(renewal, now), UTC)
    match renewal:
        case Renewal.DAILY:
            following = start + timedelta(days=1)
        case Renewal.WEEKLY:
            following = start + timedelta(days=7)
        case Renewal.MONTHLY:
            following = (start + timedelta(days=32)).replace(day=1)
        case Renewal.YEARLY:
            following = start.replace(year=start.year + 1)
        case Renewal.NEVER:
            return None
    return int(following.timestamp())
