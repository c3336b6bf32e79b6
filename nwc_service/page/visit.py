"""One request of a browser: who asks, for what, and what is sent back."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from nwc_service.page.api import Api, Problem
from nwc_service.page.nostr import Proofs
from nwc_service.page.show import render

DONE = {
    "saved": "Saved.",
    "made": "Made.",
    "credited": "Credited.",
    "debited": "Taken out.",
    "paused": "Paused.",
    "resumed": "It goes on.",
    "revoked": "Revoked.",
    "resolved": "Recorded.",
    "cleared": "Cleared.",
    "assigned": "Assigned.",
}
"""What is said after a form was taken, by the word in the address."""


@dataclass(slots=True)
class Visit:
    request: Request
    api: Api
    proofs: Proofs
    form: FormData = field(default_factory=FormData)
    problem: Problem | None = None
    """What was wrong with the form that is shown again."""

    def part(self, name: str) -> str:
        """Of the path."""
        return str(self.request.path_params[name])

    def asked(self, name: str) -> str:
        """In the query."""
        return self.request.query_params.get(name, "").strip()

    def text(self, name: str) -> str:
        """In the form."""
        value = self.form.get(name, "")
        return value.strip() if isinstance(value, str) else ""

    def page(self, template: str, *, title: str, **values: object) -> Response:
        """Once only what is shown once: nothing of it is kept by the browser."""
        status = self.problem.status if self.problem else 200
        text = render(
            template,
            title=title,
            principal=self.api.principal,
            path=self.request.url.path,
            query=self.request.query_params,
            done=DONE.get(self.asked("done")),
            problem=self.problem.detail if self.problem else None,
            form={name: self.text(name) for name in self.form},
            **values,
        )
        return HTMLResponse(text, status)

    def go(self, address: str, *, done: str) -> Response:
        """See Other, so that a reload sends no form again."""
        return RedirectResponse(f"{address}?done={done}", 303)


View = Callable[[Visit], Awaitable[Response]]
Rows = list[Mapping[str, object]]


async def tried(visit: Visit, work: Awaitable[Response], *, again: View) -> Response:
    """What the form asked for; refused, it is shown again with what was wrong."""
    try:
        return await work
    except Problem as problem:
        visit.problem = problem
        return await again(visit)
