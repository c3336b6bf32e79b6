"""nwc-service sandbox …: the outside node of the simulated Lightning network."""

import asyncio
import os
from typing import Annotated

import typer

from nwc_service import backend as port
from nwc_service.cli.common import (
    DataDir,
    Json,
    call,
    failing_in_one_line,
    settings,
    show,
)
from nwc_service.views import View
from nwc_service.wallet.units import BackendName

app = typer.Typer(
    help="The outside node of the simulated Lightning network.", no_args_is_help=True
)
TYPE = "sandbox"


def _command(name: str, data_dir: DataDir, **arguments: object) -> View:
    given = {key: value for key, value in arguments.items() if value is not None}
    view: View = call(data_dir, "POST", ["backends", TYPE, "commands", name], given)
    return view


@app.command()
def invoice(
    amount_msat: Annotated[int | None, typer.Argument()] = None,
    hold: Annotated[bool, typer.Option("--hold", help="Hold the payment until told.")] = False,
    fail: Annotated[bool, typer.Option("--fail", help="Refuse the payment.")] = False,
    expiry_s: Annotated[int | None, typer.Option("--expiry-s")] = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """The outside node asks for money."""
    view = _command(
        "invoice", data_dir, amount_msat=amount_msat, hold=hold, fail=fail, expiry_s=expiry_s
    )
    show(view, as_json=as_json)


@app.command()
def settle(payment_hash: str, data_dir: DataDir = None, as_json: Json = False) -> None:
    """The outside node takes a payment that it holds, also a keysend."""
    show(_command("settle", data_dir, payment_hash=payment_hash), as_json=as_json)


@app.command()
def cancel(payment_hash: str, data_dir: DataDir = None, as_json: Json = False) -> None:
    """The outside node gives back a payment that it holds."""
    show(_command("cancel", data_dir, payment_hash=payment_hash), as_json=as_json)


@app.command()
def pay(
    invoice: str,
    amount_msat: Annotated[int | None, typer.Argument()] = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """The outside node pays; a hold invoice is then accepted, and waits for the app."""
    view = _command("pay", data_dir, invoice=invoice, amount_msat=amount_msat)
    show(view, as_json=as_json)


@app.command()
def offer(
    amount_msat: Annotated[int | None, typer.Argument()] = None,
    description: Annotated[str | None, typer.Option("--description")] = None,
    hold: Annotated[bool, typer.Option("--hold", help="Hold payments until told.")] = False,
    fail: Annotated[bool, typer.Option("--fail", help="Refuse payments.")] = False,
    expiry_s: Annotated[int | None, typer.Option("--expiry-s")] = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """The outside node makes a BOLT12 offer, to be paid again and again."""
    view = _command(
        "offer",
        data_dir,
        amount_msat=amount_msat,
        description=description,
        hold=hold,
        fail=fail,
        expiry_s=expiry_s,
    )
    show(view, as_json=as_json)


@app.command("pay-offer")
def pay_offer(
    offer: str,
    amount_msat: Annotated[int | None, typer.Argument()] = None,
    payer_note: Annotated[str | None, typer.Option("--payer-note")] = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """The outside node pays an offer that the app made."""
    view = _command(
        "pay-offer", data_dir, offer=offer, amount_msat=amount_msat, payer_note=payer_note
    )
    show(view, as_json=as_json)


@app.command()
def keysend(
    amount_msat: int,
    tlv: Annotated[
        list[str] | None, typer.Option("--tlv", help="A record, as TYPE=HEX. Repeatable.")
    ] = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """The outside node sends money that nobody asked for."""
    records = [_tlv_record(text) for text in tlv or ()]
    view = _command("keysend", data_dir, amount_msat=amount_msat, tlv_records=records)
    show(view, as_json=as_json)


def _tlv_record(text: str) -> View:
    type_, equals, value = text.partition("=")
    if not (equals and type_.isascii() and type_.isdecimal()):
        raise typer.BadParameter("a record is written as TYPE=HEX", param_hint="--tlv")
    return {"type": int(type_), "value": value.lower()}


@app.command()
def keysends(answer: str, data_dir: DataDir = None, as_json: Json = False) -> None:
    """What the outside node does with keysends that reach it: settle, hold or fail."""
    show(_command("keysends", data_dir, answer=answer), as_json=as_json)


@app.command()
def mine(
    blocks: Annotated[int, typer.Argument()] = 1,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Blocks are found at once, besides one every ten minutes."""
    show(_command("mine", data_dir, blocks=blocks), as_json=as_json)


@app.command()
def mode(name: str, data_dir: DataDir = None, as_json: Json = False) -> None:
    """How the simulated node behaves: normal, unreachable, lose-reply or slow."""
    show(_command("mode", data_dir, mode=name), as_json=as_json)


@app.command("show")
def show_(data_dir: DataDir = None, as_json: Json = False) -> None:
    """The outside node's own books."""
    if os.environ.get("NWC_ADMIN_URL"):
        view = _command("show", data_dir)
    else:
        with failing_in_one_line():
            view = asyncio.run(_read_books(data_dir))
    show(view, as_json=as_json)


async def _read_books(data_dir: DataDir) -> View:
    chosen = settings(data_dir)
    options = next((each.options for each in chosen.backends.values() if each.type == TYPE), {})
    backend = port.load(TYPE)(BackendName(TYPE), options, data_dir=chosen.data_dir)
    return dict(await backend.command("show", {}))
