"""nwc-service backend …"""

from typing import Annotated

import typer

from nwc_service import views
from nwc_service.cli.common import (
    DataDir,
    Json,
    ask,
    call,
    failing_in_one_line,
    look,
    settings,
    show,
    show_list,
)
from nwc_service.views import BackendTypes, View
from nwc_service.wallet.units import BackendName

app = typer.Typer(help="Backends: the nodes that hold the money.", no_args_is_help=True)

COLUMNS = ("name", "type", "answering", "paused", "spendable_msat", "read_at")


@app.command("list")
def list_(data_dir: DataDir = None, as_json: Json = False) -> None:
    """All configured backends."""
    rows: list[View] | None = ask(data_dir, ["backends"])
    if rows is None:
        types = _configured(data_dir)
        rows = look(data_dir, ["backends"], lambda tx: views.backend_list(tx, types=types))
    show_list(rows, as_json=as_json, columns=COLUMNS)


@app.command("show")
def show_(name: str, data_dir: DataDir = None, as_json: Json = False) -> None:
    """One backend, and why it is paused."""
    path = ["backends", name]
    view: View | None = ask(data_dir, path)
    if view is None:
        types = _configured(data_dir)
        view = look(data_dir, path, lambda tx: views.backend(tx, name, types=types))
    show(view, as_json=as_json)


@app.command()
def resume(
    name: str,
    reason: Annotated[str, typer.Option("--reason", help="Why; kept in the books.")],
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Use a paused backend again.

    First compare its own list of payments with `payment list`: of what it has
    forgotten, its "unknown" and its "failed" prove nothing, and are believed
    again from now on. What it counts now, it may never fall below.
    """
    view = call(data_dir, "POST", ["backends", name, "resume"], {"reason": reason})
    show(view, as_json=as_json)


def _configured(data_dir: DataDir) -> BackendTypes:
    with failing_in_one_line():
        backends = settings(data_dir).backends
    return {BackendName(name): configured.type for name, configured in backends.items()}
