"""nwc-service bulk"""

import sys
from pathlib import Path
from typing import Annotated

import typer

from nwc_service.cli.common import DataDir, call_for_lines, failing_in_one_line

STDIN = Path("-")


def bulk(
    file: Annotated[
        Path,
        typer.Argument(help="A line of JSON for each account; - for standard input."),
    ],
    data_dir: DataDir = None,
) -> None:
    """Make many accounts and connections: a line of JSON in, and one out, for each account.

    In: {"name": "alice", "connections": [{"app": "Zeus", "budget_msat": 1000000}]}. Out: the
    account with the URIs of its connections, which are shown this once, or a problem.
    """
    with failing_in_one_line():
        content = sys.stdin.buffer.read() if file == STDIN else file.read_bytes()
    for line in call_for_lines(data_dir, ["bulk"], content):
        print(line)
