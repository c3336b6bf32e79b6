"""nwc-service address …"""

from typing import Annotated

import typer

from nwc_service import views
from nwc_service.cli.common import DataDir, Json, call, pages, show, show_list
from nwc_service.store.database import Tx
from nwc_service.views import View

app = typer.Typer(
    help="Lightning addresses: name@domain, by which anybody can pay an account.",
    no_args_is_help=True,
)

COLUMNS = ("name", "account", "nostr_pubkey", "created_at")


@app.command()
def add(
    name: str,
    account: Annotated[str, typer.Option("--account", help="Name of the account it pays.")],
    nostr_pubkey: Annotated[
        str | None,
        typer.Option("--nostr-pubkey", help="Whose name it is on Nostr (NIP-05); hex or npub."),
    ] = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Give an account an address at the domain of the settings."""
    body = {"name": name, "account": account, "nostr_pubkey": nostr_pubkey}
    show(call(data_dir, "POST", ["addresses"], body), as_json=as_json)


@app.command("list")
def list_(
    account: Annotated[
        str | None, typer.Option("--account", help="Of this account only.")
    ] = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """All addresses."""

    async def page(tx: Tx, cursor: str | None, limit: int) -> View:
        return await views.address_page(tx, account_name=account, cursor=cursor, limit=limit)

    query = {"account": account} if account else None
    rows = list(pages(data_dir, ["addresses"], page, query=query))
    show_list(rows, as_json=as_json, columns=COLUMNS)


@app.command()
def remove(
    name: str,
    reason: Annotated[str, typer.Option("--reason", help="Why; kept in the books.")] = "",
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Take an address away; what its payers were given already is credited all the same."""
    body = {"reason": reason}
    show(call(data_dir, "POST", ["addresses", name, "remove"], body), as_json=as_json)
