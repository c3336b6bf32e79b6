"""Every library against the real service: each method that it has, over each encryption that it
speaks, notifications, refusals, and a payment that it does not wait for.

docs/clients.md is written from what these tests find: `python -m tests.clients.matrix`.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from secrets import token_bytes

import pytest
import pytest_asyncio

from nwc_service.methods import METHODS
from nwc_service.wallet import bolt11
from tests.clients.apps import CREDIT_MSAT, App, Apps, Drivers
from tests.clients.cases import Case, cases, every_case
from tests.clients.checks import (
    AMOUNT_MSAT,
    CHECKS,
    COST_MSAT,
    accepted,
    has,
    wishes,
)
from tests.clients.client import NO_ANSWER, ClientError, JsonObject
from tests.clients.raw import ConnectionUri
from tests.e2e.conftest import node_holds, node_rows, proves, until
from tests.e2e.service import ServiceProcess

pytestmark = pytest.mark.asyncio(loop_scope="module")

HEARD_TIMEOUT_S = 15
CHOSEN_S = 2
SLACK_S = 10


async def test_every_method_has_a_check() -> None:
    assert METHODS.keys() <= CHECKS.keys()


@every_case("method")
async def test_a_method_does_what_it_says(case: Case, apps: Apps) -> None:
    app = await apps.open(case.library, case.encryption, **wishes(case.row))

    await CHECKS[case.row](app)

    assert await schemes(app) == {case.encryption}


@every_case("notification")
async def test_a_notification_is_heard(case: Case, apps: Apps) -> None:
    app = await apps.open(case.library, case.encryption, **wishes(case.row))
    heard = await app.client.notifications()

    payment_hash = await HAPPENINGS[case.row](app)

    news = await asyncio.wait_for(heard.get(), HEARD_TIMEOUT_S)
    told = news["notification"]
    assert news["notification_type"] == case.row
    assert (told["payment_hash"], told["amount"]) == (payment_hash, AMOUNT_MSAT)
    assert told["type"] == ("outgoing" if case.row == "payment_sent" else "incoming")


@every_case("connection")
async def test_an_app_connects_with_a_link_of_its_own(
    case: Case, service: ServiceProcess, drivers: Drivers
) -> None:
    name = f"linked-{case.library.module}"
    await service.create_account(name, credit_msat=CREDIT_MSAT)
    relay = ConnectionUri.parse(await service.connect(name)).relays[0]
    methods = ["get_balance", "get_info"]

    async with drivers.asking(case.library, relay=relay, requestMethods=methods) as client:
        link = (await client.call("link"))["link"]
        granted = await service.call("POST", "links/accept", link=link, account=name)
        await client.call("granted")
        balance_msat = await client.balance()
        with pytest.raises(ClientError, match="make_invoice"):
            await client.make_invoice(AMOUNT_MSAT)

    assert link.startswith("nostr+walletauth://")
    assert set(granted["scopes"]) == set(methods)
    assert balance_msat == CREDIT_MSAT


@every_case("refusal")
async def test_a_refusal_is_told_and_costs_nothing(case: Case, apps: Apps) -> None:
    app = await apps.open(case.library, case.encryption, **REFUSED_BY.get(case.row, {}))

    with pytest.raises(ClientError) as refused:
        await REFUSED[case.row](app)

    assert refused.value.code == (case.row if case.library.tells_codes else "OTHER")
    assert await app.balance_msat() == CREDIT_MSAT
    assert await schemes(app) == {case.encryption}


@every_case("patience")
async def test_a_payment_is_right_however_long_its_client_waits(
    case: Case, slow_payments: Mapping[Case, asyncio.Task[None]]
) -> None:
    """\"outcome not known yet | no answer until final, however late; lookup shows pending\"."""
    await slow_payments[case]


@pytest_asyncio.fixture(scope="module", loop_scope="module", autouse=True)
async def slow_payments(
    service: ServiceProcess, drivers: Drivers
) -> AsyncIterator[Mapping[Case, asyncio.Task[None]]]:
    """All at once, beside the other tests: one library waits for a minute."""
    async with AsyncExitStack() as stack:
        apps = Apps(service, drivers, stack)
        paying = {
            case: asyncio.create_task(slow_payment(case, apps)) for case in cases("patience")
        }
        yield paying
        for task in paying.values():
            task.cancel()
        await asyncio.gather(*paying.values(), return_exceptions=True)


async def slow_payment(case: Case, apps: Apps) -> None:
    patience_s = case.library.patience_s
    told_s = CHOSEN_S if patience_s is None and case.library.patience_is_chosen else None
    app = await apps.open(case.library, case.encryption, timeout_s=told_s)
    held = await app.service.sandbox("invoice", amount_msat=AMOUNT_MSAT, hold=True)
    first = asyncio.create_task(app.client.pay_invoice(held["invoice"]))
    await node_holds(app.service, held["payment_hash"])
    if case.library.gives_up:
        await gives_up(first, after_s=patience_s or CHOSEN_S)
    waiting = await app.ask_raw("lookup_invoice", payment_hash=held["payment_hash"])

    await app.service.sandbox("settle", payment_hash=held["payment_hash"])
    await until(lambda: is_settled(app, held["payment_hash"]))
    paid = await app.client.pay_invoice(held["invoice"])

    assert waiting["state"] == "pending"
    assert proves(paid["preimage"], held["payment_hash"])
    assert case.library.gives_up or await first == paid
    assert await app.balance_msat() == CREDIT_MSAT - COST_MSAT
    assert await node_rows(app.service, held["payment_hash"]) == [
        ("outgoing", AMOUNT_MSAT, COST_MSAT - AMOUNT_MSAT, "settled")
    ]


async def gives_up(paying: asyncio.Task[JsonObject], *, after_s: int) -> None:
    start_s = time.monotonic()
    with pytest.raises(ClientError) as given_up:
        await paying
    assert given_up.value.code == NO_ANSWER
    waited_s = time.monotonic() - start_s
    assert after_s - SLACK_S < waited_s < after_s + SLACK_S


async def is_settled(app: App, payment_hash: str) -> bool:
    found = await app.ask_raw("lookup_invoice", payment_hash=payment_hash)
    return bool(found["state"] == "settled")


async def schemes(app: App) -> set[str]:
    """Over which encryptions the library has asked; the relay tells them in its own time."""

    async def told() -> bool:
        return bool(app.wire.requests)

    await until(told)
    return app.wire.schemes()


async def receives(app: App) -> str:
    made = await app.ask_raw("make_invoice", amount=AMOUNT_MSAT)
    await app.outside.pay(made["invoice"])
    return str(made["payment_hash"])


async def sends(app: App) -> str:
    invoice = await app.outside.make_invoice(AMOUNT_MSAT)
    await app.ask_raw("pay_invoice", invoice=invoice)
    return bolt11.decode(invoice).payment_hash


async def holds(app: App) -> str:
    preimage = token_bytes(32)
    payment_hash = await accepted(app, preimage)
    await app.ask_raw("settle_hold_invoice", preimage=preimage.hex())
    await has(app, CREDIT_MSAT + AMOUNT_MSAT)
    return payment_hash


HAPPENINGS: Mapping[str, Callable[[App], Awaitable[str]]] = {
    "payment_received": receives,
    "payment_sent": sends,
    "hold_invoice_accepted": holds,
}


async def pays(app: App) -> JsonObject:
    return await app.client.pay_invoice(await app.outside.make_invoice(AMOUNT_MSAT))


async def pays_too_much(app: App) -> JsonObject:
    return await app.client.pay_invoice(await app.outside.make_invoice(CREDIT_MSAT + 1))


async def pays_in_vain(app: App) -> JsonObject:
    made = await app.service.sandbox("invoice", amount_msat=AMOUNT_MSAT, fail=True)
    return await app.client.pay_invoice(made["invoice"])


async def looks_for_nothing(app: App) -> JsonObject:
    return await app.client.lookup_invoice(payment_hash="ab" * 32)


REFUSED: Mapping[str, Callable[[App], Awaitable[JsonObject]]] = {
    "PAYMENT_FAILED": pays_in_vain,
    "INSUFFICIENT_BALANCE": pays_too_much,
    "QUOTA_EXCEEDED": pays,
    "NOT_FOUND": looks_for_nothing,
    "RESTRICTED": pays,
}

REFUSED_BY: Mapping[str, JsonObject] = {
    "QUOTA_EXCEEDED": {"budget_msat": AMOUNT_MSAT, "budget_renewal": "never"},
    "RESTRICTED": {"scopes": "read"},
}
"""What the connection is like, for what is refused because of it."""
