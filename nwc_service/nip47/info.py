"""The info event (kind 13194): what a connection may do, in plain text, replaceable."""

from collections.abc import Sequence

from nwc_service.nip47.connection import Connection

METADATA = "06"


def extensions(connection: Connection) -> list[str]:
    """The numbered NWC specs that this connection gets: 02 notifications, 05 list_transactions,
    06 metadata."""
    granted = {"02": bool(connection.notifications), "05": connection.sees_account}
    return [*(number for number, has in granted.items() if has), METADATA]


def content(connection: Connection, methods: Sequence[str]) -> str:
    """`notifications` beside the methods is a legacy marker that Amethyst and Alby read."""
    words = [*methods, "notifications"] if connection.notifications else list(methods)
    return " ".join(words)


def tags(connection: Connection) -> tuple[tuple[str, ...], ...]:
    """Each list is one space-separated string: real clients do `tag[1].split(" ")`."""
    result: list[tuple[str, ...]] = [("encryption", " ".join(connection.encryption))]
    if connection.notifications:
        result.append(("notifications", " ".join(sorted(connection.notifications))))
    result.append(("extensions", " ".join(extensions(connection))))
    result.append(("p", connection.client_pubkey))
    return tuple(result)
