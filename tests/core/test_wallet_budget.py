"""Budget periods: calendar in UTC: midnight, Monday, the 1st, 1 January."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nwc_service.wallet.budget import Renewal, period_start, renews_at

DAILY, WEEKLY, MONTHLY, YEARLY = (
    Renewal.DAILY,
    Renewal.WEEKLY,
    Renewal.MONTHLY,
    Renewal.YEARLY,
)


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


@pytest.mark.parametrize(
    ("renewal", "now", "start", "end"),
    [
        pytest.param(DAILY, "2024-02-28T23:59:59", "2024-02-28", "2024-02-29", id="day-ends"),
        pytest.param(DAILY, "2024-02-29", "2024-02-29", "2024-03-01", id="day-begins"),
        pytest.param(DAILY, "2023-12-31T12:00", "2023-12-31", "2024-01-01", id="last-day"),
        # Europe changes its clocks on this day; UTC does not.
        pytest.param(DAILY, "2024-03-31T23:00", "2024-03-31", "2024-04-01", id="no-summer"),
        pytest.param(WEEKLY, "2024-03-03T23:59:59", "2024-02-26", "2024-03-04", id="sunday"),
        pytest.param(WEEKLY, "2024-03-04", "2024-03-04", "2024-03-11", id="monday"),
        pytest.param(WEEKLY, "2024-01-01", "2024-01-01", "2024-01-08", id="monday-new-year"),
        pytest.param(WEEKLY, "2025-01-01", "2024-12-30", "2025-01-06", id="week-over-years"),
        pytest.param(WEEKLY, "2024-02-29T12:00", "2024-02-26", "2024-03-04", id="leap-week"),
        pytest.param(MONTHLY, "2024-02-29", "2024-02-01", "2024-03-01", id="leap-day"),
        pytest.param(MONTHLY, "2023-02-28T23:59:59", "2023-02-01", "2023-03-01", id="february"),
        pytest.param(MONTHLY, "2024-01-31", "2024-01-01", "2024-02-01", id="31-days"),
        pytest.param(MONTHLY, "2024-12-31T23:59:59", "2024-12-01", "2025-01-01", id="december"),
        pytest.param(MONTHLY, "2025-01-01", "2025-01-01", "2025-02-01", id="january"),
        pytest.param(YEARLY, "2024-02-29T12:00", "2024-01-01", "2025-01-01", id="leap-year"),
        pytest.param(YEARLY, "2024-12-31T23:59:59", "2024-01-01", "2025-01-01", id="year-ends"),
        pytest.param(YEARLY, "2025-01-01", "2025-01-01", "2026-01-01", id="year-begins"),
        pytest.param(YEARLY, "2000-02-29", "2000-01-01", "2001-01-01", id="leap-century"),
    ],
)
def test_a_period_runs_from_its_start_to_its_renewal(
    renewal: Renewal, now: str, start: str, end: str
) -> None:
    """Section 4, "budget periods": "calendar in UTC: midnight, Monday, 1st of the month, 1
    January"."""
    assert period_start(renewal, at(now)) == at(start)
    assert renews_at(renewal, at(now)) == at(end)


@given(st.integers(0, at("2200-01-01")))
def test_a_budget_that_never_renews_has_one_period(now: int) -> None:
    assert period_start(Renewal.NEVER, now) == 0
    assert renews_at(Renewal.NEVER, now) is None


@given(st.integers(0, at("2200-01-01")), st.sampled_from([DAILY, WEEKLY, MONTHLY, YEARLY]))
def test_every_second_is_in_one_period(now: int, renewal: Renewal) -> None:
    start, end = period_start(renewal, now), renews_at(renewal, now)

    assert end is not None
    assert start <= now < end
    assert period_start(renewal, start) == period_start(renewal, end - 1) == start
    assert period_start(renewal, end) == end
