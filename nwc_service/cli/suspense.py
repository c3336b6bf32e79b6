"""nwc-service suspense …"""

from typing import Annotated

import typer

from nwc_service import views
from nwc_service.cli.common import DataDir, Json, call, look, show, show_list

app = typer.Typer(
    help="Suspense: money that arrived and is nobody's yet.", no_args_is_help=True
)

COLUMNS = ("received_at", "payment_hash", "amount_msat", "backend", "account")


@app.command("list")
def list_(data_dir: DataDir = None, as_json: Json = False) -> None:
    """What waits, oldest first; with the account whose invoice was paid, if there is one."""
    rows = look(data_dir, ["suspense"], views.suspense_list)
    show_list(rows, as_json=as_json, columns=COLUMNS)


@app.command()
def assign(
    payment_hash: str,
    reason: Annotated[str, typer.Option("--reason", help="Why; kept in the books.")],
    account: Annotated[str | None, typer.Option("--account", help="Whose money it is.")] = None,
    operator: Annotated[
        bool, typer.Option("--operator", help="It is the operator's own.")
    ] = False,
    backend: Annotated[
        str | None, typer.Option("--backend", help="Where it arrived, if at several.")
    ] = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Say whose money it is, once and for all."""
    if operator is (account is not None):
        raise typer.BadParameter("one of --account and --operator is needed")
    body = {"account": account, "operator": operator, "backend": backend, "reason": reason}
    path = ["suspense", payment_hash, "assign"]
    show(call(data_dir, "POST", path, body), as_json=as_json)
