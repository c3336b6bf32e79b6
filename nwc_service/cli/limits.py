"""Options that limit a connection, however it comes to be: created, or asked for by a link."""

import re
from typing import Annotated

import typer

UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def duration_s(text: str) -> int:
    """N with s, m, h or d."""
    match = re.fullmatch(r"([0-9]{1,9})([smhd])", text)
    if match is None or int(match[1]) == 0:
        raise typer.BadParameter(f"{text!r} is not a duration such as 90s, 15m, 12h or 30d")
    return int(match[1]) * UNITS_S[match[2]]


ExpiresIn = Annotated[
    int | None,
    typer.Option("--expires-in", parser=duration_s, metavar="DURATION", help="Such as 30d."),
]
EncryptionSchemes = Annotated[
    str | None, typer.Option("--encryption", help="nip44_v2,nip04 or one of them.")
]
InternalOnly = Annotated[
    bool, typer.Option("--internal-only", help="Pay accounts of this service only.")
]
Destinations = Annotated[
    list[str] | None,
    typer.Option("--destination", help="The one node to pay (hex); may be repeated."),
]
