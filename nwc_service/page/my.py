"""What the user of an account sees and does."""

import csv
import io
from collections.abc import AsyncIterator
from datetime import UTC, datetime

from starlette.responses import Response, StreamingResponse

from nwc_service.page.api import Problem
from nwc_service.page.connections import (
    PRESETS,
    RENEWALS,
    changed,
    secret_page,
    spending_limits,
    told,
)
from nwc_service.page.forms import days_s
from nwc_service.page.visit import View, Visit, tried

COLUMNS = (
    "created_at",
    "direction",
    "state",
    "amount_msat",
    "fee_msat",
    "description",
    "payment_hash",
    "payment_id",
)


async def home(visit: Visit) -> Response:
    payments = await visit.api.get("me", "payments", limit=20, cursor=visit.asked("cursor"))
    apps = await visit.api.get("me", "connections")
    return visit.page(
        "my.html",
        title="My account",
        me=await visit.api.get("me"),
        apps=apps["items"],
        payments=payments["items"],
        next_cursor=payments["next_cursor"],
    )


async def payment(visit: Visit) -> Response:
    found = await visit.api.get("me", "payments", visit.part("name"))
    return visit.page("my_payment.html", title="Payment", payment=found)


async def export(visit: Visit) -> Response:
    """All payments as CSV, a page at a time."""
    headers = {"Content-Disposition": 'attachment; filename="payments.csv"'}
    return StreamingResponse(_rows(visit), media_type="text/csv", headers=headers)


async def _rows(visit: Visit) -> AsyncIterator[str]:
    yield _line([name.replace("created_at", "created_at_utc") for name in COLUMNS])
    cursor = None
    while True:
        page = await visit.api.get("me", "payments", limit=1000, cursor=cursor)
        for row in page["items"]:
            yield _line([_cell(name, row[name]) for name in COLUMNS])
        cursor = page["next_cursor"]
        if cursor is None:
            return


def _cell(name: str, value: object) -> str:
    if name.endswith("_at") and isinstance(value, int):
        return datetime.fromtimestamp(value, UTC).isoformat()
    text = "" if value is None else str(value)
    # A payer's words must not become a formula where the file is opened.
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text


def _line(cells: list[str]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer).writerow(cells)
    return buffer.getvalue()


async def new(visit: Visit) -> Response:
    return visit.page("my_new.html", title="Connect an app", presets=PRESETS, renewals=RENEWALS)


async def create(visit: Visit) -> Response:
    async def work() -> Response:
        made = await visit.api.post(
            "me",
            "connections",
            app=visit.text("app"),
            scopes=visit.text("scopes") or "full",
            expires_in_s=days_s(visit, "expires_in_days", label="Ends after"),
            internal_only=bool(visit.text("internal_only")),
            **spending_limits(visit),
        )
        return secret_page(visit, made, back="/my/apps/")

    return await tried(visit, work(), again=new)


async def show(visit: Visit) -> Response:
    app = await visit.api.get("me", "connections", visit.part("connection_id"))
    return visit.page("my_app.html", title=app["app"], connection=app, renewals=RENEWALS)


async def change(visit: Visit) -> Response:
    path = ("me", "connections", visit.part("connection_id"))
    return await tried(visit, changed(visit, path, limits=spending_limits), again=show)


async def tell(visit: Visit) -> Response:
    path = ("me", "connections", visit.part("connection_id"))
    return await tried(visit, told(visit, path, said={}, back="/my/apps/"), again=show)


async def link(visit: Visit) -> Response:
    """What an app asks for with a link, and the user's word on it."""
    text = visit.text("link") or visit.asked("link")
    asked = None
    if text:
        try:
            asked = await visit.api.post("me", "links", link=text)
        except Problem as problem:
            visit.problem = visit.problem or problem
    return visit.page(
        "my_link.html",
        title="An app asks",
        link=text,
        asked=asked,
        presets=PRESETS,
        renewals=RENEWALS,
    )


async def accept(visit: Visit) -> Response:
    if not visit.text("accept"):
        return await link(visit)

    async def work() -> Response:
        made = await visit.api.post(
            "me",
            "links",
            "accept",
            link=visit.text("link"),
            optional_methods=bool(visit.text("optional_methods")),
            scopes=visit.text("scopes") or None,
            expires_in_s=days_s(visit, "expires_in_days", label="Ends after"),
            **spending_limits(visit),
        )
        return visit.page("my_linked.html", title="Connected", made=made)

    return await tried(visit, work(), again=link)


async def set_key(visit: Visit) -> Response:
    """Sign in with a Nostr key from now on, or no more."""

    async def work() -> Response:
        proof = visit.text("event")
        key = visit.proofs.key_of(visit.request, proof) if proof else None
        await visit.api.patch("me", nostr_pubkey=key)
        return visit.go("/my", done="saved")

    return await tried(visit, work(), again=home)


ROUTES: dict[tuple[str, str], View] = {
    ("GET", "/my"): home,
    ("GET", "/my/payments.csv"): export,
    ("GET", "/my/payments/{name}"): payment,
    ("GET", "/my/apps/new"): new,
    ("POST", "/my/apps"): create,
    ("GET", "/my/apps/{connection_id}"): show,
    ("POST", "/my/apps/{connection_id}"): change,
    ("POST", "/my/apps/{connection_id}/{word}"): tell,
    ("GET", "/my/link"): link,
    ("POST", "/my/link"): accept,
    ("POST", "/my/nostr"): set_key,
}
