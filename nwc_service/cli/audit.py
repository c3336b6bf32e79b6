"""nwc-service audit."""

import json
import time
from typing import cast

import typer

from nwc_service import views
from nwc_service.cli.common import DataDir, Json, failing_in_one_line, inspect, settings
from nwc_service.views import View

LOOKED_AT = ("accounts", "entries", "payments", "invoices")


def run_audit(data_dir: DataDir = None, as_json: Json = False) -> None:
    """Recompute every balance from the entries, and check what must always hold; exit 1 on
    any problem. Runs on a live database."""
    now = int(time.time())
    with failing_in_one_line():
        required_percent = settings(data_dir).solvency.required_percent
    view = inspect(
        data_dir,
        ["audit"],
        lambda database: views.audit(database, now=now, required_percent=required_percent),
    )
    print(json.dumps(view) if as_json else _text(view))
    if not view["ok"]:
        raise typer.Exit(1)


def _text(view: View) -> str:
    looked_at = ", ".join(f"{view[name]} {name}" for name in LOOKED_AT)
    problems = cast("list[str]", view["problems"])
    found = "there are problems" if problems else "nothing is wrong"
    return "\n".join((*problems, f"{looked_at}: {found}"))
