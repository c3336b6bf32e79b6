"""Payments: found, shown with their whole life, and resolved."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from starlette.responses import Response

from nwc_service.page.api import Problem
from nwc_service.page.forms import limit_msat
from nwc_service.page.visit import View, Visit, tried

IN_DOUBT = ("DISPATCHED", "UNKNOWN")
LISTS = ("entries", "requests", "receipts", "alarms", "decisions", "same_hash")


async def index(visit: Visit) -> Response:
    """An id or a payment hash leads to that payment at once."""
    if name := visit.asked("name"):
        found = await visit.api.get("payments", name)
        return visit.go(f"/payments/{found['payment_id']}", done="")
    page = await visit.api.get(
        "payments",
        account=visit.asked("account"),
        connection_id=visit.asked("connection_id"),
        direction=visit.asked("direction"),
        since=_day(visit.asked("since")),
        until=_day(visit.asked("until"), is_end=True),
        cursor=visit.asked("cursor"),
        limit=50,
    )
    return visit.page(
        "payments.html",
        title="Payments",
        payments=page["items"],
        next_cursor=page["next_cursor"],
    )


async def show(visit: Visit) -> Response:
    name = visit.part("payment_id")
    payment = await visit.api.get("payments", name)
    is_in_doubt = payment["row_state"] in IN_DOUBT
    said = await visit.api.get("payments", name, "outcome") if is_in_doubt else {}
    return visit.page(
        "payment.html",
        title="Payment",
        payment=payment,
        known=_facts(payment) | said,
        life=_life(payment),
        is_open=is_in_doubt or payment["row_state"] == "RESERVED",
    )


async def resolve(visit: Visit) -> Response:
    name = visit.part("payment_id")

    async def work() -> Response:
        paid = visit.text("paid") == "yes"
        await visit.api.post(
            "payments",
            name,
            "resolve",
            paid=paid,
            reason=visit.text("reason"),
            force=bool(visit.text("force")),
            preimage=visit.text("preimage") or None,
            fee_msat=limit_msat(visit, "fee", label="Fee"),
        )
        return visit.go(f"/payments/{name}", done="resolved")

    return await tried(visit, work(), again=show)


def _facts(payment: Mapping[str, object]) -> dict[str, object]:
    return {
        name: value
        for name, value in payment.items()
        if name not in LISTS and not isinstance(value, dict | list)
    }


def _life(payment: Mapping[str, object]) -> list[tuple[int, str]]:
    """All that has a time, in its order."""
    found = [
        (value, name.removesuffix("_at").replace("_", " "))
        for name, value in payment.items()
        if name.endswith("_at") and isinstance(value, int)
    ]
    return sorted(found)


def _day(text: str, *, is_end: bool = False) -> int | None:
    """A date, in UTC. Raises Problem."""
    if not text:
        return None
    try:
        day = datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        raise Problem(422, f"{text[:40]!r} is not a date such as 2026-12-31") from None
    return int((day + timedelta(days=1)).timestamp()) - 1 if is_end else int(day.timestamp())


ROUTES: dict[tuple[str, str], View] = {
    ("GET", "/payments"): index,
    ("GET", "/payments/{payment_id}"): show,
    ("POST", "/payments/{payment_id}"): resolve,
}
