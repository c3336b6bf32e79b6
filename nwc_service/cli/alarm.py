"""nwc-service alarm …"""

from typing import Annotated

import typer

from nwc_service import views
from nwc_service.cli.common import DataDir, Json, call, look, show, show_list

app = typer.Typer(help="Alarms: what an operator must look at.", no_args_is_help=True)

COLUMNS = ("raised_at", "kind", "subject", "detail")


@app.command("list")
def list_(data_dir: DataDir = None, as_json: Json = False) -> None:
    """All alarms, oldest first."""
    rows = look(data_dir, ["alarms"], views.alarm_list)
    show_list(rows, as_json=as_json, columns=COLUMNS)


@app.command()
def clear(
    kind: str,
    subject: str,
    reason: Annotated[str, typer.Option("--reason", help="Why; kept in the books.")],
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Acknowledge an alarm about something that happened.

    What still is so ends its alarm when it ends itself, and is refused here.
    """
    body = {"kind": kind, "subject": subject, "reason": reason}
    show(call(data_dir, "POST", ["alarms", "clear"], body), as_json=as_json)
