"""Connections: made with a URI that is shown once, changed, paused, rotated and revoked."""

from collections.abc import Callable, Mapping, Sequence

from markupsafe import Markup
from starlette.responses import Response

from nwc_service.page.api import Problem
from nwc_service.page.forms import days_s, limit_msat, lines
from nwc_service.page.visit import View, Visit, tried

RENEWALS = ("never", "daily", "weekly", "monthly", "yearly")
PRESETS = {
    "full": "Everything that apps usually need: pay, receive, read",
    "receive": "Receive and read; never pay",
    "read": "Read balance and history only",
    "all": "Everything that exists, for the newest apps",
}
Limits = Callable[[Visit], Mapping[str, object]]
DONE = {"pause": "paused", "resume": "resumed", "revoke": "revoked"}


async def index(visit: Visit) -> Response:
    found = await visit.api.get(
        "connections", account=visit.asked("account"), cursor=visit.asked("cursor")
    )
    return visit.page(
        "connections.html",
        title="Connections",
        connections=found["items"],
        next_cursor=found["next_cursor"],
    )


async def new(visit: Visit) -> Response:
    return visit.page(
        "connection_new.html", title="Connect an app", presets=PRESETS, renewals=RENEWALS
    )


async def create(visit: Visit) -> Response:
    async def work() -> Response:
        made = await visit.api.post(
            "connections",
            account=visit.text("account"),
            app=visit.text("app"),
            scopes=visit.text("scopes") or "full",
            expires_in_s=days_s(visit, "expires_in_days", label="Ends after"),
            client_pubkey=visit.text("client_pubkey") or None,
            relays=lines(visit, "relays"),
            **_limits(visit),
        )
        return secret_page(visit, made)

    return await tried(visit, work(), again=new)


async def show(visit: Visit) -> Response:
    connection_id = visit.part("connection_id")
    payments = await visit.api.get("payments", connection_id=connection_id, limit=20)
    connection = await visit.api.get("connections", connection_id)
    return visit.page(
        "connection.html",
        title=connection["app"],
        connection=connection,
        payments=payments["items"],
        renewals=RENEWALS,
    )


async def change(visit: Visit) -> Response:
    path = ("connections", visit.part("connection_id"))
    return await tried(visit, changed(visit, path, limits=_limits), again=show)


async def changed(visit: Visit, path: Sequence[str], *, limits: Limits) -> Response:
    """What the form of a connection at this place of the API says. Raises Problem."""
    named = {"app": visit.text("app"), "scopes": ",".join(lines(visit, "scopes"))}
    await visit.api.patch(*path, **named, **limits(visit))
    return visit.go(visit.request.url.path, done="saved")


async def tell(visit: Visit) -> Response:
    path = ("connections", visit.part("connection_id"))
    reason = {"reason": visit.text("reason")}
    return await tried(visit, told(visit, path, said=reason, back="/connections/"), again=show)


async def told(
    visit: Visit, path: Sequence[str], *, said: Mapping[str, object], back: str
) -> Response:
    """Pause, resume, revoke or rotate the connection at this place of the API. Raises
    Problem."""
    word = visit.part("word")
    if word == "rotate":
        return secret_page(visit, await visit.api.post(*path, word), back=back)
    if word not in DONE:
        raise Problem(404, "there is no such page")
    await visit.api.post(*path, word, **said)
    return visit.go(f"{back}{visit.part('connection_id')}", done=DONE[word])


def _limits(visit: Visit) -> dict[str, object]:
    """Raises Problem."""
    return spending_limits(visit) | {
        "internal_only": bool(visit.text("internal_only")),
        "destinations": lines(visit, "destinations"),
        "lud16": visit.text("lud16") or None,
    }


def spending_limits(visit: Visit) -> dict[str, object]:
    """Raises Problem."""
    budget_msat = limit_msat(visit, "budget", label="Budget")
    renewal = visit.text("budget_renewal") or "never"
    return {
        "budget_msat": budget_msat,
        "budget_renewal": renewal if budget_msat is not None else None,
        "max_payment_msat": limit_msat(visit, "max_payment", label="Most for one payment"),
    }


def secret_page(
    visit: Visit, made: dict[str, object], *, back: str = "/connections/"
) -> Response:
    """Nobody, nor a reload, sees the URI again."""
    uri = made["uri"]
    return visit.page(
        "connection_made.html",
        title="Connect the app now",
        connection=made,
        back=f"{back}{made['connection_id']}",
        qr=qr(str(uri)) if uri else None,
    )


def qr(text: str) -> Markup:
    import segno  # only here: no other page needs one

    code = segno.make(text, error="l", micro=False)
    drawn = code.svg_inline(border=3, omitsize=True, svgclass="qr", lineclass=None)
    return Markup(drawn)  # noqa: S704 (numbers and our own words, whatever the text is)


ROUTES: dict[tuple[str, str], View] = {
    ("GET", "/connections"): index,
    ("GET", "/connections/new"): new,
    ("POST", "/connections"): create,
    ("GET", "/connections/{connection_id}"): show,
    ("POST", "/connections/{connection_id}"): change,
    ("POST", "/connections/{connection_id}/{word}"): tell,
}
