"""nwc-service account …"""

from typing import Annotated

import typer

from nwc_service import views
from nwc_service.cli.common import DataDir, Json, call, look, pages, show, show_list
from nwc_service.cli.page import show_link
from nwc_service.store.database import Tx
from nwc_service.views import View

app = typer.Typer(
    help="Accounts: subaccounts with a balance of their own.", no_args_is_help=True
)

Reason = Annotated[str, typer.Option("--reason", help="Why; kept in the books.")]
COLUMNS = ("name", "backend", "available_msat", "held_msat", "account_id")


@app.command()
def create(
    name: str,
    backend: Annotated[
        str | None,
        typer.Option(
            "--backend", help="The backend that serves it, for good; else the default."
        ),
    ] = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Create an account."""
    body = {"name": name, "backend": backend}
    show(call(data_dir, "POST", ["accounts"], body), as_json=as_json)


@app.command("list")
def list_(data_dir: DataDir = None, as_json: Json = False) -> None:
    """All accounts."""

    async def page(tx: Tx, cursor: str | None, limit: int) -> View:
        return await views.account_page(tx, cursor=cursor, limit=limit)

    rows = list(pages(data_dir, ["accounts"], page))
    show_list(rows, as_json=as_json, columns=COLUMNS)


@app.command("show")
def show_(name: str, data_dir: DataDir = None, as_json: Json = False) -> None:
    """One account."""
    view = look(data_dir, ["accounts", name], lambda tx: views.account(tx, name))
    show(view, as_json=as_json)


@app.command()
def credit(
    name: str,
    amount_msat: int,
    reason: Reason,
    force: Annotated[
        bool, typer.Option("--force", help="Also when the backends do not cover it.")
    ] = False,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Owe an account more, out of the operator's own money."""
    body = {"amount_msat": amount_msat, "reason": reason, "force": force}
    show(call(data_dir, "POST", ["accounts", name, "credit"], body), as_json=as_json)


@app.command()
def debit(
    name: str,
    amount_msat: int,
    reason: Reason,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Take money out of an account."""
    body = {"amount_msat": amount_msat, "reason": reason}
    show(call(data_dir, "POST", ["accounts", name, "debit"], body), as_json=as_json)


@app.command()
def freeze(name: str, reason: Reason, data_dir: DataDir = None, as_json: Json = False) -> None:
    """Let an account's apps only read. What comes in is credited."""
    body = {"reason": reason}
    show(call(data_dir, "POST", ["accounts", name, "freeze"], body), as_json=as_json)


@app.command()
def thaw(name: str, reason: Reason, data_dir: DataDir = None, as_json: Json = False) -> None:
    """End a freeze."""
    body = {"reason": reason}
    show(call(data_dir, "POST", ["accounts", name, "thaw"], body), as_json=as_json)


Limit = Annotated[int | None, typer.Option(min=0, help="0 ends the limit.")]


@app.command()
def limit(
    name: str,
    max_balance_msat: Limit = None,
    max_payment_msat: Limit = None,
    max_daily_msat: Limit = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Limit what an account may hold, pay at once, and pay in a day with its fees."""
    named = {
        "max_balance_msat": max_balance_msat,
        "max_payment_msat": max_payment_msat,
        "max_daily_msat": max_daily_msat,
    }
    body = {key: value or None for key, value in named.items() if value is not None}
    show(call(data_dir, "PATCH", ["accounts", name], body), as_json=as_json)


@app.command()
def page(name: str, data_dir: DataDir = None, as_json: Json = False) -> None:
    """Print a link with which the user of an account signs in at the page, once."""
    show_link(call(data_dir, "POST", ["accounts", name, "sign-ins"], {}), as_json=as_json)
