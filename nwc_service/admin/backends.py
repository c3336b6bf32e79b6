"""The backends: what is known of each, and starting a paused one again."""

from fastapi import APIRouter

from nwc_service import views
from nwc_service.admin.access import Caller
from nwc_service.admin.state import Body, State
from nwc_service.views import View
from nwc_service.wallet.errors import NotFound


class Resumption(Body):
    reason: str


def add_routes(api: APIRouter, state: State) -> None:
    async def view(name: str) -> View:
        return await state.books.read(
            lambda tx: views.backend(
                tx, name, types=state.backend_types, answering=state.node_info
            )
        )

    @api.get("/backends")
    async def list_backends() -> list[View]:
        return await state.books.read(
            lambda tx: views.backend_list(
                tx, types=state.backend_types, answering=state.node_info
            )
        )

    @api.get("/backends/{name}")
    async def show_backend(name: str) -> View:
        return await view(name)

    @api.post("/backends/{name}/resume")
    async def resume_backend(*, name: str, body: Resumption, caller: Caller) -> View:
        await state.guard.resume(name, reason=body.reason, by=caller.name)
        return await view(name)

    @api.post("/backends/{backend_type}/commands/{command}")
    async def backend_command(
        *, backend_type: str, command: str, arguments: dict[str, object]
    ) -> View:
        """What only one type of backend can do, such as the sandbox's outside node."""
        for name, configured_type in state.backend_types.items():
            if configured_type == backend_type:
                return dict(await state.backends[name].command(command, arguments))
        raise NotFound(f"this service runs no backend of type {backend_type!r}")
