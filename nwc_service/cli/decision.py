"""nwc-service decision …"""

import typer

from nwc_service import views
from nwc_service.cli.common import DataDir, Json, pages, show_list
from nwc_service.store.database import Tx
from nwc_service.views import View

app = typer.Typer(help="Decisions: what operators did, and why.", no_args_is_help=True)

COLUMNS = ("decided_at", "decided_by", "kind", "subject", "reason", "detail")


@app.command("list")
def list_(data_dir: DataDir = None, as_json: Json = False) -> None:
    """All decisions, newest first."""

    async def page(tx: Tx, cursor: str | None, limit: int) -> View:
        return await views.decision_page(tx, cursor=cursor, limit=limit)

    rows = list(pages(data_dir, ["decisions"], page))
    show_list(rows, as_json=as_json, columns=COLUMNS)
