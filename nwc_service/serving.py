"""Runs the service in the foreground until a signal, and welcomes a newcomer."""

import asyncio
import json
import os
import shlex
import signal
import sys
from pathlib import Path

import segno

from nwc_service import datadir, log, tracing
from nwc_service.app import Service, StartError, running
from nwc_service.config import Settings, default_data_dir
from nwc_service.wishes import Wish

FIRST_ACCOUNT = "main"
FIRST_APP = "first-app"


def serve(
    settings: Settings,
    *,
    config: Path | None,
    restored: str | None,
    welcome: bool,
    as_json: bool,
) -> str | None:
    """Serve until SIGINT or SIGTERM. The one line that says why it could not, else None."""
    log.configure(settings.log.level)
    try:
        with tracing.exporting():
            asyncio.run(
                _serve(
                    settings,
                    config=config,
                    restored=restored,
                    welcome=welcome,
                    as_json=as_json,
                )
            )
    except StartError as error:
        return str(error)
    return None


async def _serve(
    settings: Settings,
    *,
    config: Path | None,
    restored: str | None,
    welcome: bool,
    as_json: bool,
) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with running(settings, restored=restored) as service:
        datadir.leave_served(
            settings.data_dir, config=config, database=settings.database_path.resolve()
        )
        uri = await _first_uri(service) if welcome else None
        if as_json:
            _print_json(service, settings)
        elif welcome:
            account = await service.accounts.first_name() or FIRST_ACCOUNT
            _welcome(service, settings, uri=uri, account=account)
        await stop.wait()


async def _first_uri(service: Service) -> str | None:
    """A first account and connection if there is none; the URI of a new one."""
    if list(service.directory):
        return None
    await service.accounts.ensure(FIRST_ACCOUNT)
    created = await service.connections.create(Wish(account=FIRST_ACCOUNT, app=FIRST_APP))
    return created.uri


def _welcome(service: Service, settings: Settings, *, uri: str | None, account: str) -> None:
    """What a newcomer needs: a connection, and where things are."""
    if uri is not None and sys.stdout.isatty():
        # Nowhere but on a terminal: it holds the secret, and a log would keep it.
        sys.stdout.write(f"\nConnection URI, shown this once; paste or scan it:\n\n{uri}\n\n")
        segno.make(uri, error="l").terminal(compact=True)
    command = f"{sys.argv[0]} connection create --account {account} --app my-app"
    if settings.data_dir != default_data_dir(os.environ):
        command += f" --data-dir {shlex.quote(str(settings.data_dir))}"
    sys.stdout.write(
        f"\nadmin API   {service.admin_url}\n"
        f"data        {settings.data_dir}\n"
        f"new URI     {command}\n"
    )
    sys.stdout.flush()


def _print_json(service: Service, settings: Settings) -> None:
    """Where things are, once they are there; never a URI."""
    view: dict[str, object] = {
        "admin_url": service.admin_url,
        "relays": list(service.relays.advertised_urls),
        "data_dir": str(settings.data_dir),
    }
    if service.public_url is not None:
        view["public_url"] = service.public_url
    sys.stdout.write(json.dumps(view) + "\n")
    sys.stdout.flush()
