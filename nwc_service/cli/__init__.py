"""The command line: `serve` runs the service, all else reads its books or asks it to act."""

import typer

from nwc_service.cli import (
    account,
    address,
    alarm,
    audit,
    backend,
    backup,
    bulk,
    connection,
    decision,
    doctor,
    page,
    payment,
    sandbox,
    service,
    suspense,
    token,
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
app.command("doctor")(doctor.doctor)
app.command("page")(page.page)
app.command("bulk")(bulk.bulk)
app.command("backup")(backup.backup)
app.command("restore")(backup.restore)
app.add_typer(backup.key, name="key")
app.add_typer(account.app, name="account")
app.add_typer(address.app, name="address")
app.add_typer(connection.app, name="connection")
app.add_typer(payment.app, name="payment")
app.add_typer(suspense.app, name="suspense")
app.add_typer(backend.app, name="backend")
app.add_typer(alarm.app, name="alarm")
app.add_typer(decision.app, name="decision")
app.add_typer(token.app, name="token")
app.add_typer(sandbox.app, name="sandbox")


def main() -> None:
    app()
