"""nwc-service connection …"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from nwc_service import views
from nwc_service.cli import link
from nwc_service.cli.common import DataDir, Json, call, look, pages, show, show_list
from nwc_service.cli.limits import Destinations, EncryptionSchemes, ExpiresIn, InternalOnly
from nwc_service.nip47.connection import Connection
from nwc_service.store import meta
from nwc_service.store.database import Tx
from nwc_service.views import View

app = typer.Typer(help="Connections: one app's key on an account.", no_args_is_help=True)

app.command("link")(link.link)

COLUMNS = ("connection_id", "account", "app", "budget", "expires_at", "revoked")


def json_object(text: str) -> dict[str, object]:
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise typer.BadParameter("this is not a JSON object")
    return found


@app.command()
def create(
    account: Annotated[str, typer.Option("--account", help="Name of the account.")],
    app_name: Annotated[str, typer.Option("--app", help="What the connected app is called.")],
    scopes: Annotated[
        str, typer.Option("--scopes", help="full, receive, read, or METHOD,METHOD…")
    ] = "full",
    notifications: Annotated[
        str | None, typer.Option("--notifications", help="TYPE,TYPE…; default all.")
    ] = None,
    budget_msat: Annotated[
        int | None, typer.Option("--budget-msat", help="Most to spend in a period, with fees.")
    ] = None,
    budget_renewal: Annotated[
        str | None,
        typer.Option("--budget-renewal", help="daily, weekly, monthly, yearly or never."),
    ] = None,
    max_payment_msat: Annotated[
        int | None, typer.Option("--max-payment-msat", help="Most for one payment.")
    ] = None,
    expires_in_s: ExpiresIn = None,
    encryption: EncryptionSchemes = None,
    client_pubkey: Annotated[
        str | None, typer.Option("--client-pubkey", help="A key that the client made (hex).")
    ] = None,
    relays: Annotated[
        list[str] | None, typer.Option("--relay", help="Relay URL; may be repeated.")
    ] = None,
    internal_only: InternalOnly = False,
    destinations: Destinations = None,
    lud16: Annotated[
        str | None, typer.Option("--lud16", help="The account's Lightning address.")
    ] = None,
    metadata: Annotated[
        dict[str, object] | None,
        typer.Option(
            "--metadata", parser=json_object, metavar="JSON", help="An object for the app."
        ),
    ] = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Create a connection and print its URI, which is shown this once."""
    body = {
        "account": account,
        "app": app_name,
        "scopes": scopes,
        "notifications": notifications,
        "budget_msat": budget_msat,
        "budget_renewal": budget_renewal,
        "max_payment_msat": max_payment_msat,
        "expires_in_s": expires_in_s,
        "encryption": encryption,
        "client_pubkey": client_pubkey,
        "relays": relays or [],
        "internal_only": internal_only,
        "destinations": destinations or [],
        "lud16": lud16,
        "metadata": metadata,
    }
    _show_made(call(data_dir, "POST", ["connections"], body), as_json=as_json)


def _show_made(view: View, *, as_json: bool) -> None:
    show(view, as_json=as_json)
    if not as_json and view["uri"] and sys.stdout.isatty():
        _print_qr(str(view["uri"]))


def _print_qr(uri: str) -> None:
    import segno  # only here: a list needs no QR code

    segno.make(uri, error="l").terminal(compact=True)


@app.command("list")
def list_(
    account: Annotated[str | None, typer.Option("--account")] = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """All connections, or those of one account."""

    async def page(tx: Tx, cursor: str | None, limit: int) -> View:
        return await views.connection_page(
            tx,
            account_name=account,
            cursor=cursor,
            limit=limit,
            relays_of=await _relays_of(tx),
            now=int(time.time()),
        )

    query = {"account": account} if account else None
    rows = list(pages(data_dir, ["connections"], page, query=query))
    show_list(rows, as_json=as_json, columns=COLUMNS)


@app.command("show")
def show_(connection_id: str, data_dir: DataDir = None, as_json: Json = False) -> None:
    """One connection."""

    async def work(tx: Tx) -> View:
        return await views.connection(
            tx, connection_id, relays_of=await _relays_of(tx), now=int(time.time())
        )

    show(look(data_dir, ["connections", connection_id], work), as_json=as_json)


Reason = Annotated[str, typer.Option("--reason", help="Why; kept in the books.")]


@app.command()
def revoke(
    connection_id: str, reason: Reason = "", data_dir: DataDir = None, as_json: Json = False
) -> None:
    """Take back all that a connection may do, for good."""
    _tell(data_dir, [connection_id, "revoke"], reason=reason, as_json=as_json)


@app.command()
def pause(
    connection_id: str, reason: Reason = "", data_dir: DataDir = None, as_json: Json = False
) -> None:
    """Do nothing for a connection, nor for what it has made, until it is resumed."""
    _tell(data_dir, [connection_id, "pause"], reason=reason, as_json=as_json)


@app.command()
def resume(
    connection_id: str, reason: Reason = "", data_dir: DataDir = None, as_json: Json = False
) -> None:
    """End a pause."""
    _tell(data_dir, [connection_id, "resume"], reason=reason, as_json=as_json)


def _tell(data_dir: Path | None, path: list[str], *, reason: str, as_json: bool) -> None:
    view = call(data_dir, "POST", ["connections", *path], {"reason": reason})
    show(view, as_json=as_json)


@app.command()
def rotate(
    connection_id: str,
    client_pubkey: Annotated[
        str | None, typer.Option("--client-pubkey", help="A new key that the client made.")
    ] = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Give a connection a new key; its new URI is shown this once, the old one is void."""
    body = {"client_pubkey": client_pubkey}
    _show_made(
        call(data_dir, "POST", ["connections", connection_id, "rotate"], body), as_json=as_json
    )


@app.command()
def change(
    connection_id: str,
    changes: Annotated[
        dict[str, object],
        typer.Argument(
            parser=json_object,
            metavar="JSON",
            help='What shall be otherwise: {"budget_msat": 50000}; null ends a limit.',
        ),
    ],
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Change what a connection may do."""
    show(call(data_dir, "PATCH", ["connections", connection_id], changes), as_json=as_json)


async def _relays_of(tx: Tx) -> Callable[[Connection], tuple[str, ...]]:
    advertised = await meta.get_list(tx, meta.ADVERTISED)
    return lambda connection: connection.relays or advertised
