"""nwc-service backend …"""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from nwc_service import backend as port
from nwc_service import views
from nwc_service.backend import BakeCommand, Finding, LightningBackend
from nwc_service.cli.common import (
    DataDir,
    Failure,
    Json,
    ask,
    call,
    failing_in_one_line,
    look,
    printable,
    settings,
    show,
    show_list,
)
from nwc_service.config import Settings, load_settings
from nwc_service.views import BackendTypes, View
from nwc_service.wallet.units import BackendName

app = typer.Typer(help="Backends: the nodes that hold the money.", no_args_is_help=True)

CHECK_TIMEOUT_S = 120.0
COLUMNS = ("name", "type", "answering", "paused", "spendable_msat", "read_at")


@app.command("list")
def list_(data_dir: DataDir = None, as_json: Json = False) -> None:
    """All configured backends."""
    rows: list[View] | None = ask(data_dir, ["backends"])
    if rows is None:
        types = _configured(data_dir)
        rows = look(data_dir, ["backends"], lambda tx: views.backend_list(tx, types=types))
    show_list(rows, as_json=as_json, columns=COLUMNS)


@app.command("show")
def show_(name: str, data_dir: DataDir = None, as_json: Json = False) -> None:
    """One backend, and why it is paused."""
    path = ["backends", name]
    view: View | None = ask(data_dir, path)
    if view is None:
        types = _configured(data_dir)
        view = look(data_dir, path, lambda tx: views.backend(tx, name, types=types))
    show(view, as_json=as_json)


@app.command()
def check(
    name: str,
    config: Annotated[
        Path | None,
        typer.Option("--config", envvar="NWC_CONFIG", help="The TOML file of `serve`."),
    ] = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Whether its settings are right, also before the first start; else exit 1.

    One line for each fact, and how to mend what is wrong. Asks the node itself, with the
    settings as `serve` would read them now, whether or not the service runs.
    """
    with failing_in_one_line():
        chosen = load_settings(file=config, data_dir=data_dir) if config else settings(data_dir)
        found = asyncio.run(findings_of(made(name, chosen)))
    if as_json:
        print(json.dumps([asdict(finding) for finding in found]))
    else:
        show_findings(found)
    if any(finding.remedy is not None for finding in found):
        raise typer.Exit(1)


@app.command()
def bake(
    type_name: Annotated[str, typer.Argument(metavar="TYPE")],
    save_to: Annotated[
        str | None, typer.Option("--save-to", help="The file, on the node's machine.")
    ] = None,
    root_key_id: Annotated[
        int | None,
        typer.Option("--root-key-id", min=0, help="Of its own: can be revoked alone."),
    ] = None,
    as_json: Json = False,
) -> None:
    """The command that makes a credential for the service, with no more rights than needed.

    To be run on the node's machine.
    """
    with failing_in_one_line():
        bake_command = _bake_command(type_name)
        command = bake_command(save_to=save_to, root_key_id=root_key_id)
    print(json.dumps({"command": command}) if as_json else command)


@app.command()
def resume(
    name: str,
    reason: Annotated[str, typer.Option("--reason", help="Why; kept in the books.")],
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Use a paused backend again.

    First compare its own list of payments with `payment list`: of what it has
    forgotten, its "unknown" and its "failed" prove nothing, and are believed
    again from now on. What it counts now, it may never fall below.
    """
    view = call(data_dir, "POST", ["backends", name, "resume"], {"reason": reason})
    show(view, as_json=as_json)


def _configured(data_dir: DataDir) -> BackendTypes:
    with failing_in_one_line():
        backends = settings(data_dir).backends
    return {BackendName(name): configured.type for name, configured in backends.items()}


def made(name: str, chosen: Settings) -> LightningBackend:
    """Raises Failure."""
    configured = chosen.backends.get(name)
    if configured is None:
        names = ", ".join(sorted(chosen.backends))
        raise Failure(f"no backend is named {name!r}; configured: {names}")
    try:
        backend_class = port.load(configured.type)
        return backend_class(BackendName(name), configured.options, data_dir=chosen.data_dir)
    except ValueError as wrong:
        raise Failure(f"backends.{name}: {wrong}") from None


async def findings_of(backend: LightningBackend) -> Sequence[Finding]:
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_S):
            return await backend.check()
    except TimeoutError:
        says = f"no end after {CHECK_TIMEOUT_S:.0f} s"
        return [Finding("connection", says, port.findings.SEE_ITS_LOG)]
    finally:
        await backend.close()


def show_findings(found: Sequence[Finding]) -> None:
    width = max((len(finding.subject) for finding in found), default=0)
    for finding in found:
        word = "ok   " if finding.remedy is None else "wrong"
        remedy = "" if finding.remedy is None else f"; to mend it: {finding.remedy}"
        print(printable(f"{word}  {finding.subject:<{width}}  {finding.says}{remedy}"))


def _bake_command(type_name: str) -> BakeCommand:
    """Raises Failure."""
    try:
        backend_class = port.load(type_name)
    except ValueError as wrong:
        raise Failure(str(wrong)) from None
    command: BakeCommand | None = getattr(backend_class, "bake_command", None)
    if command is None:
        raise Failure(f"a backend of type {type_name!r} has no credential that is baked")
    return command
