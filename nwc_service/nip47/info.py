"""The info event (kind 13194): what a connection may do, in plain text, replaceable."""

from collections.abc import Sequence

from nwc_service.nip47.connection import Connection
from nwc_service.nip47.kinds import NotificationType

NOTIFICATIONS = "02"
METADATA = "06"
_METHODS = {
    "03": {"make_hold_invoice", "settle_hold_invoice", "cancel_hold_invoice"},
    "04": {"pay_keysend"},
    "05": {"list_transactions"},
    "09": {"lookup_payment"},
    "12": {"make_offer"},
    "321": {"pay", "receive"},
}
"""The numbered NWC specs, and the methods of which a connection must have one."""


def extensions(connection: Connection, methods: Sequence[str]) -> list[str]:
    """The numbered NWC specs that this connection gets, by the methods that it may call."""
    numbers = {number for number, names in _METHODS.items() if names & set(methods)}
    if "09" not in numbers:
        # NWC-12: "MUST advertise `make_offer` and `lookup_payment` as supported methods".
        numbers.discard("12")
    if notifications(connection, methods):
        numbers.add(NOTIFICATIONS)
    return sorted({*numbers, METADATA})


def notifications(connection: Connection, methods: Sequence[str]) -> list[str]:
    """Those that can come: without NWC-03 there is no hold invoice to be accepted."""
    kinds = connection.notifications
    if not _METHODS["03"] & set(methods):
        kinds -= {NotificationType.HOLD_INVOICE_ACCEPTED}
    return sorted(kinds)


def content(connection: Connection, methods: Sequence[str]) -> str:
    """`notifications` beside the methods is a legacy marker that Amethyst and Alby read."""
    marker = ["notifications"] if notifications(connection, methods) else []
    return " ".join([*methods, *marker])


def tags(connection: Connection, methods: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """Each list is one space-separated string: real clients do `tag[1].split(" ")`."""
    result: list[tuple[str, ...]] = [("encryption", " ".join(connection.encryption))]
    if kinds := notifications(connection, methods):
        result.append(("notifications", " ".join(kinds)))
    result.append(("extensions", " ".join(extensions(connection, methods))))
    return (*result, *_link_tags(connection))


def _link_tags(connection: Connection) -> tuple[tuple[str, ...], ...]:
    """NWC-08: "MUST include a `p` tag containing the public key of the client", "MUST include
    a `state` tag", "MAY include one or more `relay` tags"; before it, apps took the relay from
    behind the client's key. Its `lud16` "MUST NOT be communicated via the info event"."""
    client = ("p", connection.client_pubkey)
    if not connection.relays_by_user or not connection.relays:
        return (client,)
    state = () if connection.link_state is None else (("state", connection.link_state),)
    relays = tuple(("relay", relay) for relay in connection.relays)
    return ((*client, connection.relays[0]), *relays, *state)
