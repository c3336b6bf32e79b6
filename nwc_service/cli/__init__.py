"""The command line: `serve` runs the service, all else reads its books or asks it to act."""

import typer

from nwc_service.cli import (
    account,
    attention,
    audit,
    backend,
    connection,
    payment,
    sandbox,
    service,
)
from nwc_service.cli.one_line import OneLineGroup

app = typer.Typer(
    name="nwc-service",
    cls=OneLineGroup,
    help="A self-hosted Nostr Wallet Connect (NIP-47) wallet service.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("serve")(service.serve)
app.command("audit")(audit.run_audit)
app.command("alarms")(attention.alarms)
app.command("decisions")(attention.decisions)
app.add_typer(account.app, name="account")
app.add_typer(connection.app, name="connection")
app.add_typer(payment.app, name="payment")
app.add_typer(backend.app, name="backend")
app.add_typer(sandbox.app, name="sandbox")


def main() -> None:
    app()
