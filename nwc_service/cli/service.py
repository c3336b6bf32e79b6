"""nwc-service serve and nwc-service audit."""

import asyncio
import signal
import sys
from pathlib import Path
from typing import Annotated

import typer

from nwc_service import log, views
from nwc_service.app import Service, StartError, running
from nwc_service.cli.common import (
    DataDir,
    Json,
    call,
    fail,
    failing_in_one_line,
    is_remote,
    read,
    show,
)
from nwc_service.cli.connection import print_qr
from nwc_service.config import Settings, load_settings
from nwc_service.connections import Wish
from nwc_service.store.audit import audit
from nwc_service.views import View

FIRST_ACCOUNT = "main"
FIRST_APP = "first-app"


def serve(
    config: Annotated[
        Path | None, typer.Option("--config", envvar="NWC_CONFIG", help="A TOML file.")
    ] = None,
    welcome: Annotated[
        bool, typer.Option("--welcome", help="Make a first account and connection.")
    ] = False,
    data_dir: DataDir = None,
) -> None:
    """Run the service until Ctrl-C."""
    with failing_in_one_line():
        settings = load_settings(file=config, data_dir=data_dir)
    log.configure(settings.log.level)
    try:
        asyncio.run(_serve(settings, welcome=welcome))
    except StartError as error:
        fail(str(error))


async def _serve(settings: Settings, *, welcome: bool) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with running(settings) as service:
        if welcome:
            await _welcome(service, settings)
        await stop.wait()


async def _welcome(service: Service, settings: Settings) -> None:
    """What a newcomer needs: an account, a connection, and where things are."""
    on_terminal = sys.stdout.isatty()
    if not list(service.directory):
        await service.accounts.ensure(FIRST_ACCOUNT)
        created = await service.connections.create(Wish(account=FIRST_ACCOUNT, app=FIRST_APP))
        if on_terminal and created.uri:
            # Nowhere but on a terminal: it holds the secret, and a log would keep it.
            print("\nConnection URI, shown this once; paste or scan it in your app:\n")
            print(created.uri + "\n")
            print_qr(created.uri)
    command = f"{sys.argv[0]} connection create --account {FIRST_ACCOUNT} --app my-app"
    print(f"\nadmin API   {service.admin_url}")
    print(f"data        {settings.data_dir}")
    print(f"new URI     {command}", flush=True)


def run_audit(data_dir: DataDir = None, as_json: Json = False) -> None:
    """Recompute every balance from the entries; exit 1 on any problem."""
    if is_remote():
        view: View = call(data_dir, "GET", ["audit"])
    else:
        view = views.audit_view(read(data_dir, lambda database: database.read(audit)))
    show(view, as_json=as_json)
    if not view["ok"]:
        raise typer.Exit(1)
