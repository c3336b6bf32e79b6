"""What is counted, when, and what is not: nothing that was undone, nothing twice."""

import math

import pytest

from nwc_service.backend import (
    BackendUnavailable,
    Balance,
    Failed,
    FailReason,
    Outcome,
    Unknown,
)
from nwc_service.gauges import Gauges
from nwc_service.metrics.exposition import LASTS_S, Exposition
from nwc_service.outbox import REDATE_AFTER_S
from nwc_service.relay.pool import RelayPool
from nwc_service.relays import Relays
from nwc_service.store.database import Tx
from nwc_service.store.sqlite import SqliteDatabase
from nwc_service.wallet.outcome import Settled
from nwc_service.wallet.units import Msat, PaymentHash
from tests.doubles.scripted_backend import (
    FEE_MSAT,
    ScriptedBackend,
    outside_invoice,
    preimage_of,
)
from tests.flow.conftest import CREDIT_MSAT
from tests.flow.parties import Client, Clock
from tests.flow.world import FEE_RESERVE_MSAT, World, broken
from tests.ops.scrape import Difference, Samples, now, samples, value
from tests.relay.test_pool import ONE, Intake, forged, request_of_other

AMOUNT_MSAT = 100_000
OUTSIDE = {"backend": "node", "kind": "bolt11"}


@pytest.fixture
async def read(world: World) -> "Read":
    return Read(world)


class Read:
    """States, as a running service lends them."""

    def __init__(self, world: World) -> None:
        pool = Intake().pool
        self.relays = Relays(pool)
        self.gauges = Gauges(world.edges, world.flow, relays=self.relays, clock=world.clock)

    async def __call__(self) -> Samples:
        await self.gauges.start()
        await self.gauges.read()
        return await now()


async def pay_outside(world: World, client: Client, outcome: Outcome | None = None) -> None:
    world.backend.expect(1)
    if outcome is not None:
        world.backend.pay_script.append(outcome)
    world.pay(client, outside_invoice(1, AMOUNT_MSAT, created_at=world.clock()))
    await world.tasks.idle()


# --- requests


async def test_an_answer_is_counted_by_method_and_outcome(
    world: World, alice: Client, counted: Difference
) -> None:
    await world.call(alice, "get_balance")
    await world.call(alice, "get_balance")
    await world.call(alice, "pay_invoice", {"invoice": "nonsense"})
    await world.call(alice, "make_invoice", {"amount": 1_000})

    balance = {"method": "get_balance", "outcome": "ok"}
    refused = {"method": "pay_invoice", "outcome": "OTHER"}
    made = {"method": "make_invoice", "outcome": "ok"}
    assert await counted.grown("nwc_requests_total", **balance) == 2
    assert await counted.grown("nwc_requests_total", **refused) == 1
    assert await counted.grown("nwc_requests_total", **made) == 1
    assert await counted.grown("nwc_request_seconds_count", method="get_balance") == 2


async def test_a_payment_that_settles_late_is_answered_when_it_does(
    world: World, alice: Client, backend: ScriptedBackend, counted: Difference
) -> None:
    answered = {"method": "pay_invoice", "outcome": "ok"}
    await pay_outside(world, alice, Unknown())
    assert await counted.grown("nwc_requests_total", **answered) == 0
    assert await counted.grown("nwc_request_seconds_count", method="pay_invoice") == 1

    backend.lookup_script.append(Settled(preimage_of(1), FEE_MSAT))
    await world.look_up(after_s=60)

    assert await counted.grown("nwc_requests_total", **answered) == 1


async def test_a_copy_counts_no_second_answer(
    world: World, alice: Client, counted: Difference
) -> None:
    event = world.ask(alice, "make_invoice", {"amount": 1_000})
    await world.tasks.idle()
    world.deliver(event, repeated=True)
    reading = world.ask(alice, "get_balance")
    world.deliver(reading, repeated=True)
    await world.tasks.idle()

    made = {"method": "make_invoice", "outcome": "ok"}
    assert await counted.grown("nwc_requests_total", **made) == 1
    assert await counted.grown("nwc_events_dropped_total", reason="repeated") == 1


async def test_what_the_database_undoes_is_not_counted(
    world: World, alice: Client, backend: ScriptedBackend, counted: Difference
) -> None:
    backend.expect(1)
    async with broken(world, "NEW.event_id IS NOT NULL", table="outbox", event="INSERT"):
        world.pay(alice, outside_invoice(1, AMOUNT_MSAT, created_at=world.clock()))
        await world.tasks.idle()
    settled = OUTSIDE | {"outcome": "settled"}
    assert await counted.grown("nwc_payments_total", **settled) == 0

    backend.lookup_script.append(Settled(preimage_of(1), FEE_MSAT))
    await world.look_up(after_s=100)

    assert await counted.grown("nwc_payments_total", **settled) == 1
    assert await counted.grown("nwc_payment_fees_msat_total", backend="node") == FEE_MSAT


async def test_one_work_of_a_batch_that_fails_takes_back_its_own_counts_only(
    world: World,
) -> None:
    calls: list[str] = []

    async def good(tx: Tx) -> None:
        tx.on_commit(lambda: calls.append("good"))

    async def bad(tx: Tx) -> None:
        tx.on_commit(lambda: calls.append("bad"))
        raise ValueError

    assert isinstance(world.db, SqliteDatabase)
    for work in (good, bad, good):
        try:
            await world.db.write(work)
        except ValueError:
            calls.append("raised")

    assert calls == ["good", "raised", "good"]


async def test_a_request_whose_database_failed_is_counted_as_dropped(
    world: World, alice: Client, counted: Difference
) -> None:
    async with broken(world, "NEW.request_id IS NOT NULL", table="request", event="INSERT"):
        world.pay(alice, "nonsense")
        await world.tasks.idle()

    assert await counted.grown("nwc_events_dropped_total", reason="failed") == 1


@pytest.mark.parametrize(
    ("age_s", "reason"), [(10_000, "untimely"), (-10_000, "untimely"), (0, None)]
)
async def test_an_event_of_another_time_is_counted(
    world: World, alice: Client, age_s: int, reason: str | None, counted: Difference
) -> None:
    world.deliver(alice.request("get_balance", created_at=world.clock() - age_s))
    await world.tasks.idle()

    for each in ("untimely", "foreign", "rate"):
        grown = await counted.grown("nwc_events_dropped_total", reason=each)
        assert grown == (each == reason)


async def test_what_the_pool_drops_is_counted_by_reason(counted: Difference) -> None:
    intake = Intake(burst=1)
    event = request_of_other("a")
    intake.receive(event)
    intake.receive(event)
    for _ in range(20):
        intake.receive(forged(request_of_other(str(_))))
    intake.pool.receive(ONE, event.to_dict() | {"kind": 1})

    assert await counted.grown("nwc_events_dropped_total", reason="echo") == 1
    assert await counted.grown("nwc_events_dropped_total", reason="foreign") == 1
    looked_at = await counted.grown("nwc_events_dropped_total", reason="forged")
    unseen = await counted.grown("nwc_events_dropped_total", reason="suspect")
    assert looked_at + unseen == 20
    assert min(looked_at, unseen) > 0


# --- money


@pytest.mark.parametrize(
    ("outcome", "final", "said"),
    [
        (None, "settled", "settled"),
        (Failed(FailReason.NO_ROUTE), "released", "failed"),
        (Unknown(), None, "unknown"),
    ],
)
async def test_a_payment_is_counted_once_it_is_final(
    *,
    world: World,
    alice: Client,
    counted: Difference,
    outcome: Outcome | None,
    final: str | None,
    said: str,
) -> None:
    await pay_outside(world, alice, outcome)

    for each in ("settled", "released"):
        grown = await counted.grown("nwc_payments_total", **OUTSIDE, outcome=each)
        assert grown == (each == final)
    sent = await counted.grown("nwc_payment_seconds_count", **OUTSIDE, outcome=said)
    paid_msat = await counted.grown("nwc_payments_settled_msat_total", **OUTSIDE)
    assert sent == 1
    assert paid_msat == (AMOUNT_MSAT if final == "settled" else 0)


async def test_a_fee_above_the_cap_is_a_loss(
    world: World, alice: Client, counted: Difference
) -> None:
    above = Msat(FEE_RESERVE_MSAT + 300)

    await pay_outside(world, alice, Settled(preimage_of(1), above))

    assert await counted.grown("nwc_losses_msat_total") == 300
    fees = await counted.grown("nwc_payment_fees_msat_total", backend="node")
    assert fees == FEE_RESERVE_MSAT


async def test_a_payment_inside_is_one_of_its_own_kind(
    world: World, alice: Client, bob: Client, counted: Difference
) -> None:
    made = await world.invoice(bob, AMOUNT_MSAT)
    await world.call(alice, "pay_invoice", {"invoice": made["invoice"]})

    inside = {"backend": "none", "kind": "internal"}
    assert await counted.grown("nwc_payments_total", **inside, outcome="settled") == 1
    assert await counted.grown("nwc_payments_settled_msat_total", **inside) == AMOUNT_MSAT


async def test_a_receipt_is_counted_once_however_often_it_is_told(
    world: World, alice: Client, backend: ScriptedBackend, counted: Difference
) -> None:
    made = await world.invoice(alice, AMOUNT_MSAT)
    report = backend.receive(PaymentHash(made["payment_hash"]))

    await world.crediter.credit(backend.name, report)
    await world.crediter.credit(backend.name, report)

    credited = {"backend": "node", "to": "account"}
    assert await counted.grown("nwc_receipts_total", **credited) == 1
    assert await counted.grown("nwc_receipts_msat_total", **credited) == AMOUNT_MSAT


# --- states


async def test_states_are_those_of_the_moment(
    world: World, alice: Client, bob: Client, read: Read
) -> None:
    await pay_outside(world, alice, Unknown())
    world.clock.advance(90)

    found = await read()

    assert value(found, "nwc_open_payments", state="UNKNOWN") == 1
    assert value(found, "nwc_oldest_unknown_payment_seconds") == 90
    assert value(found, "nwc_accounts") == 2
    assert value(found, "nwc_connections") == 2
    assert value(found, "nwc_backend_up", backend="node") == 1
    assert value(found, "nwc_database_bytes", file="main") > 0


async def test_accounts_are_counted_as_they_are_made(world: World, read: Read) -> None:
    before = value(await read(), "nwc_accounts")

    await world.account("carol")

    assert value(await now(), "nwc_accounts") == before + 1


@pytest.mark.parametrize(
    ("spendable_msat", "ratio", "is_open"),
    [(3 * CREDIT_MSAT, 3, 1), (CREDIT_MSAT // 2, 0.5, 0)],
)
async def test_the_cover_is_what_the_gate_judged(
    *,
    world: World,
    alice: Client,
    backend: ScriptedBackend,
    read: Read,
    spendable_msat: int,
    ratio: float,
    is_open: int,
) -> None:
    backend.spendable_msat = spendable_msat
    await world.flow.solvency.check()

    found = await read()

    assert value(found, "nwc_cover_ratio") == ratio
    assert value(found, "nwc_owed_msat") == CREDIT_MSAT
    assert value(found, "nwc_backed_msat") == spendable_msat
    assert value(found, "nwc_backend_spendable_msat", backend="node") == spendable_msat
    assert value(found, "nwc_solvency_gate_open") == is_open
    assert value(found, "nwc_alarms", kind="insolvent") == 1 - is_open


async def test_where_nothing_is_owed_the_cover_is_infinite(world: World, read: Read) -> None:
    await world.flow.solvency.check()

    assert value(await read(), "nwc_cover_ratio") == math.inf


async def test_a_backend_that_is_gone_has_no_balance(
    world: World, backend: ScriptedBackend, read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def gone() -> Balance:
        raise BackendUnavailable("gone")

    assert world.flow.solvency.balances
    monkeypatch.setattr(backend, "balance", gone)
    await world.flow.solvency.check()
    world.reconciler.node_info.pop(backend.name)

    found = await read()

    shown = {name for name, _ in found}
    assert value(found, "nwc_backend_up", backend="node") == 0
    assert not {"nwc_backend_spendable_msat", "nwc_backend_synced"} & shown


async def test_an_answer_that_waits_ages_though_it_is_dated_anew(
    world: World, alice: Client, clock: Clock, read: Read
) -> None:
    world.relay.is_up = False
    world.ask(alice, "make_invoice", {"amount": 1_000})
    await world.tasks.idle_for_now()
    world.clock.advance(REDATE_AFTER_S + 1)
    while len(world.relay.refused) < 2:
        await world.tasks.idle_for_now()

    found = await read()

    assert value(found, "nwc_outbox_waiting") == 1
    assert value(found, "nwc_outbox_oldest_seconds") == REDATE_AFTER_S + 1


async def test_what_the_books_do_not_say_is_missing_and_the_rest_is_there(
    world: World, read: Read
) -> None:
    await read()
    await world.change_schema("ALTER TABLE alarm RENAME TO alarm_gone")
    exposition = Exposition()

    with exposition.reading(read.gauges.read):
        found = samples((await exposition.text()).decode())

    shown = {name for name, _ in found}
    assert {"nwc_connections", "nwc_requests_total"} <= shown
    assert not {"nwc_alarms", "nwc_open_payments", "nwc_outbox_waiting"} & shown


async def test_the_operators_relays_are_named_without_their_secrets(read: Read) -> None:
    own, of_a_user = "wss://me:pass@own.example/path?token=x#y", "wss://user.example/abc"
    pool = pool_naming(own)
    pool.listen((), relays=[own, of_a_user])
    read.gauges._relays = Relays(pool)

    found = await read()

    named = {dict(labels)["relay"] for name, labels in found if name == "nwc_relays"}
    assert named == {"wss://own.example/path", "other"}
    assert value(found, "nwc_relays_connected", relay="other") == 0


def pool_naming(url: str) -> RelayPool:
    intake = Intake()
    return RelayPool(
        client_of=lambda _: None,
        keypair_of=lambda _: intake.pool._terms.keypair_of(_),
        on_request=intake.take,
        spawn=lambda work: work.close(),
        clock=lambda: 0,
        rate=intake.pool._forgeries._relays._rate,
        on_open=lambda _: None,
        named_urls=(url,),
    )


# --- the exposition


async def test_states_are_read_once_however_often_it_is_scraped() -> None:
    passed_s, readings = 100.0, 0

    async def read() -> None:
        nonlocal readings
        readings += 1

    exposition = Exposition(clock=lambda: passed_s)
    with exposition.reading(read):
        texts = {await exposition.text() for _ in range(5)}
        assert (readings, len(texts)) == (1, 1)
        passed_s += LASTS_S
        await exposition.text()
    passed_s += LASTS_S
    await exposition.text()

    assert readings == 2
