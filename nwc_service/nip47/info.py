"""The info event (kind 13194): what a connection may do, in plain text, replaceable."""

from collections.abc import Sequence

from nwc_service.nip47.connection import Connection

EXTENSIONS: tuple[str, ...] = ("02", "05", "06")  # notifications, list_transactions, metadata


def content(connection: Connection, methods: Sequence[str]) -> str:
    """`notifications` beside the methods is a legacy marker that Amethyst and Alby read."""
    words = [*methods, "notifications"] if connection.notifications else list(methods)
    return " ".join(words)


def tags(connection: Connection) -> tuple[tuple[str, ...], ...]:
    """Each list is one space-separated string: real clients do `tag[1].split(" ")`."""
    result: list[tuple[str, ...]] = [("encryption", " ".join(connection.encryption))]
    if connection.notifications:
        result.append(("notifications", " ".join(sorted(connection.notifications))))
    result.append(("extensions", " ".join(EXTENSIONS)))
    result.append(("p", connection.client_pubkey))
    return tuple(result)
