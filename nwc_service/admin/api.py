"""The admin API under /api/v1; what each route wants of a token is in `access.py`."""

from fastapi import APIRouter, Depends, FastAPI

from nwc_service import __version__
from nwc_service.admin import (
    account_limits,
    accounts,
    addresses,
    alarms,
    backends,
    bulk,
    changes,
    connections,
    health,
    links,
    me,
    metrics,
    overview,
    payments,
    problems,
    signing_in,
    suspense,
    tokens,
)
from nwc_service.admin.access import BEARER, PREFIX, Door, admitted
from nwc_service.admin.keyed import KeyedRequests
from nwc_service.admin.state import State

NOUNS = (
    overview,
    signing_in,
    account_limits,  # before what takes any word behind a name
    accounts,
    addresses,
    connections,
    changes,
    bulk,
    links,
    me,
    payments,
    suspense,
    backends,
    alarms,
    tokens,
)


def build(state: State, *, door: Door) -> FastAPI:
    """The application, without the page."""
    app = FastAPI(title="nwc-service", version=__version__, docs_url=None, redoc_url=None)
    problems.add_handlers(app)
    health.add_routes(app, state)
    route = admitted(door, KeyedRequests(state.db, clock=state.clock))
    described = [Depends(BEARER)]
    api = APIRouter(prefix=PREFIX, route_class=route, dependencies=described)
    for noun in NOUNS:
        noun.add_routes(api, state)
    scraped = APIRouter(route_class=route, dependencies=described)
    metrics.add_routes(scraped)
    for router in (api, scraped):
        app.include_router(router)
    return app
