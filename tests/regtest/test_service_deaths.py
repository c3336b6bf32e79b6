"""The service and its node die, or lose each other, while money is on its way."""

import pytest

from nwc_service.nostr.event import Event
from tests.regtest.conftest import FEE_RESERVE_MSAT
from tests.regtest.network import RegtestNetwork
from tests.regtest.outside import Held, LndOutside
from tests.regtest.truth import payments_of
from tests.regtest.wallet import AMOUNT_MSAT, CREDIT_MSAT, FEE_MSAT, Wallet
from tests.regtest.wire import Wire

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.real,
    pytest.mark.timeout(300),
]


async def finish(carol: LndOutside, held: Held, *, end: str) -> None:
    if end == "settle":
        await carol.settle(held)
    else:
        await carol.cancel(held.payment_hash)


async def check_end(wallet: Wallet, event: Event, held: Held, *, end: str) -> None:
    answer = await wallet.only_answer(event)
    if end == "settle":
        assert answer.result == {"preimage": held.preimage.hex(), "fees_paid": FEE_MSAT}
        assert await wallet.figures() == (CREDIT_MSAT - AMOUNT_MSAT - FEE_MSAT, 0)
    else:
        assert answer.error_code == "PAYMENT_FAILED"
        assert await wallet.figures() == (CREDIT_MSAT, 0)


HELD_MSAT = AMOUNT_MSAT + FEE_RESERVE_MSAT

ends = pytest.mark.parametrize("end", ["settle", "cancel"])


@ends
@pytest.mark.parametrize("when", ["while it is down", "after its start"])
async def test_a_payment_in_flight_outlives_the_service(
    wallet: Wallet, carol: LndOutside, when: str, end: str
) -> None:
    held = await carol.hold(AMOUNT_MSAT)
    event = await wallet.send("pay_invoice", invoice=held.invoice)
    await carol.accepted(held)

    await wallet.service.kill()
    if when == "while it is down":
        await finish(carol, held, end=end)
    await wallet.service.start()
    if when == "after its start":
        assert await wallet.figures() == (CREDIT_MSAT - HELD_MSAT, HELD_MSAT)
        await finish(carol, held, end=end)

    await check_end(wallet, event, held, end=end)


@ends
async def test_a_payment_in_flight_outlives_its_node(
    wallet: Wallet, carol: LndOutside, network: RegtestNetwork, end: str
) -> None:
    held = await carol.hold(AMOUNT_MSAT)
    event = await wallet.send("pay_invoice", invoice=held.invoice)
    await carol.accepted(held)

    network.nodes["alice"].kill()
    during = await wallet.figures()
    await network.heal()
    await finish(carol, held, end=end)

    assert during == (CREDIT_MSAT - HELD_MSAT, HELD_MSAT)
    await check_end(wallet, event, held, end=end)
    made = (await wallet.ask("make_invoice", amount=AMOUNT_MSAT)).result
    before_msat, _ = await wallet.figures()
    await carol.pay(made["invoice"])
    await wallet.has(before_msat + AMOUNT_MSAT)  # the stream is there again


async def test_what_was_settled_while_the_service_was_down_is_credited(
    wallet: Wallet, carol: LndOutside
) -> None:
    made = (await wallet.ask("make_invoice", amount=AMOUNT_MSAT)).result
    await wallet.service.kill()
    await carol.pay(made["invoice"])

    await wallet.service.start()

    await wallet.has(CREDIT_MSAT + AMOUNT_MSAT)


async def test_what_was_settled_while_the_stream_was_lost_is_credited(
    wallet: Wallet, carol: LndOutside, wire: Wire
) -> None:
    made = [(await wallet.ask("make_invoice", amount=AMOUNT_MSAT)).result for _ in range(2)]
    wire.cut()
    await carol.pay(made[1]["invoice"])
    during = await wallet.figures()

    wire.mend()

    assert during == (CREDIT_MSAT, 0)
    await wallet.has(CREDIT_MSAT + AMOUNT_MSAT)
    await carol.pay(made[0]["invoice"])
    await wallet.has(CREDIT_MSAT + 2 * AMOUNT_MSAT)


async def test_a_payment_whose_stream_was_lost_is_found_again(
    wallet: Wallet, carol: LndOutside, wire: Wire, network: RegtestNetwork
) -> None:
    held = await carol.hold(AMOUNT_MSAT)
    event = await wallet.send("pay_invoice", invoice=held.invoice)
    await carol.accepted(held)

    wire.cut()
    await carol.settle(held)
    during = await wallet.figures()
    wire.mend()

    assert during == (CREDIT_MSAT - HELD_MSAT, HELD_MSAT)
    await check_end(wallet, event, held, end="settle")
    listed = await payments_of(network.nodes["alice"])
    assert [one["status"] for one in listed if one["payment_hash"] == held.payment_hash] == [
        "SUCCEEDED"
    ]
