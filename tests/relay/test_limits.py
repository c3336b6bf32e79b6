"""NIP-11: protocol.md 3.3, "fetch with Accept: application/nostr+json; treat absent as
unknown"."""

import json

import pytest
from structlog.testing import capture_logs

from nwc_service.nostr.filter import Filter
from nwc_service.relay.limits import Limits, fetch_limits, parse_limits
from tests.relay.raw import NOW, WALLET, an_event
from tests.relay.small_relay import SmallRelay, small_relay

URL = "wss://relay.example"
LIMITATION = {
    "max_message_length": 16384,
    "max_subscriptions": 1,
    "max_limit": 500,
    "max_event_tags": 100,
    "max_content_length": 8196,
    "created_at_lower_limit": 60,
    "created_at_upper_limit": 900,
}
LIMITS = Limits(
    max_message_bytes=16384,
    max_subscriptions=1,
    max_limit=500,
    max_event_tags=100,
    max_content_chars=8196,
    oldest_s=60,
    newest_s=900,
)


def test_what_the_document_says_is_respected() -> None:
    assert parse_limits({"limitation": LIMITATION}, relay_url=URL) == LIMITS


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"limitation": None},
        {"limitation": []},
        {"limitation": {}},
        {"limitation": dict.fromkeys(LIMITATION)},
        {"limitation": dict.fromkeys(LIMITATION, "1")},
        {"limitation": dict.fromkeys(LIMITATION, -1)},
        {"limitation": dict.fromkeys(LIMITATION, 0)},
        {"limitation": dict.fromkeys(LIMITATION, 1.5)},
        {"limitation": dict.fromkeys(LIMITATION, True)},
    ],
    ids=json.dumps,
)
def test_what_it_does_not_say_properly_is_unknown(document: object) -> None:
    assert parse_limits(document, relay_url=URL) == Limits()


@pytest.mark.parametrize("document", [None, [], "x", 1])
def test_what_is_no_document_is_refused(document: object) -> None:
    with pytest.raises(ValueError, match="object"):
        parse_limits(document, relay_url=URL)


def test_what_the_service_cannot_do_for_a_relay_is_logged() -> None:
    demands = {"payment_required": True, "restricted_writes": False, "min_pow_difficulty": 20}
    with capture_logs() as logs:
        parse_limits({"limitation": demands}, relay_url=URL)

    assert [log["demands"] for log in logs] == [["payment_required", "min_pow_difficulty"]]


@pytest.mark.parametrize(
    ("max_message_bytes", "keys"),
    [(None, 1000), (10**6, 1000), (16384, 240), (4096, 57), (1, 57)],
)
def test_a_chunk_of_keys_fits_the_message_length(
    max_message_bytes: int | None, keys: int
) -> None:
    assert Limits(max_message_bytes=max_message_bytes).keys_per_filter == keys


def test_a_whole_frame_fits_the_message_length() -> None:
    limits = Limits(max_message_bytes=16384)
    chunk = frozenset(f"{number:064x}" for number in range(limits.keys_per_filter))
    wanted = Filter(kinds=frozenset({23194}), tags={"p": chunk}, since=NOW)

    frame = json.dumps(["REQ", "1000", wanted.to_dict()], separators=(",", ":"))

    assert len(frame) <= 16384


EVENT = an_event(WALLET, 23195, [("p", "x"), ("e", "y")], content="z" * 100)
EVENT_BYTES = len(json.dumps(["EVENT", EVENT.to_dict()], separators=(",", ":")))


@pytest.mark.parametrize(
    ("limits", "now", "objection"),
    [
        pytest.param(Limits(), NOW, None, id="unknown"),
        pytest.param(Limits(max_message_bytes=EVENT_BYTES), NOW, None, id="just-fits"),
        pytest.param(Limits(max_message_bytes=EVENT_BYTES - 1), NOW, "invalid:", id="frame"),
        pytest.param(Limits(max_content_chars=100), NOW, None, id="content-fits"),
        pytest.param(Limits(max_content_chars=99), NOW, "invalid:", id="content"),
        pytest.param(Limits(max_event_tags=2), NOW, None, id="tags-fit"),
        pytest.param(Limits(max_event_tags=1), NOW, "invalid:", id="tags"),
        pytest.param(Limits(oldest_s=60), NOW + 60, None, id="old-enough"),
        pytest.param(Limits(oldest_s=60), NOW + 61, "invalid:", id="too-old"),
        pytest.param(Limits(newest_s=900), NOW - 900, None, id="ahead"),
        pytest.param(Limits(newest_s=900), NOW - 901, "error:", id="too-far-ahead"),
    ],
)
def test_what_the_relay_would_refuse_is_not_sent(
    limits: Limits, now: int, objection: str | None
) -> None:
    found = limits.objection(EVENT, now=now)

    assert found is None if objection is None else (found or "").startswith(objection)


async def test_the_document_is_fetched_from_the_relay_s_own_address() -> None:
    relay = SmallRelay(document={"limitation": LIMITATION})
    async with small_relay(relay):
        limits = await fetch_limits(relay.url, address=None)

    assert limits == LIMITS
    assert relay.accepts == ["application/nostr+json"]


@pytest.mark.parametrize(
    "document",
    [
        pytest.param(None, id="none"),
        pytest.param([], id="not-an-object"),
        pytest.param({"name": "x" * 70_000}, id="too-long"),
    ],
)
async def test_without_a_proper_document_nothing_is_known(document: object) -> None:
    relay = SmallRelay(document=document)
    async with small_relay(relay):
        limits = await fetch_limits(relay.url, address=None)

    assert limits == Limits()


async def test_a_relay_that_is_away_is_to_be_asked_again() -> None:
    assert await fetch_limits("ws://127.0.0.1:1", address=None) is None
