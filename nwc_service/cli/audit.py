"""nwc-service audit."""

import json
import socket
import time
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

import typer

from nwc_service import datadir, views
from nwc_service.cli.common import DataDir, Json, failing_in_one_line, inspect, settings
from nwc_service.views import View

LOOKED_AT = ("accounts", "entries", "payments", "invoices")
CONNECT_TIMEOUT_S = 2.0


def run_audit(data_dir: DataDir = None, as_json: Json = False) -> None:
    """Recompute every balance from the entries, and check what must always hold; exit 1 on
    any problem. Runs on a live database, and on a stopped one, where what is overdue is
    judged by the time when the service last ran."""
    now = int(time.time())
    with failing_in_one_line():
        chosen = settings(data_dir)
    audited = views.audit if _runs(chosen.data_dir) else views.audit_stopped
    view = inspect(
        data_dir,
        ["audit"],
        lambda database: audited(
            database, now=now, required_percent=chosen.solvency.required_percent
        ),
    )
    print(json.dumps(view) if as_json else _text(view))
    if not view["ok"]:
        raise typer.Exit(1)


def _runs(data_dir: Path) -> bool:
    """Whether a service listens where the last one did. It is not asked anything: the books
    are looked at also when it hangs."""
    try:
        url = urlsplit((data_dir / datadir.ADMIN_URL).read_text().strip())
        address = (url.hostname or "", url.port or 0)
        socket.create_connection(address, timeout=CONNECT_TIMEOUT_S).close()
    except (OSError, ValueError):
        return False
    return True


def _text(view: View) -> str:
    looked_at = ", ".join(f"{view[name]} {name}" for name in LOOKED_AT)
    problems = cast("list[str]", view["problems"])
    found = "there are problems" if problems else "nothing is wrong"
    return "\n".join((*problems, f"{looked_at}: {found}"))
