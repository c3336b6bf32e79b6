"""nwc-service serve."""

from pathlib import Path
from typing import Annotated

import typer

from nwc_service.cli.common import DataDir, Json, fail, failing_in_one_line
from nwc_service.config import load_settings


def serve(
    config: Annotated[
        Path | None, typer.Option("--config", envvar="NWC_CONFIG", help="A TOML file.")
    ] = None,
    welcome: Annotated[
        bool, typer.Option("--welcome", help="Make a first account and connection.")
    ] = False,
    restored: Annotated[
        str | None,
        typer.Option(
            "--restored",
            metavar="REASON",
            help="After a restore from a backup: execute no older request, and send nothing"
            " until `backend resume`.",
        ),
    ] = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Run the service until Ctrl-C; --json tells where it is once it is ready."""
    # Only this command needs the whole service, which takes long to load.
    from nwc_service.serving import serve as serve_until_stopped

    if restored is not None and not restored.strip():
        fail("--restored: a reason is required")
    with failing_in_one_line():
        settings = load_settings(file=config, data_dir=data_dir)
    problem = serve_until_stopped(
        settings, config=config, restored=restored, welcome=welcome, as_json=as_json
    )
    if problem is not None:
        fail(problem)
