"""Accounts: found, made, credited and debited."""

from starlette.responses import Response

from nwc_service.page.connections import qr
from nwc_service.page.forms import amount_msat, limit_msat
from nwc_service.page.visit import View, Visit, tried

LIMITS = {
    "max_balance": "Most that it may hold",
    "max_payment": "Most for one payment",
    "max_daily": "Most in a day",
}
MOVEMENTS = {"credit": "credited", "debit": "debited"}


async def index(visit: Visit) -> Response:
    found = await visit.api.get(
        "accounts", prefix=visit.asked("prefix"), cursor=visit.asked("cursor")
    )
    return visit.page(
        "accounts.html",
        title="Accounts",
        accounts=found["items"],
        next_cursor=found["next_cursor"],
        backends=await visit.api.get("backends"),
    )


async def create(visit: Visit) -> Response:
    async def work() -> Response:
        made = await visit.api.post(
            "accounts", name=visit.text("name"), backend=visit.text("backend") or None
        )
        return visit.go(f"/accounts/{made['name']}", done="made")

    return await tried(visit, work(), again=index)


async def show(visit: Visit) -> Response:
    name = visit.part("name")
    connections = await visit.api.get("connections", account=name)
    payments = await visit.api.get("payments", account=name, limit=20)
    return visit.page(
        "account.html",
        title=name,
        account=await visit.api.get("accounts", name),
        connections=connections["items"],
        more_connections=connections["next_cursor"],
        payments=payments["items"],
    )


async def move(visit: Visit) -> Response:
    name, movement = visit.part("name"), visit.part("movement")

    async def work() -> Response:
        await visit.api.post(
            "accounts",
            name,
            movement,
            amount_msat=amount_msat(visit, "amount", label="Amount"),
            reason=visit.text("reason"),
            force=bool(visit.text("force")),
        )
        return visit.go(f"/accounts/{name}", done=MOVEMENTS.get(movement, "saved"))

    return await tried(visit, work(), again=show)


async def limit(visit: Visit) -> Response:
    name = visit.part("name")

    async def work() -> Response:
        wanted = {
            f"{field}_msat": limit_msat(visit, field, label=label)
            for field, label in LIMITS.items()
        }
        await visit.api.patch("accounts", name, **wanted)
        return visit.go(f"/accounts/{name}", done="saved")

    return await tried(visit, work(), again=show)


async def invite(visit: Visit) -> Response:
    """A link that signs the user of the account in."""
    name = visit.part("name")

    async def work() -> Response:
        made = await visit.api.post("accounts", name, "sign-ins")
        return visit.page(
            "sign_in_made.html", title=f"A link for {name}", made=made, qr=qr(str(made["uri"]))
        )

    return await tried(visit, work(), again=show)


async def set_frozen(visit: Visit) -> Response:
    name, word = visit.part("name"), visit.request.url.path.rpartition("/")[2]

    async def work() -> Response:
        await visit.api.post("accounts", name, word, reason=visit.text("reason"))
        return visit.go(f"/accounts/{name}", done="saved")

    return await tried(visit, work(), again=show)


ROUTES: dict[tuple[str, str], View] = {
    ("GET", "/accounts"): index,
    ("POST", "/accounts"): create,
    ("GET", "/accounts/{name}"): show,
    ("POST", "/accounts/{name}"): limit,
    ("POST", "/accounts/{name}/sign-ins"): invite,
    ("POST", "/accounts/{name}/freeze"): set_frozen,
    ("POST", "/accounts/{name}/thaw"): set_frozen,
    ("POST", "/accounts/{name}/{movement}"): move,
}
