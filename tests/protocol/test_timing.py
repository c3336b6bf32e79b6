"""How old a request may be, what its `expiration` says, and what comes twice."""

import asyncio

import pytest

from nwc_service.nostr.event import Event
from tests.clients.conversation import NIP44_V2
from tests.protocol.wallet import Client, WalletInProcess, now

pytestmark = pytest.mark.asyncio(loop_scope="package")

READS = ["get_info", "get_balance", "list_transactions", "lookup_invoice"]
MUTATES = ["make_invoice", "pay_invoice"]
PARAMS: dict[str, dict[str, object]] = {
    "make_invoice": {"amount": 1_000},
    "lookup_invoice": {"payment_hash": "ab" * 32},
    "pay_invoice": {"invoice": "lnbcrt1"},
}
SLACK_S = 5  # the test itself takes time


async def is_answered(
    client: Client, method: str, *, age_s: int = 0, expiration: str | None = None
) -> bool:
    plain = client.build_request(method, PARAMS.get(method))
    tags = [*client.request_tags(NIP44_V2)]
    if expiration is not None:
        tags.append(("expiration", expiration))
    request = client.conversation.sign(
        plain.content, kind=plain.kind, tags=tags, created_at=now() - age_s
    )
    return bool(await client.answers(request))


@pytest.mark.parametrize(
    ("methods", "age_s", "answered"),
    [
        pytest.param(READS, 300 - SLACK_S, True, id="a-read-of-almost-five-minutes"),
        pytest.param(READS, 300 + SLACK_S, False, id="a-read-of-more"),
        pytest.param(MUTATES, 120 - SLACK_S, True, id="a-mutating-one-of-almost-120-s"),
        pytest.param(MUTATES, 120 + SLACK_S, False, id="a-mutating-one-of-more"),
        pytest.param(READS + MUTATES, -60 + SLACK_S, True, id="almost-60-s-in-the-future"),
        pytest.param(READS + MUTATES, -60 - SLACK_S, False, id="more-in-the-future"),
        pytest.param(READS + MUTATES, 10**9, False, id="decades-ago"),
    ],
)
async def test_request_without_expiration(
    methods: list[str], age_s: int, answered: bool, client: Client
) -> None:
    """Section 4, "request without `expiration`": "mutating older than 120 s and reads older
    than 5 min ignored; 60 s of future skew allowed"."""
    for method in methods:
        assert await is_answered(client, method, age_s=age_s) is answered


@pytest.mark.parametrize(
    ("in_s", "age_s", "answered"),
    [
        pytest.param(SLACK_S, 0, True, id="still-valid"),
        pytest.param(10**9, 0, True, id="valid-for-decades"),
        pytest.param(-1, 0, False, id="just-expired"),
        pytest.param(-1, 100, False, id="expired-and-old"),
        pytest.param(-(10**9), 0, False, id="long-expired"),
        pytest.param(60, 3_600, True, id="old-and-still-valid"),
        pytest.param(60, 2 * 86_400, False, id="days-old"),
        pytest.param(600, -60 - SLACK_S, False, id="from-the-future"),
    ],
)
@pytest.mark.parametrize("method", ["get_balance", "make_invoice"])
async def test_expired_request_is_ignored_and_a_valid_one_is_not(
    method: str, in_s: int, age_s: int, answered: bool, client: Client
) -> None:
    """NIP-47: "If the request is received after this timestamp, it should be ignored". Section
    4, "expired request": "ignored silently"."""
    expiration = str(now() + in_s)

    assert await is_answered(client, method, age_s=age_s, expiration=expiration) is answered


@pytest.mark.parametrize(
    "expiration",
    [
        "",
        "soon",
        "-1",
        "1e12",
        "99999999999.5",
        " 99999999999",
        "٩٩٩٩٩٩٩٩٩٩٩",
        "²",
        "0x9999999999",
    ],
)
async def test_an_expiration_that_cannot_be_read_makes_the_request_ignored(
    expiration: str, client: Client
) -> None:
    """Nobody can tell until when it was meant."""
    assert not await is_answered(client, "get_balance", expiration=expiration)


async def test_an_expiration_of_a_thousand_digits_is_read(client: Client) -> None:
    assert await is_answered(client, "get_balance", expiration="9" * 1_000)


async def test_an_ignored_request_leaves_nothing(
    wallet: WalletInProcess, client: Client
) -> None:
    """Section 4, "expired request": "ignored silently"."""
    before = await claims(wallet)

    await is_answered(client, "make_invoice", expiration=str(now() - 1))
    await is_answered(client, "make_invoice", age_s=125)

    assert client.events == []
    assert await claims(wallet) == before


# --- what comes twice


async def test_a_repeated_read_is_not_answered_again(client: Client) -> None:
    request = client.build_request("get_balance")

    await client.answers(request)
    await client.answers(request)

    assert len(client.events) == 1


@pytest.mark.parametrize(
    ("method", "params"),
    [
        pytest.param("make_invoice", {"amount": 1_000}, id="an-invoice"),
        pytest.param("make_invoice", {"amount": 0}, id="a-refusal"),
        pytest.param("pay_invoice", {"invoice": "lnbcrt1"}, id="a-refused-payment"),
    ],
)
async def test_a_repeated_change_gets_its_stored_answer_byte_for_byte(
    method: str, params: dict[str, object], client: Client
) -> None:
    request = client.build_request(method, params)

    await client.answers(request)
    await client.answers(request)

    first, second = answer_events(client)
    assert first == second


@pytest.mark.attack("A26")
async def test_a_repeated_payment_pays_once(client: Client, wallet: WalletInProcess) -> None:
    request = client.build_request(
        "pay_invoice", {"invoice": await wallet.outside_invoice(100_000)}
    )

    for _ in range(3):
        await client.answers(request)

    assert await client.balance_msat() == 100_000_000 - 101_000
    assert len({event.id for event in answer_events(client)}) == 1


async def test_many_copies_at_once_pay_once(client: Client, wallet: WalletInProcess) -> None:
    request = client.build_request(
        "pay_invoice", {"invoice": await wallet.outside_invoice(100_000)}
    )

    for _ in range(10):
        wallet.submit(request)
    await wallet.idle()

    assert await client.balance_msat() == 100_000_000 - 101_000
    assert len({event.id for event in answer_events(client)}) == 1


async def test_a_refused_payment_stays_refused_when_it_comes_again(
    wallet: WalletInProcess,
) -> None:
    client = await wallet.connect(await wallet.account(credit_msat=0))
    donor = await wallet.connect()
    request = client.build_request(
        "pay_invoice", {"invoice": await wallet.outside_invoice(100_000)}
    )

    [refused] = await client.answers(request)
    await donor.pay(await client.invoice(1_000_000))
    await client.answers(request)

    assert refused.error_code == "INSUFFICIENT_BALANCE"
    assert [answer.event.id for answer in client.responses_to(request.id)] == [refused.event.id]
    assert await client.balance_msat() == 1_000_000


# --- rates


async def test_too_many_requests_are_told_rate_limited_at_a_bounded_rate(
    client: Client,
) -> None:
    """NIP-47: "`RATE_LIMITED`: The client is sending commands too fast"."""
    requests = [client.build_request("get_balance") for _ in range(300)]

    for request in requests:
        await client.send_event(request)
    await client.wallet.idle()

    codes = [code for request in requests for code in codes_of(client, request)]
    assert 100 <= codes.count(None) <= 140
    assert 50 <= codes.count("RATE_LIMITED") <= 60
    assert set(codes) == {None, "RATE_LIMITED"}


@pytest.mark.attack("A28")
async def test_a_read_that_was_dropped_for_its_rate_is_answered_when_it_comes_again(
    client: Client,
) -> None:
    requests = [client.build_request("get_balance") for _ in range(300)]
    for request in requests:
        await client.send_event(request)
    await client.wallet.idle()
    dropped = next(request for request in requests if not codes_of(client, request))
    await asyncio.sleep(0.2)  # there is room for some again

    await client.answers(dropped)

    assert codes_of(client, dropped) == [None]


@pytest.mark.attack("A28")
async def test_one_who_is_limited_limits_nobody_else(
    client: Client, wallet: WalletInProcess
) -> None:
    other = await wallet.connect(client.account)
    for _ in range(150):
        await client.send_event(client.build_request("get_balance"))

    opened = await other.request("get_balance")

    assert opened.error_code is None


async def test_a_payment_refused_for_its_rate_is_never_paid(
    client: Client, wallet: WalletInProcess
) -> None:
    invoice = await wallet.outside_invoice(100_000)
    request = client.build_request("pay_invoice", {"invoice": invoice})
    # As many as one connection may send at once, so fast that no room comes back meanwhile.
    for event in [client.build_request("get_balance") for _ in range(100)]:
        wallet.submit(event)

    await client.answers(request)
    await client.answers(request)

    assert codes_of(client, request) == ["RATE_LIMITED"]
    assert await client.balance_msat() == 100_000_000


@pytest.mark.attack("A26", "A28")
async def test_replays_of_what_a_relay_has_kept_are_answered_at_a_bounded_rate(
    client: Client,
) -> None:
    request = client.build_request("make_invoice", {"amount": 1_000})
    await client.answers(request)

    for _ in range(200):
        await client.send_event(request)
    await client.wallet.idle()

    assert len(client.events) <= 60
    assert (await client.request("get_balance")).error_code is None


async def claims(wallet: WalletInProcess) -> int:
    row = await wallet.db.read(lambda tx: tx.one("SELECT count(*) AS rows FROM request"))
    return int(row["rows"]) if row else 0


def codes_of(client: Client, request: Event) -> list[str | None]:
    return [answer.error_code for answer in client.responses_to(request.id)]


def answer_events(client: Client) -> list[Event]:
    return [event for event in client.events if event.kind == 23195]
