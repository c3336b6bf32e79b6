"""BOLT12 at Core Lightning, which makes one offer of two that are alike."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from backends.cln import ClnBackend
from nwc_service.backend import BackendUnavailable, BadRequest
from nwc_service.wallet import bolt12
from nwc_service.wallet.units import Msat
from tests.backends.cln_double import ClnDouble, Fault, cln_double
from tests.backends.cln_rows import NODE_ID, OUTSIDE_ID, RpcFail, a_backend
from tests.backends.contract import an_offer_spec, told


@pytest.fixture
async def double() -> AsyncIterator[ClnDouble]:
    async with cln_double() as opened:
        yield opened


@pytest.fixture(params=["socket", "rest"])
async def backend(
    double: ClnDouble, request: pytest.FixtureRequest
) -> AsyncIterator[ClnBackend]:
    opened = a_backend(**double.options(request.param))
    await opened.start()
    yield opened
    await opened.close()


async def test_the_nodes_own_command_is_used_where_nothing_is_alike(
    double: ClnDouble, backend: ClnBackend
) -> None:
    made = await backend.create_offer(
        an_offer_spec(None, our_id="one", description="", issuer="a shop", single_use=True)
    )

    assert double.core.of("createoffer") == []
    assert double.core.of("offer") == [
        {"amount": "any", "label": "one", "single_use": True, "issuer": "a shop"}
    ]
    assert made.node_offer_id == bolt12.offer_id(bolt12.decode(made.offer))


@pytest.mark.parametrize("single_use", [False, True])
async def test_two_that_are_alike_can_be_told_apart(
    backend: ClnBackend, single_use: bool
) -> None:
    expires_at = 2_000_000_000
    specs = [
        an_offer_spec(our_id=our_id, single_use=single_use, expires_at=expires_at)
        for our_id in ("one", "two", "three")
    ]

    made = [await backend.create_offer(spec) for spec in specs]

    assert len({each.node_offer_id for each in made}) == 3
    assert [await backend.create_offer(spec) for spec in specs] == made
    for each in made:
        read = bolt12.decode(each.offer)
        assert (read.issuer_id, read.description) == (NODE_ID, "tea")
        assert (read.amount, read.expires_at) == (5_000_000, expires_at)


async def test_one_that_is_used_up_is_not_given_to_another(
    double: ClnDouble, backend: ClnBackend
) -> None:
    first = await backend.create_offer(an_offer_spec(our_id="one", single_use=True))
    await double.core.pay_offer_from_outside(first.offer, None)

    other = await backend.create_offer(an_offer_spec(our_id="two", single_use=True))

    assert other.offer != first.offer
    await double.core.pay_offer_from_outside(other.offer, None)
    with pytest.raises(ValueError, match="no longer"):
        await double.core.pay_offer_from_outside(other.offer, None)


async def test_one_that_can_be_used_again_does_not_serve_for_a_single_use(
    backend: ClnBackend,
) -> None:
    first = await backend.create_offer(an_offer_spec(our_id="one"))

    other = await backend.create_offer(an_offer_spec(our_id="two", single_use=True))

    assert other.node_offer_id != first.node_offer_id


async def test_a_node_that_strangers_do_not_find_cannot_make_two_alike(
    double: ClnDouble, backend: ClnBackend
) -> None:
    double.core.is_private = True
    await backend.create_offer(an_offer_spec(our_id="one"))

    with pytest.raises(BadRequest, match="change its description"):
        await backend.create_offer(an_offer_spec(our_id="two"))


@pytest.mark.parametrize("code", [-32601, -32602])
async def test_a_node_without_the_command_that_is_in_no_manual_cannot_either(
    double: ClnDouble, backend: ClnBackend, code: int
) -> None:
    await backend.create_offer(an_offer_spec(our_id="one"))
    double.core.script["createoffer"] = RpcFail(code, "no")

    with pytest.raises(BadRequest, match="change its description"):
        await backend.create_offer(an_offer_spec(our_id="two"))


@pytest.mark.parametrize("method", ["offer", "createoffer"])
async def test_an_offer_whose_reply_was_lost_is_made_once(
    double: ClnDouble, backend: ClnBackend, method: str
) -> None:
    if method == "createoffer":
        await backend.create_offer(an_offer_spec(our_id="one"))
    spec = an_offer_spec(our_id="two")
    double.faults[method] = Fault.AFTER_COMMIT
    before = len(double.core.bolt12.offers)

    with pytest.raises(BackendUnavailable, match="create_offer"):
        await backend.create_offer(spec)
    made = await backend.create_offer(spec)

    assert len(double.core.bolt12.offers) == before + 1
    assert double.core.bolt12.offers[made.node_offer_id]["label"] == "two"


async def test_what_cln_does_not_take_is_a_bad_request(
    double: ClnDouble, backend: ClnBackend
) -> None:
    double.core.script["offer"] = RpcFail(-32602, "description: should be shorter")

    with pytest.raises(BadRequest, match="should be shorter"):
        await backend.create_offer(an_offer_spec())


async def test_a_receipt_names_its_offer_and_what_the_payer_wrote(
    double: ClnDouble, backend: ClnBackend
) -> None:
    made = await backend.create_offer(an_offer_spec())
    await double.core.pay_offer_from_outside(made.offer, None)

    [report], _ = await told(backend, None, until=lambda each: True)

    assert (report.node_offer_id, report.payer_note) == (made.node_offer_id, "thanks")
    assert report.invoice.startswith("lni1")
    assert report.created_at == report.settled_at


# --- paying


async def fetch(
    backend: ClnBackend, offer: str, amount_msat: int | None = None, note: str | None = None
) -> Any:
    amount = None if amount_msat is None else Msat(amount_msat)
    return await backend.fetch_invoice(offer, amount_msat=amount, payer_note=note)


async def test_the_payee_is_asked_for_what_was_meant(
    double: ClnDouble, backend: ClnBackend
) -> None:
    named = double.core.bolt12.make_outside_offer(7_000, expiry_s=None)
    nameless = double.core.bolt12.make_outside_offer(None, expiry_s=None)

    fetched = await fetch(backend, named, 7_000, "for tea \u00fc")
    await fetch(backend, nameless, 8_000)

    assert double.core.of("fetchinvoice") == [
        {"offer": named, "timeout": 30, "payer_note": "for tea \u00fc"},
        {"offer": nameless, "timeout": 30, "amount_msat": 8_000},
    ]
    assert (fetched.payee, fetched.amount_msat) == (OUTSIDE_ID, 7_000)


async def test_an_invoice_of_another_amount_is_not_taken(
    double: ClnDouble, backend: ClnBackend
) -> None:
    offer = double.core.bolt12.make_outside_offer(7_000, expiry_s=None)
    reading = {
        "type": "bolt12 invoice",
        "valid": True,
        "invoice_payment_hash": "ab" * 32,
        "invoice_amount_msat": 7_001,
        "invoice_created_at": 2_000_000_000,
    }
    double.core.script["decode"] = reading

    with pytest.raises(BadRequest, match="another amount"):
        await fetch(backend, offer)


@pytest.mark.parametrize("code", [1002, 1003, 1004, 1005, -1, -32602])
async def test_a_payee_who_gives_none_is_a_bad_request(
    double: ClnDouble, backend: ClnBackend, code: int
) -> None:
    offer = double.core.bolt12.make_outside_offer(7_000, expiry_s=None)
    double.core.script["fetchinvoice"] = RpcFail(code, "no")

    with pytest.raises(BadRequest, match="CLN got no invoice: no"):
        await fetch(backend, offer)


@pytest.mark.parametrize("code", [-4, -5, None, -32601])
async def test_a_node_that_does_not_do_it_is_no_fault_of_the_offer(
    double: ClnDouble, backend: ClnBackend, code: int | None
) -> None:
    offer = double.core.bolt12.make_outside_offer(7_000, expiry_s=None)
    double.core.script["fetchinvoice"] = RpcFail(code, "no")

    with pytest.raises(BackendUnavailable, match="fetch_invoice"):
        await fetch(backend, offer)


async def test_an_own_offer_is_known_even_where_it_hides_the_node(
    double: ClnDouble, backend: ClnBackend
) -> None:
    hidden = double.core.bolt12.make_outside_offer(7_000, expiry_s=None)
    double.core.bolt12.createoffer(double.core, hidden)

    with pytest.raises(BadRequest, match="does not pay itself"):
        await fetch(backend, hidden)


async def test_one_of_several_is_bought_where_the_offer_has_a_quantity(
    double: ClnDouble, backend: ClnBackend
) -> None:
    offer = bolt12.encode(
        network="regtest",
        amount_msat=Msat(7_000),
        description="tea",
        quantity_max=10,
        issuer_id=OUTSIDE_ID,
    )
    double.core.script["fetchinvoice"] = RpcFail(1004, "sold out")

    with pytest.raises(BadRequest):
        await fetch(backend, offer)

    assert double.core.of("fetchinvoice")[0]["quantity"] == 1
