"""nwc-service decision …"""

import typer

from nwc_service import views
from nwc_service.cli.common import DataDir, Json, look, show_list

app = typer.Typer(help="Decisions: what operators did, and why.", no_args_is_help=True)

COLUMNS = ("decided_at", "decided_by", "kind", "subject", "reason", "detail")


@app.command("list")
def list_(data_dir: DataDir = None, as_json: Json = False) -> None:
    """All decisions, newest first."""
    rows = look(data_dir, ["decisions"], views.decision_list)
    show_list(rows, as_json=as_json, columns=COLUMNS)
