"""Usage errors in one line, as every other failure."""

import sys
from typing import Any

import typer
from typer.core import TyperGroup

# Typer shows its own copy of click only through what it exports.
UsageError: Any = typer.BadParameter.__mro__[1]
USAGE = 2


class OneLineGroup(TyperGroup):
    """The top of the command line."""

    def main(self, *args: Any, **options: Any) -> Any:
        """Exit 2, with one line on standard error, for a command that cannot be understood."""
        try:
            code = super().main(*args, **options | {"standalone_mode": False})
        except UsageError as error:
            if "\n" in error.format_message():  # a group without a command: its help
                error.show()
            else:
                path = error.ctx.command_path if error.ctx else "nwc-service"
                message = error.format_message().rstrip(".")
                print(f"nwc-service: {message} (see {path} --help)", file=sys.stderr)
            code = USAGE
        except typer.Abort:
            code = 1
        sys.exit(code if isinstance(code, int) else 0)
