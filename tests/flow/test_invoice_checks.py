"""An invoice is handed out only as it was asked for, once, and watched until its end."""

from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from nwc_service.backend import BackendUnavailable, InvoiceReport, InvoiceSpec
from nwc_service.wallet.units import Msat, PaymentHash
from tests.doubles.scripted_backend import ScriptedBackend, hash_of, preimage_of
from tests.flow.conftest import CREDIT_MSAT
from tests.flow.parties import Client
from tests.flow.world import World

AMOUNT_MSAT = 100_000
DESCRIPTION_HASH = "77" * 32
LONG_AFTER_S = 24 * 3600

Create = Callable[[InvoiceSpec], Awaitable[InvoiceReport]]
Trick = Callable[[Create, InvoiceSpec], Awaitable[InvoiceReport]]


async def over_another_amount(create: Create, spec: InvoiceSpec) -> InvoiceReport:
    return await create(replace(spec, amount_msat=Msat(AMOUNT_MSAT - 1)))


async def over_another_description(create: Create, spec: InvoiceSpec) -> InvoiceReport:
    return await create(replace(spec, description_hash="88" * 32))


async def under_another_hash(create: Create, spec: InvoiceSpec) -> InvoiceReport:
    return replace(await create(spec), payment_hash=hash_of(preimage_of(9)))


async def that_nobody_can_read(create: Create, spec: InvoiceSpec) -> InvoiceReport:
    return replace(await create(spec), invoice="lnbcrt1")


@pytest.mark.attack("A5", "A14")
@pytest.mark.parametrize(
    "trick",
    [over_another_amount, over_another_description, under_another_hash, that_nobody_can_read],
    ids=lambda trick: str(trick.__name__),
)
async def test_an_invoice_that_is_not_what_was_asked_for_is_given_to_nobody(
    world: World,
    alice: Client,
    backend: ScriptedBackend,
    monkeypatch: pytest.MonkeyPatch,
    trick: Trick,
) -> None:
    create = backend.create_invoice
    monkeypatch.setattr(backend, "create_invoice", lambda spec: trick(create, spec))

    answer = await world.call(
        alice,
        "make_invoice",
        {"amount": AMOUNT_MSAT, "description_hash": DESCRIPTION_HASH},
    )

    assert answer["error"]["code"] == "INTERNAL"
    assert "result" not in answer


@pytest.mark.attack("A2")
async def test_a_hash_that_was_given_out_before_is_given_to_nobody_else(
    world: World,
    alice: Client,
    bob: Client,
    backend: ScriptedBackend,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = await world.invoice(alice, AMOUNT_MSAT)
    first = backend.invoices[PaymentHash(made["payment_hash"])]

    async def again(_spec: InvoiceSpec) -> InvoiceReport:
        return first

    monkeypatch.setattr(backend, "create_invoice", again)
    answer = await world.call(bob, "make_invoice", {"amount": AMOUNT_MSAT})
    await world.crediter.credit(backend.name, backend.receive(first.payment_hash))

    assert answer["error"]["code"] == "INTERNAL"
    assert await world.money("alice") == (CREDIT_MSAT + AMOUNT_MSAT, 0)
    assert await world.money("bob") == (CREDIT_MSAT, 0)


@pytest.mark.attack("A8")
async def test_open_invoices_are_capped_for_one_account(
    world: World, alice: Client, bob: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(world.receiver, "_max_open_invoices", 2)

    answers = [
        await world.call(alice, "make_invoice", {"amount": AMOUNT_MSAT}) for _ in range(3)
    ]
    others = await world.call(bob, "make_invoice", {"amount": AMOUNT_MSAT})

    assert ["result" in answer for answer in answers] == [True, True, False]
    assert answers[2]["error"]["code"] == "RATE_LIMITED"
    assert "result" in others


@pytest.mark.attack("A10", "A16")
async def test_an_invoice_past_its_expiry_is_asked_about_before_it_is_closed(
    world: World, alice: Client, backend: ScriptedBackend
) -> None:
    made = await world.invoice(alice, AMOUNT_MSAT)
    backend.receive(PaymentHash(made["payment_hash"]))
    backend.stream.clear()
    world.clock.advance(LONG_AFTER_S)

    await world.reconciler.sweep_invoices(backend.name)

    assert await world.money("alice") == (CREDIT_MSAT + AMOUNT_MSAT, 0)


@pytest.mark.attack("A11")
async def test_a_cancel_that_the_node_did_not_answer_is_tried_again(
    world: World,
    alice: Client,
    bob: Client,
    backend: ScriptedBackend,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = await world.invoice(alice, AMOUNT_MSAT)
    await world.call(bob, "pay_invoice", {"invoice": made["invoice"]})

    async def no_answer(_payment_hash: PaymentHash) -> None:
        raise BackendUnavailable

    with monkeypatch.context() as patch:
        patch.setattr(backend, "cancel_invoice", no_answer)
        await world.reconciler.cancel_invoices(backend.name)
    await world.reconciler.cancel_invoices(backend.name)

    assert backend.canceled == [made["payment_hash"]]


@pytest.mark.attack("A16")
async def test_the_stream_alone_leaves_nothing_out_from_one_turn_to_the_next(
    world: World, alice: Client, backend: ScriptedBackend
) -> None:
    for count in range(1, 4):
        made = await world.invoice(alice, AMOUNT_MSAT)
        backend.receive(PaymentHash(made["payment_hash"]))

        await world.follow_the_stream()

        assert await world.money("alice") == (CREDIT_MSAT + count * AMOUNT_MSAT, 0)
