"""nwc-service payment …"""

import time
from typing import Annotated

import typer

from nwc_service import views
from nwc_service.cli.common import DataDir, Json, look, show, show_list

app = typer.Typer(help="Payments, incoming and outgoing.", no_args_is_help=True)

COLUMNS = ("payment_id", "account", "direction", "state", "amount_msat", "fee_msat")


@app.command("list")
def list_(
    account: Annotated[str | None, typer.Option("--account")] = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """All payments and invoices, newest first, or those of one account."""
    now = int(time.time())
    rows = look(
        data_dir,
        ["payments"],
        lambda tx: views.payment_list(tx, account_name=account, now=now),
        account=account,
    )
    show_list(rows, as_json=as_json, columns=COLUMNS)


@app.command("show")
def show_(payment_id: str, data_dir: DataDir = None, as_json: Json = False) -> None:
    """One payment."""
    now = int(time.time())
    view = look(
        data_dir, ["payments", payment_id], lambda tx: views.payment(tx, payment_id, now=now)
    )
    show(view, as_json=as_json)
