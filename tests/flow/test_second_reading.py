"""The node's reading of an invoice must be the service's own, or nothing is reserved (A5)."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from typing import Any

import pytest
import structlog

from nwc_service.backend import (
    BackendUnavailable,
    BadRequest,
    Cap,
    InvoiceReport,
    InvoiceSpec,
    NotSent,
)
from nwc_service.methods import invoice_payment
from nwc_service.nostr.event import Event
from nwc_service.wallet.errors import ErrorCode
from nwc_service.wallet.outcome import FailReason
from nwc_service.wallet.payment import CLOCK_SKEW_S
from nwc_service.wallet.units import Msat, PaymentHash
from tests.doubles.scripted_backend import (
    FEE_MSAT,
    ScriptedBackend,
    hash_of,
    outside_invoice,
    preimage_of,
    reading_of,
)
from tests.flow.conftest import CREDIT_MSAT
from tests.flow.parties import Client
from tests.flow.world import PAYMENT_TIMEOUT_S, World, until

AMOUNT_MSAT = 100_000
HASH = hash_of(preimage_of(1))
PAID = {"preimage": preimage_of(1), "fees_paid": FEE_MSAT}
NOT_REACHED = {
    "code": ErrorCode.INTERNAL,
    "message": "the node cannot be reached; nothing was sent",
}


def an_invoice(world: World, amount_msat: int | None = AMOUNT_MSAT) -> str:
    world.backend.expect(1)
    return outside_invoice(1, amount_msat, created_at=world.clock())


@pytest.fixture
async def untouched(
    world: World, alice: Client, backend: ScriptedBackend
) -> AsyncIterator[None]:
    """At the end of the test nothing is reserved, and nothing was sent."""
    entries = await world.count("entry")
    yield
    assert await world.count("entry") == entries
    assert await world.count("payment") == 0
    assert await world.money("alice") == (CREDIT_MSAT, 0)
    assert backend.sent == []


async def refused(world: World, client: Client, invoice: str, **others: object) -> Any:
    answer = await world.call(client, "pay_invoice", {"invoice": invoice, **others})
    return answer["error"]


# --- a different reading


@pytest.mark.attack("A5")
@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize(
    ("named_msat", "misread"),
    [
        pytest.param(AMOUNT_MSAT, {"payment_hash": hash_of(preimage_of(2))}, id="hash"),
        pytest.param(AMOUNT_MSAT, {"amount_msat": Msat(AMOUNT_MSAT + 1)}, id="amount"),
        pytest.param(AMOUNT_MSAT, {"amount_msat": None}, id="no-amount"),
        pytest.param(None, {"amount_msat": Msat(AMOUNT_MSAT)}, id="amount-of-none"),
        pytest.param(AMOUNT_MSAT, {"payee": "02" + "11" * 32}, id="payee"),
    ],
)
async def test_nothing_is_paid_that_the_node_reads_differently(
    world: World,
    alice: Client,
    backend: ScriptedBackend,
    named_msat: int | None,
    misread: Mapping[str, Any],
) -> None:
    invoice = an_invoice(world, named_msat)
    backend.decode_script.append(replace(reading_of(invoice), **misread))
    given = {} if named_msat else {"amount": AMOUNT_MSAT}

    with structlog.testing.capture_logs() as logs:
        error = await refused(world, alice, invoice, **given)

    assert error == {
        "code": ErrorCode.OTHER,
        "message": "invoice: the node reads it differently",
    }
    [line] = [line for line in logs if line["event"] == "invoice.read_differently"]
    assert line["log_level"] == "error"
    assert invoice not in str(logs)


@pytest.mark.attack("A5")
@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize("off_s", [-1, 1])
async def test_the_node_must_see_the_invoice_expire_at_the_same_second(
    world: World, alice: Client, backend: ScriptedBackend, off_s: int
) -> None:
    invoice = an_invoice(world)
    reading = reading_of(invoice)
    backend.decode_script.append(replace(reading, expires_at=reading.expires_at + off_s))

    error = await refused(world, alice, invoice)

    assert error["message"] == "invoice: the node reads it differently"


async def test_money_is_given_back_by_the_expiry_that_the_node_has_read(
    world: World, alice: Client
) -> None:
    invoice = an_invoice(world)

    await world.call(alice, "pay_invoice", {"invoice": invoice})

    unpayable_at = reading_of(invoice).expires_at + PAYMENT_TIMEOUT_S + CLOCK_SKEW_S
    assert (await world.payment(HASH)).unpayable_at == unpayable_at


async def test_a_node_that_tells_no_payee_may_agree(
    world: World, alice: Client, backend: ScriptedBackend
) -> None:
    invoice = an_invoice(world)
    backend.decode_script.append(replace(reading_of(invoice), payee=None))

    answer = await world.call(alice, "pay_invoice", {"invoice": invoice})

    assert answer["result"] == PAID
    assert backend.decoded == [invoice]


async def test_a_node_that_cannot_tell_is_not_asked(
    world: World, alice: Client, backend: ScriptedBackend
) -> None:
    backend.caps &= ~Cap.DECODE

    answer = await world.call(alice, "pay_invoice", {"invoice": an_invoice(world)})

    assert answer["result"] == PAID
    assert backend.decoded == []


# --- no reading


@pytest.mark.usefixtures("untouched")
async def test_what_the_node_cannot_read_is_not_paid(
    world: World, alice: Client, backend: ScriptedBackend
) -> None:
    backend.decode_script.append(BadRequest("what is this?"))

    error = await refused(world, alice, an_invoice(world))

    assert error == {"code": ErrorCode.OTHER, "message": "invoice: the node cannot read it"}


@pytest.mark.usefixtures("untouched")
async def test_a_node_that_is_down_is_paid_through_by_nobody(
    world: World, alice: Client, backend: ScriptedBackend
) -> None:
    backend.decode_script.append(BackendUnavailable("no route to host"))

    assert await refused(world, alice, an_invoice(world)) == NOT_REACHED


@pytest.mark.usefixtures("untouched")
async def test_a_node_that_says_nothing_is_given_up(
    world: World, alice: Client, backend: ScriptedBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hang(_invoice: str) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(backend, "decode", hang)
    monkeypatch.setattr(invoice_payment, "DECODE_TIMEOUT_S", 0.01)

    assert await refused(world, alice, an_invoice(world)) == NOT_REACHED


@pytest.mark.usefixtures("untouched")
async def test_the_node_is_asked_only_about_what_would_be_reserved(
    world: World, alice: Client, backend: ScriptedBackend
) -> None:
    error = await refused(world, alice, an_invoice(world, CREDIT_MSAT))

    assert error["code"] == ErrorCode.INSUFFICIENT_BALANCE
    assert backend.decoded == []


# --- what needs no node


async def down(backend: ScriptedBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    async def unreachable(_invoice: str) -> None:
        raise BackendUnavailable("no route to host")

    monkeypatch.setattr(backend, "decode", unreachable)


async def test_an_internal_payment_needs_no_node(
    world: World,
    alice: Client,
    bob: Client,
    backend: ScriptedBackend,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = await world.invoice(bob, AMOUNT_MSAT)
    await down(backend, monkeypatch)

    answer = await world.call(alice, "pay_invoice", {"invoice": made["invoice"]})

    assert answer["error"] is None
    assert await world.money("bob") == (CREDIT_MSAT + AMOUNT_MSAT, 0)


async def test_a_payment_that_was_made_before_is_told_without_the_node(
    world: World, alice: Client, backend: ScriptedBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    invoice = an_invoice(world)
    await world.call(alice, "pay_invoice", {"invoice": invoice})
    await down(backend, monkeypatch)

    answer = await world.call(alice, "pay_invoice", {"invoice": invoice})

    assert answer["result"] == PAID


@pytest.mark.attack("A2")
async def test_an_own_invoice_that_must_leave_is_read_by_the_node_too(
    world: World,
    alice: Client,
    bob: Client,
    backend: ScriptedBackend,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Only the node knows the preimage of such an invoice, so the ledger cannot settle it."""
    create = backend.create_invoice

    async def with_its_own_preimage(spec: InvoiceSpec) -> InvoiceReport:
        return replace(await create(replace(spec, preimage=preimage_of(1))), preimage=None)

    monkeypatch.setattr(backend, "create_invoice", with_its_own_preimage)
    backend.caps &= ~Cap.OWN_PREIMAGE
    made = await world.invoice(bob, AMOUNT_MSAT)
    backend.pay_script.append(NotSent(FailReason.REJECTED))

    await world.call(alice, "pay_invoice", {"invoice": made["invoice"]})

    assert backend.decoded == [made["invoice"]]
    assert [sent.payment_hash for sent in backend.sent] == [PaymentHash(made["payment_hash"])]


# --- one answer, whatever the node says the second time


@pytest.mark.attack("A26")
async def test_a_copy_of_a_paid_request_gets_its_answer_while_the_node_is_down(
    world: World, alice: Client, backend: ScriptedBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    event = world.pay(alice, an_invoice(world))
    await world.tasks.idle()
    await down(backend, monkeypatch)
    published = len(world.relay.taken)

    world.deliver(event, repeated=True)
    await world.tasks.idle()

    assert len(world.relay.taken) > published
    assert world.answer(alice, event)["result"] == PAID


@pytest.mark.attack("A26")
async def test_a_copy_of_a_request_that_is_being_paid_is_not_refused(
    world: World, alice: Client, backend: ScriptedBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend.pay_gate.clear()
    event = world.pay(alice, an_invoice(world))
    await until(lambda: len(backend.sent) == 1)
    await down(backend, monkeypatch)

    world.deliver(event, repeated=True)
    await asyncio.sleep(0.05)
    backend.pay_gate.set()
    await world.tasks.idle()

    assert world.answer(alice, event)["result"] == PAID


@pytest.mark.attack("A26")
@pytest.mark.parametrize("which_fails", [0, 1])
async def test_of_two_copies_that_both_ask_the_node_one_decides(
    world: World,
    alice: Client,
    backend: ScriptedBackend,
    monkeypatch: pytest.MonkeyPatch,
    which_fails: int,
) -> None:
    """Whichever claims first is answered, even though the node then tells the other no."""
    invoice = an_invoice(world)
    asked, go_on = 0, [asyncio.Event(), asyncio.Event()]

    async def decode(text: str) -> object:
        nonlocal asked
        number, asked = asked, asked + 1
        await go_on[number].wait()
        if number == which_fails:
            raise BackendUnavailable("no route to host")
        return reading_of(text)

    monkeypatch.setattr(backend, "decode", decode)
    event = world.pay(alice, invoice)
    world.deliver(event, repeated=True)
    await until(lambda: asked == 2)

    go_on[0].set()
    await until(lambda: bool(world.answers_to(alice, event)))
    go_on[1].set()
    await world.tasks.idle()

    answer = world.answer(alice, event)
    assert (answer["error"] is None) == (which_fails == 1)
    assert len(backend.sent) == which_fails
    assert await world.count("request") == 1


@pytest.mark.attack("A26")
async def test_what_was_refused_while_the_node_was_down_is_not_paid_by_a_copy_later(
    world: World, alice: Client, backend: ScriptedBackend
) -> None:
    backend.decode_script.append(BackendUnavailable("no route to host"))
    event: Event = world.pay(alice, an_invoice(world))
    await world.tasks.idle()

    world.deliver(event, repeated=True)
    await world.tasks.idle()

    assert world.answer(alice, event)["error"] == NOT_REACHED
    assert backend.sent == []


async def test_a_node_that_was_out_of_reach_is_looked_at_before_it_is_paid_through(
    world: World, alice: Client, backend: ScriptedBackend
) -> None:
    backend.counted = {"payments": 7}
    await world.reconciler.ask_node(backend.name)
    backend.decode_script.append(BackendUnavailable("no route to host"))
    await refused(world, alice, an_invoice(world))
    backend.counted = {"payments": 3}  # it comes back from a backup

    await refused(world, alice, an_invoice(world))

    assert backend.sent == []
    assert "backend_paused" in await world.alarms()
