"""nwc-service payment …"""

import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
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
    pages,
    show_list,
)
from nwc_service.cli.trail import show_trail
from nwc_service.store.database import Tx
from nwc_service.views import MAX_PAGE, PaymentFilter, View
from nwc_service.wallet.payment import PaymentState

app = typer.Typer(help="Payments, incoming and outgoing.", no_args_is_help=True)

COLUMNS = ("payment_id", "account", "direction", "state", "amount_msat", "fee_msat")
FOR_PEOPLE = 1000
IN_DOUBT = (PaymentState.DISPATCHED, PaymentState.UNKNOWN)
STDIN = Path("-")
PREIMAGE_AT_MOST = 1000

PaymentName = Annotated[str, typer.Argument(metavar="ID", help="Or its payment hash.")]


@app.command("list")
def list_(
    account: Annotated[str | None, typer.Option("--account")] = None,
    connection: Annotated[
        str | None, typer.Option("--connection", metavar="ID", help="Of one connection.")
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option("--limit", min=1, help="The newest; 1000 for people, all with --json."),
    ] = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Payments and invoices, newest first."""
    wanted = PaymentFilter(account=account, connection_id=connection)
    if limit is None and not as_json:
        limit = FOR_PEOPLE
    at_once = min(limit or MAX_PAGE, MAX_PAGE)
    one_more = None if limit is None else limit + 1
    rows = list(islice(_payments(data_dir, wanted, at_once=at_once), one_more))
    show_list(rows[:limit], as_json=as_json, columns=COLUMNS)
    if len(rows) > len(rows[:limit]) and not as_json:
        print(f"There are more than {limit}: --limit shows more.", file=sys.stderr)


def _payments(data_dir: Path | None, wanted: PaymentFilter, *, at_once: int) -> Iterator[View]:
    named = {"account": wanted.account, "connection_id": wanted.connection_id}
    query = {key: value for key, value in named.items() if value is not None}
    now = int(time.time())

    async def page(tx: Tx, cursor: str | None, limit: int) -> View:
        return await views.payment_page(tx, wanted=wanted, cursor=cursor, limit=limit, now=now)

    return pages(data_dir, ["payments"], page, query=query, at_once=at_once)


@app.command("show")
def show_(payment: PaymentName, data_dir: DataDir = None, as_json: Json = False) -> None:
    """One payment and its whole history; of one that is open, what its backend says now."""
    now = int(time.time())
    path = ["payments", payment]
    view = look(data_dir, path, lambda tx: views.payment(tx, payment, now=now))
    if view["row_state"] in IN_DOUBT:
        view |= ask(data_dir, [*path, "outcome"]) or {"backend_says": None}
    show_trail(view, as_json=as_json)


@app.command()
def resolve(
    payment: PaymentName,
    reason: Annotated[
        str, typer.Option("--reason", help="How you know; kept in the books as the proof.")
    ],
    paid: Annotated[bool, typer.Option("--paid/--unpaid", help="What became of it.")],
    preimage_file: Annotated[
        Path | None,
        typer.Option(
            "--preimage-file",
            metavar="FILE",
            help="With --paid: where the preimage is, - for standard input."
            " On a terminal it is asked for.",
        ),
    ] = None,
    fee_msat: Annotated[
        int | None,
        typer.Option("--fee-msat", help="With --paid: the fee; by default the whole reserve."),
    ] = None,
    force: Annotated[
        bool,
        typer.Option("--force", help="With --unpaid: also while the node has it under way."),
    ] = False,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """State what became of a payment whose backend says nothing final.

    --paid charges the account, and needs the preimage as its proof.

    --unpaid gives the money back to the account. DANGER: if the node can still
    pay, YOU LOSE THE AMOUNT. Be sure that it never will: cancel the payment
    there, or see there that it failed. That the invoice has expired is not
    enough while the node has an attempt under way.
    """
    if not paid and (preimage_file is not None or fee_msat is not None):
        raise typer.BadParameter("--preimage-file and --fee-msat go with --paid")
    if paid and force:
        raise typer.BadParameter("--force goes with --unpaid")
    body = {"reason": reason, "paid": paid, "fee_msat": fee_msat, "force": force}
    if paid:
        body["preimage"] = _preimage(preimage_file)
    view = call(data_dir, "POST", ["payments", payment, "resolve"], body)
    show_trail(view, as_json=as_json)


def _preimage(file: Path | None) -> str:
    """Never an argument, which others on the machine can see."""
    if file in (None, STDIN) and sys.stdin.isatty():
        return str(typer.prompt("Preimage", hide_input=True, err=True))
    if file is None:
        raise typer.BadParameter("--paid needs --preimage-file, or a terminal to ask on")
    with failing_in_one_line():
        if file == STDIN:
            return sys.stdin.read(PREIMAGE_AT_MOST)
        with file.open(encoding="ascii", errors="replace") as opened:
            return opened.read(PREIMAGE_AT_MOST)
