"""The two endpoints that need no token, and therefore tell no amounts."""

from collections.abc import Awaitable

import structlog
from fastapi import FastAPI
from fastapi.responses import JSONResponse

from nwc_service import __version__
from nwc_service.admin.state import State
from nwc_service.backend import Cap
from nwc_service.store import alarms, nodes
from nwc_service.store.database import Tx
from nwc_service.views import View

log = structlog.get_logger()


def add_routes(app: FastAPI, state: State) -> None:
    @app.get("/healthz")
    async def healthz() -> View:
        """The process answers."""
        return {"ok": True, "version": __version__}

    @app.get("/readyz")
    async def readyz() -> JSONResponse:
        """Database open, every backend answering, at least one relay subscribed.

        A paused backend, or funds that do not cover what is owed, wait for the operator: a
        restart ends neither, and what else the service does goes on, so it stays ready.
        """

        async def look(tx: Tx) -> None:
            answer["alarms"] = len(await alarms.alarms(tx))
            answer["paused"] = {pause.backend: pause.reason for pause in await nodes.pauses(tx)}

        answer: View = {"alarms": None, "paused": None}
        database = await _succeeds(state.db.read(look))
        backends = {name: name in state.node_info for name in state.backends}
        ready = database and all(backends.values()) and state.relays.is_ready
        answer |= {
            "ready": ready,
            "database": database,
            "backends": backends,
            "relays": state.relays.is_ready,
            "solvency": {"covered": state.solvency.is_covered},
        }
        if any(Cap.SIMULATED in backend.caps for backend in state.backends.values()):
            answer["notice"] = "simulated Lightning: no real money moves"
        return JSONResponse(answer, status_code=200 if ready else 503)


async def _succeeds(work: Awaitable[None]) -> bool:
    try:
        await work
    except Exception:
        log.exception("health.database_failed")
        return False
    return True
