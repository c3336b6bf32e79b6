"""The info event of a connection that an app asked for by a link (NWC-08)."""

from typing import Any

from nwc_service.nip47 import info
from tests.core.samples import a_connection

CLIENT, STATE = "bb" * 32, "9f" * 16
RELAYS = ("wss://one.example", "wss://two.example/x")


def tags(**changes: Any) -> dict[str, list[tuple[str, ...]]]:
    found: dict[str, list[tuple[str, ...]]] = {}
    for name, *values in info.tags(a_connection(**changes), []):
        found.setdefault(name, []).append(tuple(values))
    return found


def test_it_is_found_by_the_clients_key_and_repeats_its_state() -> None:
    """NWC-08: "MUST include a `p` tag containing the public key of the client", "MUST include a
    `state` tag containing the `state` value from the authorization URI", "MAY include one or
    more `relay` tags"; "The wallet service MUST return this value to the client as defined per
    flow"."""
    found = tags(relays=RELAYS, relays_by_user=True, link_state=STATE)

    assert found["p"] == [(CLIENT, RELAYS[0])]
    assert found["state"] == [(STATE,)]
    assert found["relay"] == [(relay,) for relay in RELAYS]


def test_the_older_form_has_the_relay_behind_the_key_and_no_state() -> None:
    found = tags(relays=RELAYS, relays_by_user=True)

    assert found["p"] == [(CLIENT, RELAYS[0])]
    assert "state" not in found


def test_the_lightning_address_is_never_in_it() -> None:
    """NWC-08: "The `lud16` field MUST NOT be communicated via the NWC info event"."""
    found = tags(relays=RELAYS, relays_by_user=True, link_state=STATE, lud16="a@example.org")

    assert "example.org" not in str(found)


def test_relays_that_the_operator_chose_are_in_the_uri_only() -> None:
    found = tags(relays=RELAYS)

    assert found["p"] == [(CLIENT,)]
    assert "relay" not in found
