"""nwc-service token …"""

import sys
from typing import Annotated

import typer

from nwc_service import views
from nwc_service.cli.common import DataDir, Json, call, look, show, show_list

app = typer.Typer(
    help="Tokens of the admin API, for others than the owner.", no_args_is_help=True
)

COLUMNS = ("name", "role", "created_at", "last_used_at", "revoked_at")


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="Whose it is; decisions are recorded under it.")],
    role: Annotated[
        str,
        typer.Option(
            "--role",
            help="owner, operator (all but tokens), read-only, or provisioning (makes accounts,"
            " and connections of these).",
        ),
    ],
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Make a token. Its secret is shown now and never again."""
    made = call(data_dir, "POST", ["tokens"], {"name": name, "role": role})
    show(made, as_json=as_json)
    if not as_json:
        print("Keep it now: it is not shown again.", file=sys.stderr)


@app.command("list")
def list_(data_dir: DataDir = None, as_json: Json = False) -> None:
    """All tokens that ever were, oldest first; never their secrets."""
    show_list(look(data_dir, ["tokens"], views.token_list), as_json=as_json, columns=COLUMNS)


@app.command()
def revoke(
    name: str,
    reason: Annotated[str, typer.Option("--reason", help="Why; kept in the books.")] = "",
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """End a token, at once."""
    show(
        call(data_dir, "POST", ["tokens", name, "revoke"], {"reason": reason}), as_json=as_json
    )
