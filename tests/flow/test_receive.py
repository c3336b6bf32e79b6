"""Money in: each settlement is credited once, to whom it belongs, whatever else happened."""

import asyncio
from dataclasses import replace

import pytest

from nwc_service import reconciler
from nwc_service.backend import BackendUnavailable, Cursor, InvoiceStatus, Unsupported
from nwc_service.credit import NOTIFY_ATTEMPTS
from nwc_service.restore import Mark
from nwc_service.wallet.payment import CLOCK_SKEW_S
from nwc_service.wallet.units import MAX_MSAT, PaymentHash
from tests.doubles.scripted_backend import ScriptedBackend, hash_of, preimage_of
from tests.flow.conftest import CREDIT_MSAT, Open
from tests.flow.parties import Client, JsonObject
from tests.flow.world import World, reconciling, until

AMOUNT_MSAT = 100_000
EXPIRED_FOR_GOOD_S = 2 * 3600


async def invoice_of(world: World, client: Client) -> JsonObject:
    return await world.invoice(client, AMOUNT_MSAT)


def hash_in(made: JsonObject) -> PaymentHash:
    return PaymentHash(made["payment_hash"])


async def state_of(world: World, client: Client, made: JsonObject) -> str:
    answer = await world.call(client, "lookup_invoice", {"invoice": made["invoice"]})
    return str(answer["result"]["state"])


def received(world: World, client: Client) -> list[int]:
    return [
        notification["notification"]["amount"]
        for notification in world.notifications(client)
        if notification["notification_type"] == "payment_received"
    ]


@pytest.mark.attack("A15")
async def test_a_settlement_reported_again_and_again_is_credited_and_told_once(
    world: World, alice: Client, backend: ScriptedBackend
) -> None:
    report = backend.receive(hash_in(await invoice_of(world, alice)))

    for cursor in (None, Cursor("1"), Cursor("2"), Cursor("1")):
        await world.crediter.credit(backend.name, report, cursor=cursor)
    await world.tasks.idle()
    await world.reconciler.sweep_invoices(backend.name)

    assert await world.money("alice") == (CREDIT_MSAT + AMOUNT_MSAT, 0)
    assert received(world, alice) == [AMOUNT_MSAT]
    assert await world.book("node:node") == -AMOUNT_MSAT
    assert await world.problems() == ()


@pytest.mark.attack("A15")
async def test_many_reports_of_one_settlement_at_once_are_credited_once(
    world: World, alice: Client, backend: ScriptedBackend
) -> None:
    report = backend.receive(hash_in(await invoice_of(world, alice)))

    for _ in range(10):
        world.tasks.spawn(world.crediter.credit(backend.name, report))
    await world.tasks.idle()

    assert await world.money("alice") == (CREDIT_MSAT + AMOUNT_MSAT, 0)
    assert world.tasks.failures == []


@pytest.mark.attack("A22")
@pytest.mark.parametrize("status", [s for s in InvoiceStatus if s != InvoiceStatus.SETTLED])
async def test_nothing_is_credited_before_the_node_says_settled(
    world: World, alice: Client, backend: ScriptedBackend, status: InvoiceStatus
) -> None:
    settled = backend.receive(hash_in(await invoice_of(world, alice)))

    await world.crediter.credit(backend.name, replace(settled, status=status))

    assert await world.money("alice") == (CREDIT_MSAT, 0)


@pytest.mark.attack("A18")
@pytest.mark.parametrize(
    "arrived_msat",
    [
        pytest.param(2 * AMOUNT_MSAT, id="overpaid"),
        pytest.param(1, id="underpaid"),
        pytest.param(AMOUNT_MSAT, id="as-asked"),
    ],
)
async def test_what_arrived_is_credited_and_told_not_what_was_asked(
    world: World, alice: Client, backend: ScriptedBackend, arrived_msat: int
) -> None:
    report = backend.receive(hash_in(await invoice_of(world, alice)), arrived_msat)

    await world.crediter.credit(backend.name, report)
    await world.tasks.idle()

    assert await world.money("alice") == (CREDIT_MSAT + arrived_msat, 0)
    assert received(world, alice) == [arrived_msat]
    assert await world.problems() == ()


@pytest.mark.attack("A20")
async def test_a_settlement_that_nobody_asked_for_waits_in_suspense(
    world: World, alice: Client, backend: ScriptedBackend
) -> None:
    made = await invoice_of(world, alice)
    stranger = replace(
        backend.receive(hash_in(made)), payment_hash=hash_of(preimage_of(9)), invoice="lnbcrt"
    )

    for _ in range(2):
        await world.crediter.credit(backend.name, stranger)

    assert await world.money("alice") == (CREDIT_MSAT, 0)
    assert await world.book("suspense") == AMOUNT_MSAT
    assert await world.owed_msat() == CREDIT_MSAT + AMOUNT_MSAT
    assert await world.problems() == ()


@pytest.mark.attack("A11")
async def test_an_invoice_paid_inside_and_then_from_outside_is_credited_twice(
    world: World, alice: Client, bob: Client, backend: ScriptedBackend
) -> None:
    made = await invoice_of(world, alice)
    await world.call(bob, "pay_invoice", {"invoice": made["invoice"]})
    report = backend.receive(hash_in(made))

    for _ in range(2):
        await world.crediter.credit(backend.name, report)
    await world.tasks.idle()

    assert await world.money("alice") == (CREDIT_MSAT + 2 * AMOUNT_MSAT, 0)
    assert await world.money("bob") == (CREDIT_MSAT - AMOUNT_MSAT, 0)
    assert received(world, alice) == [AMOUNT_MSAT, AMOUNT_MSAT]
    assert await world.problems() == ()


@pytest.mark.attack("A11")
async def test_an_invoice_paid_from_outside_is_not_paid_again_inside(
    world: World, alice: Client, bob: Client, backend: ScriptedBackend
) -> None:
    made = await invoice_of(world, alice)
    await world.crediter.credit(backend.name, backend.receive(hash_in(made)))

    answer = await world.call(bob, "pay_invoice", {"invoice": made["invoice"]})

    assert answer["error"]["code"] == "OTHER"
    assert await world.money("bob") == (CREDIT_MSAT, 0)
    assert backend.sent == []


@pytest.mark.attack("A11")
async def test_an_invoice_paid_inside_is_cancelled_at_its_node_until_that_succeeds(
    world: World, alice: Client, bob: Client, backend: ScriptedBackend
) -> None:
    made = await invoice_of(world, alice)
    await world.call(bob, "pay_invoice", {"invoice": made["invoice"]})

    for _ in range(2):
        await world.reconciler.cancel_invoices(backend.name)

    assert backend.canceled == [made["payment_hash"]]


@pytest.mark.attack("A10")
async def test_an_invoice_that_expired_here_is_credited_when_the_node_settles_it_late(
    world: World, alice: Client, backend: ScriptedBackend
) -> None:
    made = await invoice_of(world, alice)
    world.clock.advance(2 * EXPIRED_FOR_GOOD_S)
    await world.reconciler.sweep_invoices(backend.name)
    expired = await state_of(world, alice, made)

    await world.crediter.credit(backend.name, backend.receive(hash_in(made)))
    await world.tasks.idle()

    assert expired == "expired"
    assert await state_of(world, alice, made) == "settled"
    assert await world.money("alice") == (CREDIT_MSAT + AMOUNT_MSAT, 0)
    assert received(world, alice) == [AMOUNT_MSAT]


@pytest.mark.attack("A10")
async def test_an_expired_invoice_is_not_paid_inside(
    world: World, alice: Client, bob: Client
) -> None:
    made = await invoice_of(world, alice)
    world.clock.advance(3600)

    answer = await world.call(bob, "pay_invoice", {"invoice": made["invoice"]})

    assert answer["error"]["code"] == "OTHER"
    assert await world.money("bob") == (CREDIT_MSAT, 0)


@pytest.mark.attack("A19")
async def test_a_preimage_is_shown_only_once_the_money_is_here(
    world: World, alice: Client, backend: ScriptedBackend
) -> None:
    made = await invoice_of(world, alice)
    report = backend.receive(hash_in(made))
    before = await world.call(alice, "lookup_invoice", {"invoice": made["invoice"]})

    await world.crediter.credit(backend.name, report)

    after = await world.call(alice, "lookup_invoice", {"invoice": made["invoice"]})
    assert (made["preimage"], before["result"]["preimage"]) == ("", "")
    assert hash_of(after["result"]["preimage"]) == made["payment_hash"]


# --- the stream and the sweep


@pytest.mark.attack("A16")
async def test_the_stream_goes_on_after_a_restart_where_it_was_credited(
    start: Open, backend: ScriptedBackend
) -> None:
    async with start() as world:
        await world.account("alice")
        alice = await world.connect("alice")
        for _ in range(2):
            backend.receive(hash_in(await invoice_of(world, alice)))
        async with reconciling(world):
            await until(lambda: _has(world, 2 * AMOUNT_MSAT))
        backend.receive(hash_in(await invoice_of(world, alice)))

    async with start() as world, reconciling(world):
        await until(lambda: _has(world, 3 * AMOUNT_MSAT))

        assert await world.problems() == ()
        assert len(received(world, alice)) == 3


@pytest.mark.attack("A16")
async def test_a_settlement_that_the_stream_never_tells_is_found_by_the_sweep(
    world: World, alice: Client, backend: ScriptedBackend
) -> None:
    backend.receive(hash_in(await invoice_of(world, alice)))
    backend.stream.clear()

    await world.reconciler.sweep_invoices(backend.name)

    assert await world.money("alice") == (CREDIT_MSAT + AMOUNT_MSAT, 0)


@pytest.mark.attack("A16")
@pytest.mark.parametrize(
    "error",
    [BackendUnavailable(), ValueError("a field is missing"), Unsupported()],
    ids=["unavailable", "a-bug", "unsupported"],
)
async def test_one_invoice_that_a_node_chokes_on_hides_no_other_from_the_sweep(
    world: World, alice: Client, bob: Client, backend: ScriptedBackend, error: Exception
) -> None:
    poison = await world.invoice(alice, AMOUNT_MSAT, expiry=60)
    backend.choke_on[hash_in(poison)] = error
    backend.receive(hash_in(await invoice_of(world, bob)))
    backend.stream.clear()

    world.tasks.spawn(world.reconciler.sweep_invoices(backend.name))
    await world.tasks.idle()

    assert await world.money("bob") == (CREDIT_MSAT + AMOUNT_MSAT, 0)


async def test_the_reconciler_outlives_a_database_that_fails_for_a_moment(
    world: World,
) -> None:
    await world.change_schema("ALTER TABLE stream RENAME TO stream_away")

    async with reconciling(world) as running:
        await asyncio.sleep(0.2)

        assert not running.done()


async def _has(world: World, available_msat: int) -> bool:
    return (await world.money("alice"))[0] == available_msat


# --- after an irreversible event nothing can keep the money from being booked (A17)


@pytest.mark.attack("A17")
@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"settled_at": 2**70}, id="time-beyond-all-columns"),
        pytest.param({"settled_at": -5}, id="time-before-all-times"),
        pytest.param({"preimage": "not hex"}, id="no-preimage"),
        pytest.param({"preimage": "00" * 32}, id="false-preimage"),
        pytest.param({"invoice": "\ud800"}, id="text-that-cannot-be-stored"),
    ],
)
async def test_whatever_a_node_writes_the_money_is_booked(
    world: World, alice: Client, backend: ScriptedBackend, changes: JsonObject
) -> None:
    made = await invoice_of(world, alice)
    report = replace(backend.receive(hash_in(made)), **changes)

    await world.crediter.credit(backend.name, report, cursor=Cursor("1"))
    await world.tasks.idle()

    assert await world.money("alice") == (CREDIT_MSAT + AMOUNT_MSAT, 0)
    answer = await world.call(alice, "lookup_invoice", {"invoice": made["invoice"]})
    preimage = answer["result"].get("preimage")
    assert preimage is None or hash_of(preimage) == made["payment_hash"]
    assert await world.problems() == ()


@pytest.mark.attack("A17")
async def test_a_notification_that_can_never_be_made_keeps_no_money_back(
    world: World, alice: Client, backend: ScriptedBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = backend.receive(hash_in(await invoice_of(world, alice)))

    async def choke(*_arguments: object, **_named: object) -> None:
        raise UnicodeEncodeError("utf-8", "", 0, 1, "a poison pill")

    monkeypatch.setattr(world.crediter._answers, "notify", choke)
    for _ in range(NOTIFY_ATTEMPTS):
        with pytest.raises(UnicodeEncodeError):
            await world.crediter.credit(backend.name, report, cursor=Cursor("1"))
        assert await world.money("alice") == (CREDIT_MSAT, 0)

    await world.crediter.credit(backend.name, report, cursor=Cursor("1"))

    assert await world.money("alice") == (CREDIT_MSAT + AMOUNT_MSAT, 0)
    assert await world.problems() == ()


@pytest.mark.attack("A17")
async def test_what_an_account_cannot_hold_waits_in_suspense_with_an_alarm(
    world: World, alice: Client, backend: ScriptedBackend
) -> None:
    made = await invoice_of(world, alice)

    await world.crediter.credit(backend.name, backend.receive(hash_in(made), MAX_MSAT))

    assert await world.money("alice") == (CREDIT_MSAT, 0)
    assert await world.book("suspense") == MAX_MSAT
    assert await world.alarms() == ["account_full"]


@pytest.mark.attack("A16")
async def test_every_open_invoice_is_looked_up_at_the_start(
    start: Open, backend: ScriptedBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconciler, "SWEEP_AT_MOST", 2)
    async with start() as world:
        await world.account("alice")
        alice = await world.connect("alice")
        made = [await invoice_of(world, alice) for _ in range(7)]
    for invoice in made:
        backend.receive(hash_in(invoice))
    backend.stream.clear()  # nobody tells

    async with start() as world, reconciling(world):
        await until(lambda: _has(world, 7 * AMOUNT_MSAT))


async def test_what_a_node_received_before_these_books_is_nobodys_here(
    world: World, alice: Client, backend: ScriptedBackend
) -> None:
    await Mark(world.db, data_dir=world.path.parent, clock=world.clock).keep()
    report = backend.receive(hash_in(await invoice_of(world, alice)))
    old = replace(
        report,
        payment_hash=hash_of("22" * 32),
        settled_at=world.clock() - CLOCK_SKEW_S - 1,
        preimage=None,
    )
    new = replace(old, payment_hash=hash_of("33" * 32), settled_at=world.clock() - CLOCK_SKEW_S)

    await world.crediter.credit(backend.name, old, cursor=Cursor("1"))
    assert await world.book("suspense") == 0
    await world.crediter.credit(backend.name, new, cursor=Cursor("2"))

    assert await world.book("suspense") == AMOUNT_MSAT
    assert await world.alarms() == ["unattributed"]
    assert await world.problems() == ()
