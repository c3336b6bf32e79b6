"""Names of Lightning addresses (LUD-16), which are those of NIP-05 too."""

import re

NAME = re.compile(r"[a-z0-9_](?:[a-z0-9._-]{0,62}[a-z0-9_])?")
"""LUD-16: "a-z0-9-_." only; a dot or a hyphen at an end would be lost in a sentence."""

RESERVED = frozenset(
    {
        # RFC 2142: who has one of these speaks for the domain.
        *("abuse", "admin", "administrator", "hostmaster", "info", "marketing", "noc"),
        *("postmaster", "root", "sales", "security", "support", "webmaster"),
        *("mailer-daemon", "no-reply", "noreply", "billing", "help"),
    }
)


class InvalidName(ValueError):
    """No name of an address; the message says why."""


def checked(name: str) -> str:
    """Raises InvalidName."""
    if not NAME.fullmatch(name) or ".." in name:
        raise InvalidName(
            f"{name!r} is not of a-z, 0-9, '_', '-' and '.', 1 to 64 characters, with neither"
            " '-' nor '.' at an end"
        )
    if name in RESERVED:
        raise InvalidName(f"{name!r} is reserved: who has it would speak for the domain")
    return name
