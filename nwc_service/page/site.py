"""The page as an application: who is signed in, what is where, and what a browser is told."""

from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from pathlib import Path

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.staticfiles import StaticFiles

from nwc_service.admin import api
from nwc_service.admin.access import Door, Principal, Role
from nwc_service.admin.sessions import SESSION_LASTS_S, Sessions
from nwc_service.admin.state import State
from nwc_service.page import accounts, connections, house, my, overview, payments
from nwc_service.page.api import Api, Problem
from nwc_service.page.nostr import Proofs
from nwc_service.page.show import render
from nwc_service.page.visit import View, Visit
from nwc_service.request_ids import App

COOKIE = "nwc_session"
STATIC = Path(__file__).parent / "static"
MAX_FORM_BYTES = 64 * 1024

SAFE: Mapping[str, str] = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:;"
        " connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}

Endpoint = Callable[[Request], Awaitable[Response]]

# The operator's; a user's are in `my.py`.
ROUTES: Mapping[tuple[str, str], View] = {
    **overview.ROUTES,
    **accounts.ROUTES,
    **connections.ROUTES,
    **payments.ROUTES,
    **house.ROUTES,
}


class Site:
    """`app` is the whole admin application, to which the page is added."""

    def __init__(self, app: App, *, sessions: Sessions, door: Door, proofs: Proofs) -> None:
        self._app = app
        self._proofs = proofs
        self._sessions = sessions
        self._door = door

    def routes(self) -> list[Route]:
        own = [
            Route("/sign-in", self.sign_in, methods=["GET"]),
            Route("/sign-in", self.begin, methods=["POST"]),
            Route("/sign-in/nostr", self.begin_with_key, methods=["POST"]),
            Route("/sign-out", self.end, methods=["POST"]),
        ]
        return own + [
            Route(path, self._signed_in(view, is_users=is_users), methods=[method])
            for routes, is_users in ((ROUTES, False), (my.ROUTES, True))
            for (method, path), view in routes.items()
        ]

    async def sign_in(self, request: Request) -> Response:
        return self._sign_in_page(request)

    async def begin(self, request: Request) -> Response:
        """With a token, or with the secret of a link. Never tells which of them was wrong."""
        _must_be_ours(request)
        form = await request.form()
        secret = str(form.get("token", "")).strip()
        made = await self._sessions.begin(secret, self._door)
        if made is None:
            return self._sign_in_page(request, problem="This token or link is not valid.")
        return self._begun(request, made, to=str(form.get("next", "")))

    async def begin_with_key(self, request: Request) -> Response:
        """With an event of NIP-98 that a browser's extension has signed."""
        _must_be_ours(request)
        form = await request.form()
        try:
            key = self._proofs.key_of(request, str(form.get("event", "")))
        except Problem as problem:
            return self._sign_in_page(request, problem=problem.detail)
        made = await self._sessions.begin_with_key(key)
        if made is None:
            return self._sign_in_page(request, problem="No account has this Nostr key.")
        return self._begun(request, made, to=str(form.get("next", "")))

    def _begun(self, request: Request, secret: str, *, to: str) -> Response:
        response = RedirectResponse(_inside(to), 303, headers=SAFE)
        response.set_cookie(
            COOKIE,
            secret,
            max_age=SESSION_LASTS_S,
            httponly=True,
            samesite="strict",
            secure=request.url.scheme == "https",
        )
        return response

    async def end(self, request: Request) -> Response:
        _must_be_ours(request)
        await self._sessions.end(request.cookies.get(COOKIE, ""))
        response = RedirectResponse("/sign-in", 303, headers=SAFE)
        response.delete_cookie(COOKIE)
        return response

    def _signed_in(self, view: View, *, is_users: bool) -> Endpoint:
        async def visit(request: Request) -> Response:
            principal = await self._principal(request)
            if principal is None:
                return RedirectResponse(f"/sign-in?next={request.url.path}", 303, headers=SAFE)
            if principal.role is Role.USER and request.url.path == "/":
                return RedirectResponse("/my", 303, headers=SAFE)
            visit = Visit(request, Api(self._app, principal), self._proofs)
            if request.method == "POST":
                _must_be_ours(request)
                visit.form = await request.form()
            try:
                if (principal.role is Role.USER) is not is_users:
                    raise Problem(403, "this page is not yours")
                response = await view(visit)
            except Problem as problem:
                visit.problem = problem
                response = visit.page("problem.html", title=HTTPStatus(problem.status).phrase)
            response.headers.update(SAFE)
            return response

        return visit

    async def _principal(self, request: Request) -> Principal | None:
        secret = request.cookies.get(COOKIE)
        principal = await self._sessions.principal(secret) if secret else None
        has_page = principal is not None and principal.role is not Role.PROVISIONING
        return principal if has_page else None

    def _sign_in_page(self, request: Request, *, problem: str | None = None) -> Response:
        text = render(
            "sign_in.html",
            title="Sign in",
            next=_inside(request.query_params.get("next", "")),
            problem=problem,
            principal=None,
        )
        return HTMLResponse(text, 403 if problem else 200, headers=SAFE)


def build(state: State, *, token: str) -> FastAPI:
    """The admin API with the page; `token` is the owner's."""
    door = Door(state.db, owner_token=token, clock=state.clock)
    app = api.build(state, door=door)
    app.mount("/static", StaticFiles(directory=STATIC))
    site = Site(
        app,
        sessions=Sessions(state.db, clock=state.clock),
        door=door,
        proofs=Proofs(state.clock),
    )
    app.router.routes.extend(site.routes())
    return app


def _must_be_ours(request: Request) -> None:
    """A form comes from our own page, whatever a browser sends along with it. Raises
    HTTPException; every browser of today sends one of these headers with a POST."""
    length = request.headers.get("content-length", "")
    if not length.isdigit():
        raise HTTPException(411, "the form does not say how long it is")
    if int(length) > MAX_FORM_BYTES:
        raise HTTPException(413, "the form is too long")
    site = request.headers.get("sec-fetch-site")
    origin = request.headers.get("origin")
    if site is not None:
        is_ours = site == "same-origin"
    else:
        is_ours = origin == f"{request.url.scheme}://{request.url.netloc}"
    if not is_ours:
        raise HTTPException(403, "this form did not come from the page")


def _inside(address: str) -> str:
    """Never a way out of the page."""
    is_path = address.startswith("/") and not address.startswith(("//", "/\\"))
    return address if is_path and address.isascii() else "/"
