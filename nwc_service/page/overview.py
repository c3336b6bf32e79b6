"""Everything at a glance, and over time."""

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup
from starlette.responses import Response

from nwc_service.page.plots import Line, plot
from nwc_service.page.visit import View, Visit

PERIODS = ("day", "week", "month", "year")


async def show(visit: Visit) -> Response:
    found = await visit.api.get("overview")
    return visit.page(
        "overview.html",
        title="Overview",
        overview=found,
        alarms=await visit.api.get("alarms"),
        payments=(await visit.api.get("payments", limit=8))["items"],
    )


async def over_time(visit: Visit) -> Response:
    period = visit.asked("period") if visit.asked("period") in PERIODS else "month"
    found = await visit.api.get("series", period=period)
    moved = {side: {row["at"]: row for row in found[side]} for side in SIDES}
    return visit.page(
        "over_time.html",
        title="Over time",
        period=period,
        periods=PERIODS,
        plots=_plots(found, moved),
        at=sorted(set().union(*moved.values())),
        moved=moved,
    )


SIDES = ("incoming", "outgoing")
LEVELS = ("owed_msat", "spendable_msat", "receivable_msat")
Moved = Mapping[str, Mapping[int, Mapping[str, int]]]


def _plots(found: Mapping[str, Any], moved: Moved) -> list[Markup]:
    """Volume, fees, latency and liquidity, each step in its place."""
    at, step_s = found["at"], found["step_s"]
    read = {row["at"] // step_s * step_s: row for row in found["liquidity"]}

    def line(side: str, name: str) -> Line:
        return Line(side, [moved[side].get(each, {}).get(name, 0) for each in at])

    paid = [moved["outgoing"].get(each) for each in at]
    took = Line("outgoing", [row["took_s"] / row["count"] if row else None for row in paid])
    known = [read.get(each) for each in at]
    levels = [
        Line(name, [row[name] / 1000 if row else None for row in known]) for name in LEVELS
    ]
    shown = {
        "Volume": [line(side, "amount_sat") for side in SIDES],
        "Fees": [line("outgoing", "fee_sat")],
        "Seconds to settle": [took],
        "Liquidity": levels,
    }
    return [plot(title, lines, at=at, step_s=step_s) for title, lines in shown.items()]


ROUTES: dict[tuple[str, str], View] = {
    ("GET", "/"): show,
    ("GET", "/over-time"): over_time,
}
