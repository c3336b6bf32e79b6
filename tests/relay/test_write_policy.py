"""relay-config/write_policy.py, asked as strfry asks it: JSON lines to a process of its own."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nwc_service.nip47 import kinds
from nwc_service.nostr.event import Event
from tests.relay.raw import (
    CLIENT,
    OTHER_WALLET,
    STRANGER,
    WALLET,
    a_request,
    a_response,
    an_event,
    an_info,
)

PROGRAM = Path(__file__).parents[2] / "relay-config" / "write_policy.py"
DELETION = 5
TO_CLIENT = ("p", CLIENT.public_key)


class Policy:
    """The program, as a plugin of strfry."""

    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-I", PROGRAM, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def say(self, line: str) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        decision = json.loads(self.process.stdout.readline())
        assert isinstance(decision, dict)
        return decision

    def ask(self, event: Event, *, source: str = "192.0.2.1", kind: str = "IP4") -> str:
        """Empty where the event is accepted, else what the client is told."""
        question = {
            "type": "new",
            "event": event.to_dict(),
            "receivedAt": event.created_at,
            "sourceType": kind,
            "sourceInfo": source,
        }
        decision = self.say(json.dumps(question))
        assert decision["id"] == event.id
        assert (decision["action"] == "accept") == ("msg" not in decision)
        return str(decision.get("msg", ""))

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def policy() -> Iterator[Policy]:
    opened = Policy()
    yield opened
    opened.close()


def requests(count: int) -> list[Event]:
    return [a_request(content=str(number)) for number in range(count)]


# --- what is carried


@pytest.mark.parametrize(
    "event",
    [
        pytest.param(an_info(), id="info"),
        pytest.param(a_request(), id="request"),
        pytest.param(a_response(a_request()), id="response"),
        pytest.param(an_event(WALLET, kinds.NOTIFICATION, [TO_CLIENT]), id="notification"),
        pytest.param(an_event(WALLET, kinds.NOTIFICATION_NIP04, [TO_CLIENT]), id="nip04"),
        pytest.param(an_event(WALLET, DELETION, [("e", "0" * 64)]), id="deletion-by-id"),
        pytest.param(
            an_event(WALLET, DELETION, [("a", f"13194:{WALLET.public_key}:")]),
            id="deletion-by-address",
        ),
        pytest.param(a_request(content="x" * 60_000), id="large"),
        pytest.param(
            a_request(tags=[("encryption", "nip44_v2"), ("expiration", "1800000060"), ("-",)]),
            id="with-other-tags",
        ),
    ],
)
def test_nip_47_is_carried(policy: Policy, event: Event) -> None:
    assert policy.ask(event) == ""


@pytest.mark.parametrize(
    ("event", "refusal"),
    [
        pytest.param(an_event(CLIENT, 1), "blocked:", id="note"),
        pytest.param(an_event(CLIENT, 22242), "blocked:", id="auth-as-an-event"),
        pytest.param(an_event(CLIENT, kinds.REQUEST), "invalid:", id="to-nobody"),
        pytest.param(
            a_request(tags=[("p", OTHER_WALLET.public_key)]), "invalid:", id="to-two-wallets"
        ),
        pytest.param(
            an_event(CLIENT, kinds.REQUEST, [("p", "npub1")]), "invalid:", id="to-no-key"
        ),
        pytest.param(
            an_event(CLIENT, kinds.REQUEST, [("p",)]), "invalid:", id="p-without-a-value"
        ),
        pytest.param(
            an_event(WALLET, kinds.RESPONSE, [TO_CLIENT]), "invalid:", id="answer-to-nothing"
        ),
        pytest.param(
            an_event(WALLET, kinds.RESPONSE, [TO_CLIENT, ("e", "1" * 64), ("e", "2" * 64)]),
            "invalid:",
            id="answer-to-two",
        ),
        pytest.param(
            an_event(WALLET, kinds.NOTIFICATION), "invalid:", id="notification-to-nobody"
        ),
        pytest.param(an_event(WALLET, DELETION), "invalid:", id="deletion-of-nothing"),
        pytest.param(
            an_event(WALLET, DELETION, [("a", f"13194:{STRANGER.public_key}:")]),
            "invalid:",
            id="deletion-of-another-s",
        ),
        pytest.param(
            an_event(WALLET, DELETION, [("e", "0" * 64)] * 11), "invalid:", id="deletes-many"
        ),
        pytest.param(a_request(content="x" * 65_536), "invalid:", id="too-large"),
        pytest.param(a_request(content="\u00e9" * 33_000), "invalid:", id="too-many-bytes"),
        pytest.param(a_request(tags=[("t", "x")] * 20), "invalid:", id="too-many-tags"),
        pytest.param(a_request(tags=[("d", "x" * 1025)]), "invalid:", id="too-long-a-tag"),
    ],
)
def test_nothing_else_is(policy: Policy, event: Event, refusal: str) -> None:
    assert policy.ask(event).startswith(refusal)


# --- whose


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    file = tmp_path / "service-keys"
    file.write_text(f"# nothing that is no key\n{WALLET.public_key}\n")
    return file


@pytest.fixture
def keyed(keys: Path) -> Iterator[Policy]:
    opened = Policy("--service-keys", str(keys))
    yield opened
    opened.close()


def test_with_known_keys_only_their_wallets_are_served(keyed: Policy) -> None:
    for carried in (an_info(), a_request(), a_response(a_request())):
        assert keyed.ask(carried) == ""
    for refused in (
        an_info(OTHER_WALLET),
        a_request(CLIENT, OTHER_WALLET),
        a_response(a_request(), OTHER_WALLET),
        an_event(STRANGER, kinds.NOTIFICATION, [TO_CLIENT]),
        an_event(STRANGER, DELETION, [("e", "0" * 64)]),
    ):
        assert keyed.ask(refused).startswith("blocked:")


def test_a_key_that_is_added_to_the_file_counts_at_once(keyed: Policy, keys: Path) -> None:
    event = an_info(OTHER_WALLET)
    assert keyed.ask(event).startswith("blocked:")
    with keys.open("a") as file:
        file.write(OTHER_WALLET.public_key + "\n")
    os.utime(keys, ns=(1, 1))  # a clock too coarse to see two writes apart
    assert keyed.ask(event) == ""


def test_without_its_file_nothing_gets_through(keyed: Policy, keys: Path) -> None:
    keys.unlink()
    assert keyed.ask(a_request()).startswith("error:")


# --- how much


def answers(policy: Policy, events: list[Event], **source: str) -> list[str]:
    return [policy.ask(event, **source).partition(":")[0] for event in events]


@pytest.fixture
def narrow() -> Iterator[Policy]:
    """Ten of a key and fifteen of an address, and then one in days."""
    opened = Policy(
        *("--per-key", "1e-6", "--per-key-burst", "10"),
        *("--per-source", "1e-6", "--per-source-burst", "15"),
        *("--trust", "192.0.2.99"),
    )
    yield opened
    opened.close()


def test_a_key_has_a_rate(narrow: Policy) -> None:
    sources = [f"192.0.2.{number}" for number in range(12)]
    told = [
        narrow.ask(event, source=source)
        for event, source in zip(requests(12), sources, strict=True)
    ]
    assert told[:10] == [""] * 10
    assert all(message.startswith("rate-limited:") for message in told[10:])
    assert narrow.ask(a_request(STRANGER)) == ""


def test_an_address_has_a_rate_and_a_key_of_its_own_does_not_help(narrow: Policy) -> None:
    strangers = [
        replace(event, pubkey=f"{number:064x}")  # type: ignore[arg-type]
        for number, event in enumerate(requests(17))
    ]
    assert answers(narrow, strangers) == [""] * 15 + ["rate-limited"] * 2
    assert narrow.ask(a_request(), source="192.0.2.2") == ""


def test_all_addresses_of_an_ipv6_network_are_one(narrow: Policy) -> None:
    for number, event in enumerate(requests(20)):
        event = replace(event, pubkey=f"{number:064x}")  # type: ignore[arg-type]
        told = narrow.ask(event, source=f"2001:db8::{number:x}", kind="IP6")
        assert told.startswith("rate-limited:") == (number >= 15)


def test_a_trusted_address_and_what_other_relays_pass_on_have_none(narrow: Policy) -> None:
    assert set(answers(narrow, requests(40), source="192.0.2.99")) == {""}
    assert set(answers(narrow, requests(40), kind="Stream", source="wss://other")) == {""}


def test_the_service_answers_everybody_from_one_address(keys: Path) -> None:
    policy = Policy(
        *("--service-keys", str(keys), "--per-key-burst", "1", "--per-source-burst", "1"),
        *("--per-key", "1e-6", "--per-source", "1e-6"),
    )
    assert set(answers(policy, [a_response(request) for request in requests(20)])) == {""}
    policy.close()


# --- whatever comes


@pytest.mark.parametrize(
    "line",
    [
        pytest.param("", id="nothing"),
        pytest.param("{", id="no-json"),
        pytest.param("[]", id="a-list"),
        pytest.param("null", id="null"),
        pytest.param('{"type":"new"}', id="no-event"),
        pytest.param('{"type":"new","event":{"id":"x"}}', id="an-empty-event"),
        pytest.param(
            '{"type":"new","event":{"id":"x","kind":23194,"tags":[[1,2]],"pubkey":"y"}}',
            id="tags-of-numbers",
        ),
        pytest.param(json.dumps({"type": "old", "event": a_request().to_dict()}), id="type"),
        pytest.param("[" * 100_000, id="deep"),
    ],
)
def test_it_refuses_what_it_cannot_read_and_goes_on(policy: Policy, line: str) -> None:
    decision = policy.say(line)
    assert (decision["action"], decision["msg"].split(":")[0]) == ("reject", "error")
    assert policy.ask(a_request()) == ""
