"""What Prometheus scrapes, at the address that it looks for by itself."""

from fastapi import APIRouter
from fastapi.responses import Response

from nwc_service.metrics.exposition import CONTENT_TYPE, exposition


def add_routes(api: APIRouter) -> None:
    @api.get("/metrics")
    async def metrics() -> Response:
        """In the text format of Prometheus; docs/monitoring.md lists all of them."""
        return Response(await exposition.text(), media_type=CONTENT_TYPE)
