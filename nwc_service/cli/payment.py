"""nwc-service payment …"""

import time
from typing import Annotated

import typer

from nwc_service import views
from nwc_service.cli.common import DataDir, Json, call, is_remote, read, show, show_list

app = typer.Typer(help="Payments, incoming and outgoing.", no_args_is_help=True)

COLUMNS = ("payment_id", "account", "direction", "state", "amount_msat", "fee_msat")


@app.command("list")
def list_(
    account: Annotated[str | None, typer.Option("--account")] = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """All payments and invoices, newest first, or those of one account."""
    if is_remote():
        rows = [
            row
            for row in call(data_dir, "GET", ["payments"])
            if account in (None, row["account"])
        ]
    else:
        now = int(time.time())
        rows = read(
            data_dir,
            lambda database: database.read(
                lambda tx: views.payment_list(tx, account_name=account, now=now)
            ),
        )
    show_list(rows, as_json=as_json, columns=COLUMNS)


@app.command("show")
def show_(payment_id: str, data_dir: DataDir = None, as_json: Json = False) -> None:
    """One payment."""
    if is_remote():
        view = call(data_dir, "GET", ["payments", payment_id])
    else:
        now = int(time.time())
        view = read(
            data_dir,
            lambda database: database.read(lambda tx: views.payment(tx, payment_id, now=now)),
        )
    show(view, as_json=as_json)
