"""One request event, one payment, one answer: repeated, raced, refused, forged, too late."""

import asyncio
import os
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from secrets import token_hex

import pytest
import pytest_asyncio

from nwc_service.nip47 import kinds
from nwc_service.nostr.event import Event, sign_event
from nwc_service.nostr.keys import Keypair
from tests.clients.client import JsonObject
from tests.clients.raw import RawClient, raw_client
from tests.e2e.conftest import rows
from tests.e2e.money import FEE_MSAT, FEE_RESERVE_MSAT, send_without_waiting, sends_of
from tests.e2e.service import ServiceProcess

pytestmark = pytest.mark.asyncio(loop_scope="module")

AMOUNT_MSAT = 50_000
HELD_MSAT = AMOUNT_MSAT + FEE_RESERVE_MSAT
SPENT_MSAT = AMOUNT_MSAT + FEE_MSAT
CREDIT_MSAT = 10 * HELD_MSAT
QUIET_S = 0.3


@pytest_asyncio.fixture(loop_scope="module")
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as opened:
        yield opened


@pytest.fixture
def name() -> str:
    return f"user-{token_hex(4)}"


@pytest_asyncio.fixture(loop_scope="module")
async def uri(service: ServiceProcess, name: str) -> str:
    """Of an app on a new account that has CREDIT_MSAT."""
    await service.create_account(name, credit_msat=CREDIT_MSAT)
    return await service.connect(name)


@pytest_asyncio.fixture(loop_scope="module")
async def alice(uri: str, stack: AsyncExitStack) -> RawClient:
    return await stack.enter_async_context(raw_client(uri))


async def an_invoice(
    service: ServiceProcess, *, hold: bool = False, amount_msat: int = AMOUNT_MSAT
) -> JsonObject:
    return await service.sandbox("invoice", amount_msat=amount_msat, hold=hold)


def payment_of(client: RawClient, invoice: JsonObject, **others: int | None) -> Event:
    return client.build_request(
        "pay_invoice",
        {"invoice": invoice["invoice"]},
        created_at=others.get("created_at"),
        expiration=others.get("expiration"),
    )


async def money(service: ServiceProcess, name: str) -> tuple[int, int]:
    account = await service.account(name)
    return account["available_msat"], account["held_msat"]


def claimed(service: ServiceProcess, event: Event) -> bool:
    return rows(service, "SELECT 1 FROM request WHERE request_id = ?", event.id) != []


# --- the same event again


@pytest.mark.attack("A26")
async def test_the_same_event_from_two_sockets_at_once_is_one_payment(
    service: ServiceProcess, name: str, uri: str, alice: RawClient, stack: AsyncExitStack
) -> None:
    second_socket = await stack.enter_async_context(raw_client(uri))
    invoice = await an_invoice(service)
    event = payment_of(alice, invoice)

    await asyncio.gather(
        *(send_without_waiting(client, event) for client in (alice, second_socket) * 5)
    )
    await asyncio.gather(*(c.response_to(event.id) for c in (alice, second_socket)))
    await asyncio.sleep(QUIET_S)

    [answer] = alice.responses_to(event.id)
    assert second_socket.responses_to(event.id) == [answer]
    assert await sends_of(service, invoice["payment_hash"]) == ["settled"]
    assert await money(service, name) == (CREDIT_MSAT - SPENT_MSAT, 0)


@pytest.mark.attack("A26")
async def test_the_same_event_after_its_answer_and_after_a_restart_gets_the_same_bytes(
    service: ServiceProcess, name: str, uri: str
) -> None:
    invoice = await an_invoice(service)
    events = []
    async with raw_client(uri) as client:
        request = payment_of(client, invoice)
        for _ in range(2):
            await client.send_event(request)
            events.append((await client.response_to(request.id)).event)
    for end in (service.stop, service.kill):
        await end()
        await service.start()
        async with raw_client(uri) as client:
            await client.send_event(request)
            events.append((await client.response_to(request.id)).event)
            await asyncio.sleep(QUIET_S)
            events += [answer.event for answer in client.responses_to(request.id)]

    assert len({event.to_json() for event in events}) == 1
    assert await sends_of(service, invoice["payment_hash"]) == ["settled"]
    assert await money(service, name) == (CREDIT_MSAT - SPENT_MSAT, 0)


@pytest.mark.attack("A26")
async def test_a_refused_event_is_not_executed_once_the_money_is_there(
    service: ServiceProcess, name: str, uri: str
) -> None:
    invoice = await an_invoice(service, amount_msat=2 * CREDIT_MSAT)
    async with raw_client(uri) as client:
        request = payment_of(client, invoice)
        await client.send_event(request)
        refused = await client.response_to(request.id)
    await service.call(
        "POST", f"accounts/{name}/credit", amount_msat=10 * CREDIT_MSAT, reason="a test"
    )
    await service.kill()
    await service.start()

    async with raw_client(uri) as client:
        await client.send_event(request)
        again = await client.response_to(request.id)

    assert refused.error_code == "INSUFFICIENT_BALANCE"
    assert again.event == refused.event
    assert await sends_of(service, invoice["payment_hash"]) == []
    assert await money(service, name) == (11 * CREDIT_MSAT, 0)


# --- another event for the same invoice


@pytest.mark.attack("A1")
async def test_two_events_for_an_invoice_in_flight_get_one_result_and_one_debit(
    service: ServiceProcess, name: str, alice: RawClient
) -> None:
    invoice = await an_invoice(service, hold=True)
    events = [payment_of(alice, invoice) for _ in range(3)]
    for event in events:
        await alice.send_event(event)
    await asyncio.sleep(QUIET_S)
    meanwhile = [alice.responses_to(event.id) for event in events]

    await service.sandbox("settle", payment_hash=invoice["payment_hash"])
    answers = [await alice.response_to(event.id) for event in events]

    assert meanwhile == [[], [], []]
    assert answers[0].result == answers[1].result == answers[2].result
    assert await sends_of(service, invoice["payment_hash"]) == ["settled"]
    assert await money(service, name) == (CREDIT_MSAT - SPENT_MSAT, 0)


@pytest.mark.attack("A12")
async def test_an_invoice_paid_before_gives_its_result_to_its_account_and_to_no_other(
    service: ServiceProcess, name: str, alice: RawClient, stack: AsyncExitStack
) -> None:
    other = f"user-{token_hex(4)}"
    await service.create_account(other, credit_msat=CREDIT_MSAT)
    mallory = await stack.enter_async_context(raw_client(await service.connect(other)))
    invoice = await an_invoice(service)
    params = {"invoice": invoice["invoice"]}

    first = await alice.request("pay_invoice", params)
    again = await alice.request("pay_invoice", params)
    of_another = await mallory.request("pay_invoice", params)

    assert again.result == first.result
    assert of_another.error_code == "OTHER"
    assert await sends_of(service, invoice["payment_hash"]) == ["settled"]
    assert await money(service, name) == (CREDIT_MSAT - SPENT_MSAT, 0)
    assert await money(service, other) == (CREDIT_MSAT, 0)


# --- more at once than there is


@pytest.mark.attack("A1")
async def test_fifty_payments_at_once_spend_exactly_what_the_account_has(
    service: ServiceProcess, name: str, alice: RawClient, stack: AsyncExitStack
) -> None:
    second_app = await stack.enter_async_context(raw_client(await service.connect(name)))
    asked = [
        (app, payment_of(app, invoice), invoice)
        for app in (alice, second_app)
        for invoice in [await an_invoice(service, hold=True) for _ in range(25)]
    ]

    await asyncio.gather(*(app.send_event(event) for app, event, _ in asked))
    await asyncio.sleep(2 * QUIET_S)
    refused = [answer for app, event, _ in asked for answer in app.responses_to(event.id)]
    held = await money(service, name)
    for app, event, invoice in asked:
        if not app.responses_to(event.id):
            await service.sandbox("settle", payment_hash=invoice["payment_hash"])
    answers = [await app.response_to(event.id) for app, event, _ in asked]

    assert Counter(a.error_code for a in refused) == {"INSUFFICIENT_BALANCE": 40}
    assert held == (0, CREDIT_MSAT)
    assert Counter(a.error_code for a in answers) == {None: 10, "INSUFFICIENT_BALANCE": 40}
    assert await money(service, name) == (CREDIT_MSAT - 10 * SPENT_MSAT, 0)


@pytest.mark.attack("A1")
async def test_two_budgets_on_one_account_are_each_kept_while_both_are_used_at_once(
    service: ServiceProcess, name: str, uri: str, stack: AsyncExitStack
) -> None:
    limits = {3: 3 * HELD_MSAT, 4: 5 * HELD_MSAT - 1}
    apps = [
        await stack.enter_async_context(
            raw_client(await service.connect(name, budget_msat=limit, budget_renewal="daily"))
        )
        for limit in limits.values()
    ]
    invoices = [[await an_invoice(service, hold=True) for _ in range(8)] for _ in apps]
    events = [
        [payment_of(app, invoice) for invoice in of_app]
        for app, of_app in zip(apps, invoices, strict=True)
    ]

    pairs = [(app, e) for app, of_app in zip(apps, events, strict=True) for e in of_app]
    await asyncio.gather(*(app.send_event(event) for app, event in pairs))
    await asyncio.sleep(2 * QUIET_S)

    held = [
        sum(not app.responses_to(event.id) for event in of_app)
        for app, of_app in zip(apps, events, strict=True)
    ]
    codes = {a.error_code for app, event in pairs for a in app.responses_to(event.id)}
    assert held == [*limits]
    assert codes == {"QUOTA_EXCEEDED"}
    assert await money(service, name) == (CREDIT_MSAT - 7 * HELD_MSAT, 7 * HELD_MSAT)
    for invoice in (one for of_app in invoices for one in of_app):
        if await sends_of(service, invoice["payment_hash"]):
            await service.sandbox("cancel", payment_hash=invoice["payment_hash"])
    await asyncio.gather(*(app.response_to(event.id) for app, event in pairs))
    assert await money(service, name) == (CREDIT_MSAT, 0)


# --- not in its time, or not allowed any more


@pytest.mark.attack("A26")
@pytest.mark.parametrize(
    ("age_s", "expires_in_s"),
    [
        pytest.param(125, None, id="older-than-two-minutes"),
        pytest.param(400, None, id="older-than-the-relay-keeps"),
        pytest.param(-70, None, id="more-than-a-minute-ahead"),
        pytest.param(0, -1, id="expired"),
        pytest.param(-70, 3600, id="ahead-and-not-expired"),
    ],
)
async def test_an_event_out_of_its_time_is_ignored(
    service: ServiceProcess,
    name: str,
    alice: RawClient,
    age_s: int,
    expires_in_s: int | None,
) -> None:
    now = int(time.time())
    expiration = None if expires_in_s is None else now + expires_in_s
    invoice = await an_invoice(service)
    event = payment_of(alice, invoice, created_at=now - age_s, expiration=expiration)

    await alice.send_event(event)
    await asyncio.sleep(QUIET_S)

    assert alice.responses_to(event.id) == []
    assert not claimed(service, event)
    assert await sends_of(service, invoice["payment_hash"]) == []
    assert await money(service, name) == (CREDIT_MSAT, 0)


async def test_a_revoked_connection_pays_nothing(
    service: ServiceProcess, name: str, alice: RawClient
) -> None:
    [mine] = (await service.call("GET", f"connections?account={name}"))["items"]
    await service.call("POST", f"connections/{mine['connection_id']}/revoke")
    invoice = await an_invoice(service)

    answer = await alice.request("pay_invoice", {"invoice": invoice["invoice"]})

    assert answer.error_code == "UNAUTHORIZED"
    assert not claimed(service, answer.event)
    assert await money(service, name) == (CREDIT_MSAT, 0)


# --- forged


def with_a_flipped_signature(event: Event) -> Event:
    flipped = f"{int(event.sig[0], 16) ^ 1:x}{event.sig[1:]}"
    return replace(event, sig=flipped)


def signed_by(event: Event, keypair: Keypair, *, wallet_pubkey: str | None = None) -> Event:
    tags = [
        ("p", wallet_pubkey) if tag[0] == "p" and wallet_pubkey else tag for tag in event.tags
    ]
    return sign_event(
        keypair,
        kind=event.kind,
        content=event.content,
        tags=tags,
        created_at=event.created_at,
        aux=os.urandom(32),
    )


def forgeries(event: Event, *, stranger_uri: str) -> list[Event]:
    stranger = RawClient(stranger_uri)
    return [
        with_a_flipped_signature(event),
        replace(event, pubkey=stranger.keypair.public_key),
        replace(event, content=event.content[:-4] + "AAA="),
        replace(event, id="00" * 32),
        signed_by(event, stranger.keypair),
        signed_by(event, Keypair(os.urandom(32))),
        signed_by(event, Keypair(os.urandom(32)), wallet_pubkey="ab" * 32),
        replace(event, kind=kinds.RESPONSE),
    ]


@pytest.mark.attack("A28")
async def test_what_is_forged_costs_no_row_no_answer_and_no_line_in_the_log(
    service: ServiceProcess, name: str, alice: RawClient
) -> None:
    stranger_uri = await service.connect(name)
    event = payment_of(alice, await an_invoice(service))
    forged = forgeries(event, stranger_uri=stranger_uri)
    await asyncio.sleep(QUIET_S)
    before = (rows(service, "SELECT count(*) FROM request"), service.log_text())

    said = [await alice.send_event(each) for each in forged]
    await asyncio.sleep(QUIET_S)

    assert [one.accepted for one in said] == [False] * len(forged)
    assert (rows(service, "SELECT count(*) FROM request"), service.log_text()) == before
    assert [alice.responses_to(each.id) for each in forged] == [[]] * len(forged)


@pytest.mark.attack("A28")
async def test_a_forged_event_with_the_id_of_a_genuine_one_does_not_burn_it(
    service: ServiceProcess, alice: RawClient
) -> None:
    invoice = await an_invoice(service)
    event = payment_of(alice, invoice)

    forged = await alice.send_event(with_a_flipped_signature(event))
    await alice.send_event(event)

    assert not forged.accepted
    assert (await alice.response_to(event.id)).result["fees_paid"] == FEE_MSAT
    assert await sends_of(service, invoice["payment_hash"]) == ["settled"]


async def test_garbage_is_answered_at_most_once_a_second_and_leaves_no_row(
    service: ServiceProcess, alice: RawClient
) -> None:
    before = rows(service, "SELECT count(*) FROM request")
    garbage = [
        alice.conversation.sign(content, kind=kinds.REQUEST, tags=alice.request_tags(scheme))
        for content, scheme in [
            ("", "nip44_v2"),
            ("not a ciphertext", "nip44_v2"),
            ("A" * 60_000, "nip44_v2"),
            ("AgAAAA==", "nip44_v2"),
            ("?iv=", "nip04"),
            ("AAAA?iv=AAAA", "nip04"),
            (alice.conversation.encrypt("not JSON", "nip44_v2"), "nip44_v2"),
            (alice.conversation.encrypt('{"method":"pay_invoice"', "nip04"), "nip04"),
            (alice.conversation.encrypt("[]", "nip44_v2"), "nip44_v2"),
            (alice.conversation.encrypt('{"params":{}}', "nip44_v2"), "nip44_v2"),
        ]
    ]

    for event in garbage:
        await alice.send_event(event)
    await asyncio.sleep(QUIET_S)

    answers = [answer for event in garbage for answer in alice.responses_to(event.id)]
    assert [answer.error_code for answer in answers] == ["OTHER"]
    assert answers[0].payload["result_type"] == ""
    assert rows(service, "SELECT count(*) FROM request") == before
    assert (await alice.request("get_balance")).result["balance"] == CREDIT_MSAT
