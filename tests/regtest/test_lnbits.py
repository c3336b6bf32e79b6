"""The service on LNbits that pays from another LNbits, which pays from a real node: what it
does, and what it does while one of them is dead, frozen or busy."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256

import pytest
import pytest_asyncio

from nwc_service.wallet import bolt11, keysend
from tests.e2e.conftest import until
from tests.e2e.service import ServiceProcess
from tests.regtest.conftest import FEE_RESERVE_MSAT
from tests.regtest.lnbits import LnbitsOnLnd, lnbits_on, service_on_lnbits
from tests.regtest.network import RegtestNetwork
from tests.regtest.outside import LndOutside, an_invoice_of_nobody
from tests.regtest.truth import payments_of
from tests.regtest.wallet import AMOUNT_MSAT, CREDIT_MSAT, FEE_MSAT, LOOK_TIMEOUT_S, Wallet

# The first test may have to start the network, and both LNbits.
pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.real,
    pytest.mark.timeout(600),
]

# What takes longer than this is answered all the same, by looking it up.
SETTINGS = f"""\
[payments]
fee_reserve_floor_msat = {FEE_RESERVE_MSAT}
fee_reserve_share_ppm = 0
timeout_s = 5
"""
HELD_MSAT = AMOUNT_MSAT + FEE_RESERVE_MSAT
MOST_AT_THAT_FEE_MSAT = 1_999_000  # LNbits pays whole sats


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def lnbits(
    network: RegtestNetwork, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[LnbitsOnLnd]:
    directory = tmp_path_factory.mktemp("lnbits")
    alice = network.nodes["alice"]
    async with lnbits_on(alice, directory, fee_cap_msat=FEE_RESERVE_MSAT) as started:
        yield started


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service(
    lnbits: LnbitsOnLnd, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[ServiceProcess]:
    directory = tmp_path_factory.mktemp("service")
    async with service_on_lnbits(
        lnbits.wallet, directory, settings=SETTINGS, fee_cap_msat=FEE_RESERVE_MSAT
    ) as started:
        yield started


async def test_it_pays_an_invoice_of_a_node_behind_another(
    wallet: Wallet, carol: LndOutside, lnbits: LnbitsOnLnd
) -> None:
    invoice = await carol.make_invoice(AMOUNT_MSAT)
    before_msat = await lnbits.wallet.balance_msat()

    answer = await wallet.only_answer(await wallet.send("pay_invoice", invoice=invoice))

    payment_hash = bolt11.decode(invoice).payment_hash
    preimage = bytes.fromhex(answer.result["preimage"])
    assert sha256(preimage).hexdigest() == payment_hash
    assert answer.result["fees_paid"] == FEE_MSAT
    assert await wallet.figures() == (CREDIT_MSAT - AMOUNT_MSAT - FEE_MSAT, 0)
    assert await lnbits.wallet.balance_msat() == before_msat - AMOUNT_MSAT - FEE_MSAT
    there = await carol.invoice(payment_hash)
    assert (there["state"], there["amt_paid_msat"]) == ("SETTLED", str(AMOUNT_MSAT))


async def test_it_is_paid_by_a_node_behind_another(wallet: Wallet, carol: LndOutside) -> None:
    made = (await wallet.ask("make_invoice", amount=AMOUNT_MSAT)).result

    await carol.pay(made["invoice"])

    await wallet.has(CREDIT_MSAT + AMOUNT_MSAT)
    found = (await wallet.ask("lookup_invoice", payment_hash=made["payment_hash"])).result
    assert (found["state"], found["amount"]) == ("settled", AMOUNT_MSAT)
    assert keysend.payment_hash(found["preimage"]) == made["payment_hash"]


async def test_the_fee_cap_is_used_up_to_the_last_msat_and_no_further(
    wallet: Wallet, carol: LndOutside
) -> None:
    just_msat, above_msat = MOST_AT_THAT_FEE_MSAT, MOST_AT_THAT_FEE_MSAT + 1_000
    assert carol.fee_msat(just_msat) == FEE_RESERVE_MSAT
    assert carol.fee_msat(above_msat) == FEE_RESERVE_MSAT + 1

    just = await wallet.ask("pay_invoice", invoice=await carol.make_invoice(just_msat))
    above = await wallet.ask("pay_invoice", invoice=await carol.make_invoice(above_msat))

    assert just.result["fees_paid"] == FEE_RESERVE_MSAT
    assert above.error_code == "PAYMENT_FAILED"
    assert await wallet.figures() == (CREDIT_MSAT - just_msat - FEE_RESERVE_MSAT, 0)


async def test_what_cannot_be_paid_is_given_back_and_told(
    wallet: Wallet, carol: LndOutside
) -> None:
    canceled = await carol.make_invoice(AMOUNT_MSAT)
    await carol.cancel(bolt11.decode(canceled).payment_hash)
    invoices = (
        an_invoice_of_nobody(AMOUNT_MSAT, age_s=601),
        canceled,
        an_invoice_of_nobody(AMOUNT_MSAT),
    )

    told = [await wallet.ask("pay_invoice", invoice=invoice) for invoice in invoices]

    assert [one.error_code for one in told] == ["OTHER", "PAYMENT_FAILED", "PAYMENT_FAILED"]
    assert told[0].payload["error"]["message"] == "invoice: it has expired"
    assert await wallet.figures() == (CREDIT_MSAT, 0)


@pytest.mark.attack("A4")
@pytest.mark.parametrize("how", ["killed", "frozen"])
@pytest.mark.parametrize("who", ["upstream", "node"])
async def test_payments_in_flight_outlive_what_is_behind_lnbits(
    wallet: Wallet,
    carol: LndOutside,
    lnbits: LnbitsOnLnd,
    network: RegtestNetwork,
    who: str,
    how: str,
) -> None:
    helds = [await carol.hold(AMOUNT_MSAT) for _ in range(2)]
    events = [await wallet.send("pay_invoice", invoice=held.invoice) for held in helds]
    for held in helds:
        await carol.accepted(held)

    async with gone(lnbits, network, who=who, how=how):
        await carol.settle(helds[0])
        await carol.cancel(helds[1].payment_hash)
        during = await wallet.figures()
    answers = [await wallet.only_answer(event) for event in events]

    assert during == (CREDIT_MSAT - 2 * HELD_MSAT, 2 * HELD_MSAT)
    paid = {"preimage": helds[0].preimage.hex(), "fees_paid": FEE_MSAT}
    assert answers[0].result == paid
    assert answers[1].error_code == "PAYMENT_FAILED"
    assert await wallet.figures() == (CREDIT_MSAT - AMOUNT_MSAT - FEE_MSAT, 0)
    listed = await payments_of(network.nodes["alice"])
    hashes = [one["payment_hash"] for one in listed]
    assert [hashes.count(held.payment_hash) for held in helds] == [1, 1]


@asynccontextmanager
async def gone(
    lnbits: LnbitsOnLnd, network: RegtestNetwork, *, who: str, how: str
) -> AsyncIterator[None]:
    """Until the end, where it is back and usable."""
    gone_one = lnbits.upstream if who == "upstream" else network.nodes["alice"]
    if how == "killed":
        gone_one.kill()
    else:
        gone_one.pause()
    try:
        yield
    finally:
        if how == "frozen":
            gone_one.resume()
        elif who == "upstream":
            await lnbits.upstream.start()
        await network.heal()


async def test_what_was_paid_while_the_upstream_was_down_is_credited(
    wallet: Wallet, carol: LndOutside, lnbits: LnbitsOnLnd
) -> None:
    """Nobody tells our LNbits: the service asks, at its start and every minute."""
    made = (await wallet.ask("make_invoice", amount=AMOUNT_MSAT)).result
    lnbits.upstream.kill()
    await carol.pay(made["invoice"])
    during = await wallet.figures()
    await wallet.service.kill()

    await lnbits.upstream.start()
    await wallet.service.start()

    assert during == (CREDIT_MSAT, 0)
    await wallet.has(CREDIT_MSAT + AMOUNT_MSAT)


async def test_what_a_busy_upstream_refused_stays_held_for_the_operator(
    wallet: Wallet, carol: LndOutside, lnbits: LnbitsOnLnd, network: RegtestNetwork
) -> None:
    """Our LNbits takes a 429 for a payment that is pending, and nothing ever ends that."""
    invoice = await carol.make_invoice(AMOUNT_MSAT)
    payment_hash = bolt11.decode(invoice).payment_hash
    path = f"payments/{payment_hash}"

    async with lnbits.busy_upstream():
        event = await wallet.send("pay_invoice", invoice=invoice)
        await wallet.has(CREDIT_MSAT - HELD_MSAT, held_msat=HELD_MSAT)
        made = await wallet.ask("make_invoice", amount=AMOUNT_MSAT)
        told = (await wallet.service.call("GET", f"{path}/outcome"))["backend_says"]
    held = await wallet.figures()

    async def is_resolved() -> bool:
        """While a payment is being sent nobody resolves it."""
        answer = await wallet.service.admin.post(
            f"/api/v1/{path}/resolve", json={"paid": False, "force": True, "reason": "a test"}
        )
        return answer.is_success

    await until(is_resolved, timeout_s=LOOK_TIMEOUT_S)
    answer = await wallet.only_answer(event)

    assert made.error_code == "INTERNAL"
    assert told == "InFlight"
    assert held == (CREDIT_MSAT - HELD_MSAT, HELD_MSAT)
    assert answer.error_code == "PAYMENT_FAILED"
    assert await wallet.figures() == (CREDIT_MSAT, 0)
    assert (await carol.invoice(payment_hash))["state"] == "OPEN"
    listed = await payments_of(network.nodes["alice"])
    assert payment_hash not in {one["payment_hash"] for one in listed}
