import json

import nostr_sdk
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nwc_service.nostr.event import is_authentic, parse_event
from nwc_service.nostr.filter import Filter
from nwc_service.nostr.keys import Keypair
from nwc_service.nostr.relay_session import (
    AuthRequested,
    ClosedReceived,
    EoseReceived,
    EventReceived,
    Garbage,
    NoticeReceived,
    OkReceived,
    RelayMessage,
    RelaySession,
    auth_event,
)

KEYPAIR = Keypair(b"\x05" * 32)
REQUESTS = Filter(kinds=frozenset({23194}))
MESSAGE_TYPES = (
    EventReceived,
    OkReceived,
    EoseReceived,
    ClosedReceived,
    NoticeReceived,
    AuthRequested,
    Garbage,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param('["EVENT","a",{"id":1}]', EventReceived("a", {"id": 1}), id="event"),
        pytest.param('["OK","e1",true,""]', OkReceived("e1", True, ""), id="ok-true"),
        pytest.param(
            '["OK","e1",false,"mute: nobody"]',
            OkReceived("e1", False, "mute: nobody"),
            id="ok-false",
        ),
        pytest.param('["OK","e1",true]', OkReceived("e1", True, ""), id="ok-without-message"),
        pytest.param('["OK","e1",true,null]', OkReceived("e1", True, ""), id="ok-null-message"),
        pytest.param('["EOSE","a"]', EoseReceived("a"), id="eose"),
        pytest.param('["EOSE","a",{"more":1}]', EoseReceived("a"), id="eose-and-more"),
        pytest.param(
            '["CLOSED","a","error: idle"]', ClosedReceived("a", "error: idle"), id="closed"
        ),
        pytest.param('["CLOSED","a"]', ClosedReceived("a", ""), id="closed-without-reason"),
        pytest.param('["NOTICE","hi"]', NoticeReceived("hi"), id="notice"),
        pytest.param('["AUTH","c1"]', AuthRequested("c1"), id="auth"),
    ],
)
def test_a_relay_message_is_told_as_a_value(text: str, expected: RelayMessage) -> None:
    session = RelaySession()

    message = session.receive(text)

    assert message == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello",
        "[",
        "[]",
        "{}",
        "null",
        '"EVENT"',
        "[" * 100_000,
        "\ud800",
        "[NaN]",
        '["EVENT"]',
        '["EVENT","a"]',
        '["EVENT",{"id":1}]',
        '["EVENT","a",[]]',
        '["EVENT",1,{}]',
        '["OK","e1"]',
        '["OK","e1","true",""]',
        '["OK","e1",1,""]',
        '["OK",1,true,""]',
        '["EOSE"]',
        '["EOSE",1]',
        '["CLOSED"]',
        '["CLOSED",null,""]',
        '["NOTICE",1]',
        '["AUTH"]',
        '["AUTH",{}]',
        '["event","a",{}]',
        '["COUNT","a",{"count":1}]',
        '[["EVENT"],"a",{}]',
        '{"0":"EOSE","1":"a"}',
    ],
    ids=lambda text: ascii(text[:24]),
)
def test_what_is_malformed_is_garbage_and_changes_nothing(text: str) -> None:
    session = RelaySession()
    session.subscribe("a", [REQUESTS])

    message = session.receive(text)

    assert isinstance(message, Garbage)
    assert not session.is_subscribed
    assert session.closed_subscriptions == ()
    assert session.challenge is None


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["EVENT", "OK", "EOSE", "CLOSED", "NOTICE", "AUTH"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(text=st.text() | json_values.map(json.dumps))
def test_nothing_that_a_relay_sends_raises(text: str) -> None:
    session = RelaySession()

    message = session.receive(text)

    assert isinstance(message, MESSAGE_TYPES)


def test_it_is_subscribed_once_every_subscription_is_past_its_stored_events() -> None:
    session = RelaySession()
    states = [session.is_subscribed]

    session.subscribe("a", [REQUESTS])
    session.subscribe("b", [REQUESTS])
    states.append(session.is_subscribed)
    session.receive('["EOSE","a"]')
    states.append(session.is_subscribed)
    session.receive('["EOSE","b"]')
    states.append(session.is_subscribed)

    assert states == [False, False, False, True]


def test_a_closed_subscription_is_told_until_it_is_subscribed_again() -> None:
    session = RelaySession()
    session.subscribe("a", [REQUESTS])
    session.subscribe("b", [REQUESTS])
    session.receive('["EOSE","a"]')
    session.receive('["EOSE","b"]')

    session.receive('["CLOSED","b","error: idle"]')
    closed = session.closed_subscriptions, session.is_subscribed
    session.subscribe("b", [REQUESTS])
    reopened = session.closed_subscriptions, session.is_subscribed
    session.receive('["EOSE","b"]')

    assert closed == (("b",), False)
    assert reopened == ((), False)
    assert session.is_subscribed


def test_a_refused_subscription_is_closed_too() -> None:
    session = RelaySession()
    session.subscribe("a", [REQUESTS])

    session.receive('["CLOSED","a","auth-required: who are you?"]')

    assert session.closed_subscriptions == ("a",)


def test_unsubscribing_forgets_whatever_the_relay_says_later() -> None:
    session = RelaySession()
    session.subscribe("a", [REQUESTS])
    session.subscribe("b", [REQUESTS])
    session.receive('["EOSE","a"]')

    frame = session.unsubscribe("b")
    session.receive('["EOSE","b"]')
    session.receive('["CLOSED","b",""]')
    session.receive('["CLOSED","never-asked",""]')

    assert json.loads(frame) == ["CLOSE", "b"]
    assert session.is_subscribed
    assert session.closed_subscriptions == ()


def test_a_new_subscription_of_the_same_id_waits_again() -> None:
    session = RelaySession()
    session.subscribe("a", [REQUESTS])
    session.receive('["EOSE","a"]')

    session.subscribe("a", [REQUESTS])

    assert not session.is_subscribed


def test_the_newest_challenge_is_kept_until_the_connection_is_new() -> None:
    session = RelaySession()
    session.subscribe("a", [REQUESTS])
    session.receive('["EOSE","a"]')

    session.receive('["AUTH","c1"]')
    session.receive('["AUTH","c2"]')
    newest = session.challenge
    session.reset()

    assert newest == "c2"
    assert session.challenge is None
    assert not session.is_subscribed
    assert session.closed_subscriptions == ()


def test_subscribe_frames_every_filter() -> None:
    session = RelaySession()

    frame = session.subscribe("a", [REQUESTS, Filter(since=5)])

    assert json.loads(frame) == ["REQ", "a", {"kinds": [23194]}, {"since": 5}]


@pytest.mark.parametrize("subscription_id", ["", "a" * 65], ids=["empty", "long"])
def test_a_subscription_id_has_1_to_64_characters(subscription_id: str) -> None:
    session = RelaySession()

    with pytest.raises(ValueError, match="64"):
        session.subscribe(subscription_id, [REQUESTS])


def test_an_auth_event_proves_the_key_for_this_relay_and_challenge() -> None:
    session = RelaySession()
    event = auth_event(
        KEYPAIR, relay_url="wss://relay.example", challenge="c1", created_at=9, aux=bytes(32)
    )

    name, raw = json.loads(session.authenticate(event))
    theirs = nostr_sdk.Event.from_json(json.dumps(raw))

    assert name == "AUTH"
    assert theirs.verify()
    assert (event.kind, event.created_at, event.content) == (22242, 9, "")
    assert event.tags == (("relay", "wss://relay.example"), ("challenge", "c1"))


def test_publish_frames_the_event() -> None:
    session = RelaySession()
    event = auth_event(KEYPAIR, relay_url="r", challenge="c", created_at=9, aux=bytes(32))

    name, raw = json.loads(session.publish(event))

    assert name == "EVENT"
    assert parse_event(raw) == event
    assert is_authentic(parse_event(raw))
