"""Runs the service in the foreground until a signal, and welcomes a newcomer."""

import asyncio
import signal
import sys

import segno

from nwc_service import log
from nwc_service.app import Service, StartError, running
from nwc_service.config import Settings
from nwc_service.connections import Wish

FIRST_ACCOUNT = "main"
FIRST_APP = "first-app"


def serve(settings: Settings, *, welcome: bool) -> str | None:
    """Serve until SIGINT or SIGTERM. The one line that says why it could not, else None."""
    log.configure(settings.log.level)
    try:
        asyncio.run(_serve(settings, welcome=welcome))
    except StartError as error:
        return str(error)
    return None


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
    if not list(service.directory):
        await service.accounts.ensure(FIRST_ACCOUNT)
        created = await service.connections.create(Wish(account=FIRST_ACCOUNT, app=FIRST_APP))
        if sys.stdout.isatty() and created.uri:
            # Nowhere but on a terminal: it holds the secret, and a log would keep it.
            sys.stdout.write(
                f"\nConnection URI, shown this once; paste or scan it:\n\n{created.uri}\n\n"
            )
            segno.make(created.uri, error="l").terminal(compact=True)
    command = f"{sys.argv[0]} connection create --account {FIRST_ACCOUNT} --app my-app"
    sys.stdout.write(
        f"\nadmin API   {service.admin_url}\n"
        f"data        {settings.data_dir}\n"
        f"new URI     {command}\n"
    )
    sys.stdout.flush()
