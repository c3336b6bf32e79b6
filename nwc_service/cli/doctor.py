"""nwc-service doctor."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import typer

from nwc_service.backend import Finding
from nwc_service.cli.backend import findings_of, made, show_findings
from nwc_service.cli.common import DataDir, Failure, Json, config_file
from nwc_service.config import ConfigError, Settings, load_settings


def doctor(
    config: Annotated[
        Path | None,
        typer.Option("--config", envvar="NWC_CONFIG", help="The TOML file of `serve`."),
    ] = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Find what is wrong with relays, clocks, backends, disk, files, database, ports and
    settings, and say how to mend it; exit 1 if anything is. Changes nothing, and works with
    the service running or stopped."""
    try:
        file = config or config_file(data_dir)
        chosen = load_settings(file=file, data_dir=data_dir)
        found = asyncio.run(_examine(chosen, config=file))
    except ConfigError as error:
        found = [Finding("settings", str(error), "docs/sample-config.toml has every key")]
    if as_json:
        print(json.dumps([asdict(finding) for finding in found]))
    else:
        show_findings(found)
    if any(finding.remedy is not None for finding in found):
        raise typer.Exit(1)


async def _examine(chosen: Settings, *, config: Path | None) -> Sequence[Finding]:
    from nwc_service.doctor import examine  # only this command needs it, and it loads slowly

    around = await examine(chosen, config=config)
    backends = await asyncio.gather(*(_of_backend(name, chosen) for name in chosen.backends))
    return [*around, *(finding for each in backends for finding in each)]


async def _of_backend(name: str, chosen: Settings) -> Sequence[Finding]:
    """What `backend check` tells of it."""
    subject = f"backends.{name}"
    try:
        found = await findings_of(made(name, chosen))
    except Failure as wrong:
        return [Finding(subject, str(wrong), "docs/sample-config.toml has its keys")]
    return [replace(each, subject=f"{subject} {each.subject}") for each in found]
