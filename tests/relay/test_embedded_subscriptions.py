"""Stored events, then EOSE, then live ones: NIP-01 as the embedded relay does it."""

import pytest

from nwc_service.embedded import EmbeddedRelay, RelayLimits
from tests.relay.raw import (
    CLIENT,
    NOW,
    OTHER_CLIENT,
    OTHER_WALLET,
    WALLET,
    a_request,
    a_response,
    an_event,
    an_info,
    id_of,
    raw_client,
    relay_of_its_own,
)

REQUEST = a_request()
RESPONSE = a_response(REQUEST)
TO_CLIENT: dict[str, object] = {"#p": [CLIENT.public_key]}
INFO = {"kinds": [13194], "authors": [WALLET.public_key]}
OF_WALLET: list[object] = [{name: [WALLET.public_key]} for name in ("authors", "#p")]
NOTIFICATION = an_event(WALLET, 23197, [("p", CLIENT.public_key)])
LEGACY_NOTIFICATION = an_event(WALLET, 23196, [("p", CLIENT.public_key)])

# What the clients of protocol.md section 2 really send.
RESPONSE_FILTERS = [
    pytest.param(
        {"kinds": [23195], "authors": [WALLET.public_key], "#e": [REQUEST.id]}, id="js-sdk"
    ),
    pytest.param({"kinds": [23195], "#e": [REQUEST.id], "limit": 1}, id="ndk"),
    pytest.param(
        {
            "kinds": [23195, 23197, 23196],
            "#p": [CLIENT.public_key],
            "authors": [WALLET.public_key],
        },
        id="applesauce",
    ),
    pytest.param(
        {"kinds": [23195], "authors": [WALLET.public_key], "since": NOW - 60}, id="no-tags"
    ),
    pytest.param({"ids": [RESPONSE.id]}, id="by-id"),
]


@pytest.mark.parametrize("wanted", RESPONSE_FILTERS)
async def test_a_response_is_found_live_and_by_who_comes_later(
    relay: EmbeddedRelay, wanted: dict[str, object]
) -> None:
    async with raw_client(relay.url) as client, raw_client(relay.url) as late:
        eose = await client.ask("REQ", "live", wanted)
        relay.publish(RESPONSE)
        live = await client.receive()
        stored = await late.stored(wanted)

    assert eose == ["EOSE", "live"]
    assert live == ["EVENT", "live", RESPONSE.to_dict()]
    assert stored == [RESPONSE.id]


@pytest.mark.parametrize(
    "wanted",
    [
        pytest.param({"authors": [OTHER_WALLET.public_key]}, id="author"),
        pytest.param({"#p": [OTHER_CLIENT.public_key]}, id="p-tag"),
        pytest.param({"#e": ["0" * 64]}, id="e-tag"),
        pytest.param({"ids": ["0" * 64]}, id="id"),
        pytest.param({"ids": []}, id="no-id-at-all"),
        pytest.param({"#p": [CLIENT.public_key], "kinds": [23197]}, id="kind"),
        pytest.param({"#p": [CLIENT.public_key], "since": NOW + 1}, id="since"),
        pytest.param({"#p": [CLIENT.public_key], "until": NOW - 1}, id="until"),
        pytest.param(
            {"#p": [CLIENT.public_key], "authors": [OTHER_WALLET.public_key]},
            id="all-conditions-must-hold",
        ),
    ],
)
async def test_what_does_not_match_is_not_sent(
    relay: EmbeddedRelay, wanted: dict[str, object]
) -> None:
    async with raw_client(relay.url) as client:
        await client.ask("REQ", "live", wanted)
        relay.publish(RESPONSE)
        silent = await client.hears_nothing()
        stored = await client.stored(wanted)

    assert silent
    assert stored == []


async def test_every_kind_of_nip_47_is_carried_and_kept(relay: EmbeddedRelay) -> None:
    info = an_info()
    published = [info, RESPONSE, NOTIFICATION, LEGACY_NOTIFICATION]

    async with raw_client(relay.url) as client:
        await client.offer(REQUEST)
        for event in published:
            relay.publish(event)
        stored = await client.stored(*OF_WALLET)

    assert set(stored) == {REQUEST.id, *(event.id for event in published)}


async def test_an_event_comes_once_per_subscription(relay: EmbeddedRelay) -> None:
    by_p, by_e = {"#p": [CLIENT.public_key]}, {"#e": [REQUEST.id]}

    async with raw_client(relay.url) as client:
        await client.ask("REQ", "live", by_p, by_e)
        relay.publish(RESPONSE)
        relay.publish(RESPONSE)
        live = await client.receive()
        silent = await client.hears_nothing()
        stored = await client.stored(by_p, by_e)

    assert id_of(live) == RESPONSE.id
    assert silent
    assert stored == [RESPONSE.id]


async def test_each_subscription_of_a_client_gets_its_own_copy(relay: EmbeddedRelay) -> None:
    filters = {
        "by id": {"ids": [RESPONSE.id]},
        "by e": {"#e": [REQUEST.id]},
        "by p": {"#p": [CLIENT.public_key]},
        "by p again": {"#p": [CLIENT.public_key]},
        "by author": {"authors": [WALLET.public_key]},
    }

    async with raw_client(relay.url) as client:
        for name, wanted in filters.items():
            await client.ask("REQ", name, wanted)
        relay.publish(RESPONSE)
        names = {str((await client.receive())[1]) for _ in filters}

    assert names == filters.keys()


async def test_a_limit_takes_the_newest_and_the_lowest_id_of_a_tie(
    relay: EmbeddedRelay,
) -> None:
    old = a_response(REQUEST, created_at=NOW - 10)
    tie = sorted((RESPONSE, NOTIFICATION), key=lambda event: event.id)

    for event in (old, *reversed(tie)):
        relay.publish(event)
    async with raw_client(relay.url) as client:
        all_of_them = await client.stored(TO_CLIENT)
        one = await client.stored(TO_CLIENT | {"limit": 1})
        none = await client.stored(TO_CLIENT | {"limit": 0})

    assert all_of_them == [tie[0].id, tie[1].id, old.id]
    assert one == [tie[0].id]
    assert none == []


async def test_a_limit_is_for_stored_events_only(relay: EmbeddedRelay) -> None:
    async with raw_client(relay.url) as client:
        await client.ask("REQ", "live", {"#p": [CLIENT.public_key], "limit": 0})
        relay.publish(RESPONSE)
        live = await client.receive()

    assert id_of(live) == RESPONSE.id


@pytest.mark.parametrize(
    "how",
    [
        pytest.param(("CLOSE", "live"), id="closed"),
        pytest.param(("REQ", "live", {"#p": [OTHER_CLIENT.public_key]}), id="replaced"),
        pytest.param(("REQ", "live", {"#p": ["not hex"]}), id="replaced-by-an-invalid-one"),
    ],
)
async def test_a_subscription_ends(relay: EmbeddedRelay, how: tuple[object, ...]) -> None:
    async with raw_client(relay.url) as client:
        await client.ask("REQ", "live", {"#p": [CLIENT.public_key]})
        await client.send(*how)
        if how[0] == "REQ":
            await client.receive()
        await client.hears_nothing()
        relay.publish(RESPONSE)
        silent = await client.hears_nothing()

    assert silent


@pytest.mark.parametrize(
    ("name", "filters", "prefix"),
    [
        pytest.param("x", [], "invalid:", id="no-filter"),
        pytest.param("x", [{}] * 11, "invalid:", id="too-many-filters"),
        pytest.param("x", ["all"], "invalid:", id="not-an-object"),
        pytest.param("x", [{"kinds": 1}], "invalid:", id="kinds-not-a-list"),
        pytest.param("x", [{"search": "x"}], "invalid:", id="unknown-condition"),
        pytest.param("x", [{"authors": ["ABC"]}], "invalid:", id="author-not-hex"),
        pytest.param("x", [{"#t": ["x" + str(n) for n in range(2001)]}], "invalid:", id="long"),
        pytest.param(
            "x",
            [{"ids": [], "#t": ["x" + str(n) for n in range(1500)]}] * 3,
            "rate-limited:",
            id="too-many-values-in-all",
        ),
        pytest.param("x", [{}], "restricted:", id="everything"),
        pytest.param("x", [{"kinds": [13194]}], "restricted:", id="kind-only"),
        pytest.param("x", [{"#t": ["x"], "since": NOW}], "restricted:", id="another-tag"),
        pytest.param("x", [{"ids": []}, {}], "restricted:", id="one-of-two-is-everything"),
    ],
)
async def test_a_subscription_that_cannot_be_is_closed_with_the_reason(
    relay: EmbeddedRelay, name: str, filters: list[object], prefix: str
) -> None:
    """NWC-08: "Wallet services that run a relay SHOULD restrict event queries to filters
    containing a known author, `e` or `p` tag"."""
    async with raw_client(relay.url) as client:
        closed = await client.ask("REQ", name, *filters)

    assert closed[:2] == ["CLOSED", name]
    assert str(closed[2]).startswith(prefix)


async def test_a_client_has_only_so_many_subscriptions(relay: EmbeddedRelay) -> None:
    async with raw_client(relay.url) as client:
        opened = [await client.ask("REQ", str(n), {"ids": []}) for n in range(20)]
        refused = await client.ask("REQ", "20", {"ids": []})
        await client.send("CLOSE", "0")
        after_closing_one = await client.ask("REQ", "20", {"ids": []})

    assert all(reply[0] == "EOSE" for reply in opened)
    assert refused[0] == "CLOSED"
    assert str(refused[2]).startswith("rate-limited:")
    assert after_closing_one == ["EOSE", "20"]


async def test_of_two_info_events_the_newer_stays(relay: EmbeddedRelay) -> None:
    old, new = an_info(created_at=NOW - 1), an_info(created_at=NOW)
    by_author = {"kinds": [13194], "authors": [WALLET.public_key], "limit": 1}

    relay.publish(new)
    relay.publish(old)
    async with raw_client(relay.url) as client:
        by_the_author = await client.stored(by_author)
        by_the_client = await client.stored({"kinds": [13194], "#p": [CLIENT.public_key]})
        by_the_old_id = await client.stored({"ids": [old.id]})

    assert by_the_author == by_the_client == [new.id]
    assert by_the_old_id == []


@pytest.mark.parametrize(
    "lowest_comes", [pytest.param(0, id="first"), pytest.param(1, id="last")]
)
async def test_of_two_info_events_of_one_second_the_lowest_id_stays(
    relay: EmbeddedRelay, lowest_comes: int
) -> None:
    lowest, highest = sorted(
        (an_info(content="pay_invoice"), an_info(content="get_info")), key=lambda e: e.id
    )
    order = [lowest, highest] if lowest_comes == 0 else [highest, lowest]

    for info in order:
        relay.publish(info)
    async with raw_client(relay.url) as client:
        stored = await client.stored(INFO)

    assert stored == [lowest.id]


async def test_an_info_event_published_again_is_not_sent_again(relay: EmbeddedRelay) -> None:
    info = an_info()

    async with raw_client(relay.url) as client:
        await client.ask("REQ", "live", INFO)
        relay.publish(info)
        relay.publish(info)
        live = await client.receive()
        silent = await client.hears_nothing()

    assert id_of(live) == info.id
    assert silent


async def test_the_info_event_of_a_connection_that_is_no_more_is_gone(
    relay: EmbeddedRelay,
) -> None:
    other = an_info(OTHER_WALLET)

    relay.publish(an_info())
    relay.publish(other)
    relay.remove_info(WALLET.public_key)
    async with raw_client(relay.url) as client:
        stored = await client.stored(INFO, {"authors": [OTHER_WALLET.public_key]})

    assert stored == [other.id]


@pytest.mark.parametrize(
    ("age_s", "is_kept"),
    [pytest.param(300, True, id="five-minutes"), pytest.param(360, False, id="six-minutes")],
)
async def test_all_but_info_events_are_kept_for_a_while(age_s: int, is_kept: bool) -> None:
    clock = [float(NOW)]
    info = an_info()

    async with (
        relay_of_its_own(now=lambda: clock[0]) as relay,
        raw_client(relay.url) as client,
    ):
        await client.offer(REQUEST)
        relay.publish(RESPONSE)
        relay.publish(info)
        clock[0] += age_s
        stored = await client.stored(*OF_WALLET)

    assert set(stored) == ({info.id, REQUEST.id, RESPONSE.id} if is_kept else {info.id})


@pytest.mark.parametrize(
    "limits",
    [
        pytest.param(RelayLimits(stored_count=3), id="count"),
        pytest.param(RelayLimits(stored_bytes=3 * len(RESPONSE.to_json()) + 100), id="bytes"),
    ],
)
async def test_requests_push_out_older_requests_but_never_a_response(
    limits: RelayLimits,
) -> None:
    flood = [a_request(content=str(n)) for n in range(9)]

    async with relay_of_its_own(limits=limits) as relay, raw_client(relay.url) as client:
        relay.publish(RESPONSE)
        for request in flood:
            await client.offer(request)
        stored = await client.stored(*OF_WALLET)
        _, duplicate = await client.offer(flood[0])

    assert set(stored) == {RESPONSE.id, *(request.id for request in flood[-3:])}
    assert duplicate.startswith("duplicate:")
