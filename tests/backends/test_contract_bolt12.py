"""The contract's part about BOLT12 offers, on every backend that has them."""

import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from nwc_service.backend import (
    BadRequest,
    Cap,
    FetchedInvoice,
    InvoiceStatus,
    NotSent,
    Settled,
)
from nwc_service.wallet import bolt12
from nwc_service.wallet.units import Msat
from tests.backends.contract import (
    AMOUNT_MSAT,
    MAX_FEE_MSAT,
    STRANGER,
    Rig,
    a_fetched_request,
    an_offer_spec,
    balance_msat,
    needs,
    proves,
    ref,
    told,
)


async def fetch(
    rig: Rig, offer: str, amount_msat: int | None = None, *, note: str | None = None
) -> FetchedInvoice:
    return await rig.backend.fetch_invoice(
        offer,
        amount_msat=None if amount_msat is None else Msat(amount_msat),
        payer_note=note,
    )


async def test_an_offer_gives_an_invoice_that_is_paid(any_rig: Rig) -> None:
    needs(any_rig, Cap.BOLT12_SEND)
    offer = await any_rig.make_outside_offer(AMOUNT_MSAT)

    fetched = await fetch(any_rig, offer, note="for the tea")

    assert fetched.amount_msat == AMOUNT_MSAT
    assert fetched.expires_at > time.time()
    request = a_fetched_request(fetched)
    outcome = await any_rig.backend.pay(request)
    assert isinstance(outcome, Settled)
    assert proves(outcome.preimage, fetched.payment_hash)
    assert await any_rig.backend.lookup_payment(ref(request)) == outcome


async def test_what_was_fetched_costs_amount_and_fee(rig: Rig) -> None:
    needs(rig, Cap.BOLT12_SEND)
    fetched = await fetch(rig, await rig.make_outside_offer(AMOUNT_MSAT))
    before_msat = await balance_msat(rig.backend)

    outcome = await rig.backend.pay(a_fetched_request(fetched))

    assert isinstance(outcome, Settled)
    assert (outcome.fee_msat or 0) <= MAX_FEE_MSAT
    spent_msat = before_msat - await balance_msat(rig.backend)
    assert spent_msat == AMOUNT_MSAT + (outcome.fee_msat or 0)


async def test_asking_pays_nothing_and_gives_another_invoice_each_time(any_rig: Rig) -> None:
    needs(any_rig, Cap.BOLT12_SEND)
    offer = await any_rig.make_outside_offer(AMOUNT_MSAT)
    before_msat = await balance_msat(any_rig.backend)

    fetched = [await fetch(any_rig, offer) for _ in range(2)]

    assert len({each.payment_hash for each in fetched}) == 2
    assert len({each.invoice for each in fetched}) == 2
    assert await balance_msat(any_rig.backend) == before_msat


async def test_an_offer_without_amount_is_paid_with_the_amount_told(any_rig: Rig) -> None:
    needs(any_rig, Cap.BOLT12_SEND)
    offer = await any_rig.make_outside_offer(None)

    fetched = await fetch(any_rig, offer, 3_000)

    assert fetched.amount_msat == 3_000
    assert isinstance(await any_rig.backend.pay(a_fetched_request(fetched)), Settled)


async def test_an_amount_may_be_repeated(any_rig: Rig) -> None:
    needs(any_rig, Cap.BOLT12_SEND)
    offer = await any_rig.make_outside_offer(AMOUNT_MSAT)

    assert (await fetch(any_rig, offer, AMOUNT_MSAT)).amount_msat == AMOUNT_MSAT


@pytest.mark.parametrize(
    ("offered_msat", "amount_msat"),
    [
        pytest.param(AMOUNT_MSAT, AMOUNT_MSAT - 1, id="too-little"),
        pytest.param(AMOUNT_MSAT, AMOUNT_MSAT + 1, id="too-much"),
        pytest.param(None, None, id="none-at-all"),
        pytest.param(None, 0, id="nothing"),
        pytest.param(None, -1, id="negative"),
        pytest.param(None, 10**19, id="more-than-all-bitcoin"),
    ],
)
async def test_an_amount_that_the_offer_does_not_ask_for_is_a_bad_request(
    rig: Rig, offered_msat: int | None, amount_msat: int | None
) -> None:
    needs(rig, Cap.BOLT12_SEND)
    offer = await rig.make_outside_offer(offered_msat)

    with pytest.raises(BadRequest):
        await fetch(rig, offer, amount_msat)


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda offer: "", id="empty"),
        pytest.param(lambda offer: "lno1", id="a-prefix"),
        pytest.param(lambda offer: offer[:20], id="cut"),
        pytest.param(lambda offer: offer[:20] + offer[20:].upper(), id="mixed-case"),
        pytest.param(lambda offer: "lni" + offer[3:], id="an-invoice"),
        pytest.param(
            lambda offer: bolt12.encode(network="mainnet", issuer_id=STRANGER),
            id="another-network",
        ),
        pytest.param(
            lambda offer: bolt12.encode(network="regtest", issuer_id=STRANGER), id="nobody"
        ),
    ],
)
async def test_an_offer_that_nobody_answers_is_a_bad_request(
    rig: Rig, spoil: Callable[[str], str]
) -> None:
    needs(rig, Cap.BOLT12_SEND)
    offer = await rig.make_outside_offer(None)

    with pytest.raises(BadRequest):
        await fetch(rig, spoil(offer), AMOUNT_MSAT)


async def test_an_expired_offer_is_a_bad_request(rig: Rig) -> None:
    needs(rig, Cap.BOLT12_SEND)
    offer = await rig.make_outside_offer(AMOUNT_MSAT, expiry_s=0)

    with pytest.raises(BadRequest):
        await fetch(rig, offer)


async def test_a_node_asks_itself_for_no_invoice(rig: Rig) -> None:
    needs(rig, Cap.BOLT12_SEND | Cap.BOLT12_RECEIVE)
    own = await rig.backend.create_offer(an_offer_spec())

    with pytest.raises(BadRequest):
        await fetch(rig, own.offer)


async def test_a_bolt12_invoice_that_was_never_fetched_is_sent_nowhere(rig: Rig) -> None:
    needs(rig, Cap.BOLT12_SEND)
    fetched = await fetch(rig, await rig.make_outside_offer(AMOUNT_MSAT))
    request = a_fetched_request(fetched)
    last = "p" if fetched.invoice[-1] == "q" else "q"
    forged = replace(fetched, invoice=fetched.invoice[:-1] + last)

    assert isinstance(await rig.backend.pay(a_fetched_request(forged)), NotSent)
    assert await rig.backend.lookup_payment(ref(request)) is None


async def test_a_new_offer_is_what_was_asked_for(any_rig: Rig) -> None:
    needs(any_rig, Cap.BOLT12_RECEIVE)
    expires_at = int(time.time()) + 600

    made = await any_rig.backend.create_offer(
        an_offer_spec(AMOUNT_MSAT, description="tea", issuer="a shop", expires_at=expires_at)
    )

    read = bolt12.decode(made.offer)
    assert (read.offer, read.amount_msat) == (made.offer, AMOUNT_MSAT)
    assert (read.description, read.issuer) == ("tea", "a shop")
    assert read.expires_at == expires_at


async def test_the_same_id_gives_the_same_offer(any_rig: Rig) -> None:
    needs(any_rig, Cap.BOLT12_RECEIVE)
    spec = an_offer_spec(our_id="one")

    first = await any_rig.backend.create_offer(spec)

    assert await any_rig.backend.create_offer(spec) == first
    assert (await any_rig.backend.create_offer(an_offer_spec())).offer != first.offer


async def test_each_payment_of_an_offer_is_told_with_the_offer(any_rig: Rig) -> None:
    needs(any_rig, Cap.BOLT12_RECEIVE)
    other = await any_rig.backend.create_offer(an_offer_spec(1_000))
    made = await any_rig.backend.create_offer(an_offer_spec(None))
    await any_rig.pay_offer_from_outside(other.offer)
    await any_rig.pay_offer_from_outside(made.offer, 2_000)
    await any_rig.pay_offer_from_outside(made.offer, 3_000)

    seen, _ = await told(any_rig.backend, None, until=lambda each: each.received_msat == 3_000)

    assert [(each.node_offer_id, each.received_msat) for each in seen] == [
        (other.node_offer_id, 1_000),
        (made.node_offer_id, 2_000),
        (made.node_offer_id, 3_000),
    ]
    assert len({each.payment_hash for each in seen}) == 3
    for report in seen:
        assert (report.status, report.tlvs) == (InvoiceStatus.SETTLED, None)
        assert proves(report.preimage, report.payment_hash)
        assert await any_rig.backend.lookup_invoice(report.payment_hash) == report


async def test_a_payment_of_an_offer_is_money(rig: Rig) -> None:
    needs(rig, Cap.BOLT12_RECEIVE)
    made = await rig.backend.create_offer(an_offer_spec())
    before_msat = await balance_msat(rig.backend)

    await rig.pay_offer_from_outside(made.offer)

    assert await balance_msat(rig.backend) == before_msat + AMOUNT_MSAT


async def test_an_offer_is_payable_after_another_start(any_rig: Rig) -> None:
    """NWC-12: offers stay payable while the user-facing app is offline."""
    needs(any_rig, Cap.BOLT12_RECEIVE)
    made = await any_rig.backend.create_offer(an_offer_spec())

    await any_rig.reopen()
    await any_rig.pay_offer_from_outside(made.offer)

    [report], _ = await told(any_rig.backend, None, until=lambda each: True)
    assert report.node_offer_id == made.node_offer_id
