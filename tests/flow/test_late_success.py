"""One hash is paid once: however many attempts at it were given back, it costs once."""

from nwc_service.wallet.ledger import LOSS, node
from nwc_service.wallet.outcome import Failed, FailReason
from tests.doubles.scripted_backend import (
    FEE_MSAT,
    ScriptedBackend,
    hash_of,
    outside_invoice,
    preimage_of,
)
from tests.flow.parties import Client
from tests.flow.world import World

AMOUNT_MSAT = 100_000
SPENT_MSAT = AMOUNT_MSAT + FEE_MSAT
FAILED = Failed(FailReason.NO_ROUTE)


def an_invoice(world: World) -> str:
    world.backend.expect(1)
    return outside_invoice(1, AMOUNT_MSAT, created_at=world.clock())


async def pay(world: World, client: Client, invoice: str) -> None:
    await world.call(client, "pay_invoice", {"invoice": invoice})


def settle_late(backend: ScriptedBackend) -> None:
    """What the node called failed has paid after all."""
    payment_hash = hash_of(preimage_of(1))
    backend.known[payment_hash] = backend.settled(payment_hash)


async def check_books(world: World, backend: ScriptedBackend) -> None:
    """The node has paid once."""
    assert await world.book(node(backend.name)) == SPENT_MSAT
    assert await world.problems() == ()


async def test_two_attempts_that_were_given_back_make_one_late_success(
    world: World, alice: Client, backend: ScriptedBackend
) -> None:
    invoice = an_invoice(world)
    backend.pay_script.extend([FAILED, FAILED])
    await pay(world, alice, invoice)
    await pay(world, alice, invoice)
    settle_late(backend)

    await world.reconciler.sweep_released(backend.name)

    assert await world.book(LOSS) == -SPENT_MSAT
    await check_books(world, backend)


async def test_what_the_operator_has_paid_late_is_not_paid_again_by_a_user(
    world: World, alice: Client, backend: ScriptedBackend
) -> None:
    invoice = an_invoice(world)
    backend.pay_script.append(FAILED)
    await pay(world, alice, invoice)
    settle_late(backend)
    await world.reconciler.sweep_released(backend.name)
    await world.flow.guard.resume(backend.name, reason="looked at")

    await pay(world, alice, invoice)

    await check_books(world, backend)


async def test_what_a_later_attempt_has_paid_is_no_late_success_of_an_answer_under_way(
    world: World, alice: Client, backend: ScriptedBackend
) -> None:
    """The node was asked about the first attempt before there was a second."""
    invoice = an_invoice(world)
    backend.pay_script.append(FAILED)
    await pay(world, alice, invoice)
    [first] = await world.payments_of(hash_of(preimage_of(1)))
    await pay(world, alice, invoice)

    await world.spender.recorder.record(first.payment_id, backend.settled(first.payment_hash))

    assert await world.book(LOSS) == 0
    await check_books(world, backend)
