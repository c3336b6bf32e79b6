"""The whole service at a glance, its relays, and what happened over time."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict

from nwc_service import __version__, views
from nwc_service.admin.state import State
from nwc_service.views import View

PERIODS: dict[str, tuple[int, int]] = {
    "day": (86_400, 3_600),
    "week": (7 * 86_400, 6 * 3_600),
    "month": (30 * 86_400, 86_400),
    "year": (365 * 86_400, 7 * 86_400),
}
"""How far back, and in which steps, in seconds."""


class Period(BaseModel):
    model_config = ConfigDict(extra="forbid")

    period: Literal["day", "week", "month", "year"] = "month"


def add_routes(api: APIRouter, state: State) -> None:
    @api.get("/overview")
    async def show_overview() -> View:
        """What is owed, what backs it, and whether all parts work."""
        solvency = state.solvency
        judged = solvency.judged_msat
        return await state.books.read(views.overview) | {
            "spendable_msat": judged[1] if judged else None,
            "required_percent": state.required_percent,
            "covered": solvency.is_covered,
            "connections": state.connections.count,
            "backends": {name: name in state.node_info for name in state.backends},
            "relays": _relays(state),
            "version": __version__,
        }

    @api.get("/relays")
    async def list_relays() -> list[View]:
        """The service's own, and those that connections name."""
        return _relays(state)

    @api.get("/series")
    async def show_series(wanted: Annotated[Period, Query()]) -> View:
        """In sat; steps in which nothing happened are missing."""
        back_s, step_s = PERIODS[wanted.period]
        since = (state.clock() - back_s) // step_s * step_s
        return await state.books.read(
            lambda tx: views.time_series(tx, since=since, step_s=step_s, now=state.clock())
        )


def _relays(state: State) -> list[View]:
    relays = state.relays
    found: list[View] = [
        {
            "url": relay.url,
            "own": relays.is_own(relay.url),
            "embedded": False,
            "connected": relay.is_connected,
            "subscribed": relay.is_subscribed,
        }
        for relay in relays.reached
    ]
    if relays.embedded is not None:
        own: View = {"own": True, "embedded": True, "connected": True, "subscribed": True}
        found.insert(0, {"url": relays.advertised_urls[0], **own})
    return found
