"""nwc-service connection link: what an app asks for with a link, granted or declined."""

import sys
from typing import Annotated

import typer

from nwc_service.cli.common import DataDir, Json, call, fail, show
from nwc_service.cli.limits import Destinations, EncryptionSchemes, ExpiresIn, InternalOnly
from nwc_service.views import View

NOTICE = "Name and icon are what the app says of itself; nobody has checked them."


def link(
    link: Annotated[str, typer.Argument(help="nostr+walletauth://… or nostrnwc://connect?…")],
    account: Annotated[
        str | None, typer.Option("--account", help="Name of the account that the app gets.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Grant it without asking.")] = False,
    optional_methods: Annotated[
        bool,
        typer.Option("--optional-methods", help="Grant what the app can do without, too."),
    ] = False,
    scopes: Annotated[
        str | None,
        typer.Option("--scopes", help="For a link that names no methods, as with create."),
    ] = None,
    budget_msat: Annotated[
        int | None,
        typer.Option("--budget-msat", help="For a link that names no budget."),
    ] = None,
    budget_renewal: Annotated[str | None, typer.Option("--budget-renewal")] = None,
    max_payment_msat: Annotated[
        int | None, typer.Option("--max-payment-msat", help="Most for one payment.")
    ] = None,
    expires_in_s: ExpiresIn = None,
    encryption: EncryptionSchemes = None,
    internal_only: InternalOnly = False,
    destinations: Destinations = None,
    lud16: Annotated[
        str | None, typer.Option("--lud16", help="The account's Lightning address.")
    ] = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Connect an app that asks for it with a link, all of what it requires or nothing."""
    asked = call(data_dir, "POST", ["links"], {"link": link})
    if not yes:
        account = _asked_for(asked, account)
    if account is None:
        fail("--account NAME is required: the account that the app gets")
    body = {
        "link": link,
        "account": account,
        "optional_methods": optional_methods,
        "scopes": scopes,
        "budget_msat": budget_msat,
        "budget_renewal": budget_renewal,
        "max_payment_msat": max_payment_msat,
        "expires_in_s": expires_in_s,
        "encryption": encryption,
        "internal_only": internal_only,
        "destinations": destinations or [],
        "lud16": lud16,
    }
    granted = call(data_dir, "POST", ["links", "accept"], body)
    show(granted, as_json=as_json)
    if not as_json and granted["opened"]:
        print("\nOpen this to bring the user back to the app; it may hold a secret:")
        print(granted["opened"])


def _asked_for(asked: View, account: str | None) -> str:
    """The account, once the operator has seen what is asked and has agreed. What is declined
    is published nowhere: the app waits until it gives up."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        fail("nobody is there to be asked: look at the link, then give --yes to grant it")
    show(asked, as_json=False)
    print(NOTICE)
    account = account or typer.prompt("Account that the app gets")
    if not typer.confirm(f"Grant this on account {account}?"):
        fail("declined: nothing was created and nothing is published")
    return account
