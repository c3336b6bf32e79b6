"""Invoices of phoenixd: made once, and credited with what was received."""

from collections.abc import AsyncIterator

import pytest

from backends.phoenixd import PhoenixdBackend
from nwc_service.backend import (
    BackendUnavailable,
    BadRequest,
    InvoiceReport,
    InvoiceStatus,
    Unsupported,
)
from nwc_service.wallet import bolt11
from nwc_service.wallet.units import PaymentHash
from tests.backends.contract import NOBODYS_HASH, a_spec
from tests.backends.phoenixd_double import CREATE, LIST_IN, PhoenixdDouble, phoenixd_double
from tests.backends.phoenixd_http import Answer, Fault
from tests.backends.phoenixd_rig import a_backend
from tests.backends.phoenixd_rows import Incoming, an_invoice, hash_of

PREIMAGE = "12" * 32
AMOUNT_MSAT = 30_000_000


@pytest.fixture
async def phoenixd() -> AsyncIterator[PhoenixdDouble]:
    async with phoenixd_double() as double:
        yield double


@pytest.fixture
async def backend(phoenixd: PhoenixdDouble) -> AsyncIterator[PhoenixdBackend]:
    backend = a_backend(phoenixd)
    await backend.start()
    yield backend
    await backend.close()


async def looked_up(backend: PhoenixdBackend, payment_hash: PaymentHash) -> InvoiceReport:
    report = await backend.lookup_invoice(payment_hash)
    assert report is not None
    return report


async def test_what_is_asked_for_is_told(
    phoenixd: PhoenixdDouble, backend: PhoenixdBackend
) -> None:
    await backend.create_invoice(
        a_spec(21_000, our_id="one", description="tea & cake = 5 €", expiry_s=600)
    )
    await backend.create_invoice(a_spec(None, our_id="two", description_hash="ab" * 32))

    assert [call.form for call in phoenixd.of(CREATE)] == [
        {
            "amountSat": "21",
            "description": "tea & cake = 5 €",
            "expirySeconds": "600",
            "externalId": "one",
        },
        {"descriptionHash": "ab" * 32, "expirySeconds": "3600", "externalId": "two"},
    ]


@pytest.mark.parametrize("fault", [Fault.AFTER_COMMIT, Fault.MID_BODY])
async def test_an_invoice_whose_reply_was_lost_is_found_by_its_id(
    phoenixd: PhoenixdDouble, backend: PhoenixdBackend, fault: Fault
) -> None:
    phoenixd.faults[CREATE] = fault
    with pytest.raises(BackendUnavailable):
        await backend.create_invoice(a_spec(our_id="one"))

    report = await backend.create_invoice(a_spec(our_id="one"))

    assert len(phoenixd.incoming) == 1
    assert report.payment_hash == hash_of(phoenixd.incoming[0].preimage)
    assert await backend.create_invoice(a_spec(our_id="one")) == report


async def test_of_two_invoices_of_one_id_the_first_counts(
    phoenixd: PhoenixdDouble, backend: PhoenixdBackend
) -> None:
    first = await backend.create_invoice(a_spec(our_id="one"))
    again = await backend.create_invoice(a_spec(our_id="another"))
    phoenixd.incoming[1].external_id = "one"
    phoenixd.incoming[1].created_at_ms += 1

    assert await backend.create_invoice(a_spec(our_id="one")) == first != again


async def test_an_id_that_phoenixd_does_not_keep_is_an_error(
    phoenixd: PhoenixdDouble, backend: PhoenixdBackend
) -> None:
    invoice = bolt11.decode(an_invoice(5_000_000, hash_of(PREIMAGE)))
    phoenixd.incoming = [Incoming(None, invoice, PREIMAGE, 1)]
    phoenixd.script[CREATE] = Answer(200, {"paymentHash": invoice.payment_hash})

    with pytest.raises(BackendUnavailable, match=r"create_invoice.*externalId"):
        await backend.create_invoice(a_spec(our_id="one"))


async def test_an_invoice_of_another_amount_is_an_error(
    phoenixd: PhoenixdDouble, backend: PhoenixdBackend
) -> None:
    await backend.create_invoice(a_spec(5_000, our_id="one"))

    with pytest.raises(BackendUnavailable, match="another invoice"):
        await backend.create_invoice(a_spec(6_000, our_id="one"))


@pytest.mark.parametrize(
    "spec",
    [
        pytest.param(a_spec(1_001), id="fraction"),
        pytest.param(a_spec(0), id="nothing"),
        pytest.param(a_spec(-1_000), id="negative"),
        pytest.param(a_spec(expiry_s=0), id="expiry"),
        pytest.param(a_spec(description="x" * 129), id="long"),
        pytest.param(a_spec(description="\U0001f980" * 65), id="long-in-two-units"),
    ],
)
async def test_what_phoenixd_would_refuse_or_cut_is_refused_here(
    phoenixd: PhoenixdDouble, backend: PhoenixdBackend, spec: object
) -> None:
    phoenixd.requests.clear()

    with pytest.raises(BadRequest):
        await backend.create_invoice(spec)  # type: ignore[arg-type]

    assert phoenixd.requests == []


async def test_a_preimage_or_a_hash_of_ones_own_is_unsupported(
    backend: PhoenixdBackend,
) -> None:
    for spec in (a_spec(preimage=PREIMAGE), a_spec(hold_hash="ab" * 32)):
        with pytest.raises(Unsupported):
            await backend.create_invoice(spec)


async def test_what_phoenixd_refuses_is_a_bad_request_in_its_words(
    phoenixd: PhoenixdDouble, backend: PhoenixdBackend
) -> None:
    phoenixd.script[CREATE] = Answer(400, "the amount is too large")

    with pytest.raises(BadRequest, match="the amount is too large"):
        await backend.create_invoice(a_spec())


@pytest.mark.attack("A19")
async def test_a_preimage_is_not_told_before_it_is_paid(
    phoenixd: PhoenixdDouble, backend: PhoenixdBackend
) -> None:
    made = await backend.create_invoice(a_spec())

    assert made.preimage is None
    assert await looked_up(backend, made.payment_hash) == made
    phoenixd.receive(made.payment_hash)
    assert (await looked_up(backend, made.payment_hash)).preimage is not None


@pytest.mark.attack("A18")
async def test_what_new_liquidity_costs_is_not_credited(
    phoenixd: PhoenixdDouble, backend: PhoenixdBackend
) -> None:
    made = await backend.create_invoice(a_spec(AMOUNT_MSAT))
    before_msat = phoenixd.balance_msat

    phoenixd.receive(made.payment_hash, fee_msat=21_219_000)

    report = await looked_up(backend, made.payment_hash)
    assert (report.status, report.amount_msat) == (InvoiceStatus.SETTLED, AMOUNT_MSAT)
    assert report.received_msat == AMOUNT_MSAT - 21_219_000
    assert phoenixd.balance_msat == before_msat + report.received_msat


@pytest.mark.attack("A18")
async def test_a_fraction_that_is_left_is_not_credited(
    phoenixd: PhoenixdDouble, backend: PhoenixdBackend
) -> None:
    made = await backend.create_invoice(a_spec(AMOUNT_MSAT))

    phoenixd.receive(made.payment_hash, fee_msat=1_001)

    assert (await looked_up(backend, made.payment_hash)).received_msat == AMOUNT_MSAT - 2_000


async def test_more_than_was_asked_for_is_credited(
    phoenixd: PhoenixdDouble, backend: PhoenixdBackend
) -> None:
    made = await backend.create_invoice(a_spec(5_000))

    phoenixd.receive(made.payment_hash, 7_000)

    assert (await looked_up(backend, made.payment_hash)).received_msat == 7_000


async def test_an_invoice_that_expired_may_still_be_settled(
    phoenixd: PhoenixdDouble, backend: PhoenixdBackend
) -> None:
    text = an_invoice(5_000, hash_of(PREIMAGE), age_s=3600)
    payment_hash = PaymentHash(hash_of(PREIMAGE))
    phoenixd.incoming = [Incoming("one", bolt11.decode(text), PREIMAGE, 1)]

    assert (await looked_up(backend, payment_hash)).status is InvoiceStatus.EXPIRED
    phoenixd.receive(payment_hash)
    assert (await looked_up(backend, payment_hash)).status is InvoiceStatus.SETTLED


@pytest.mark.parametrize(
    ("external_id", "text"),
    [
        pytest.param(None, an_invoice(5_000, hash_of(PREIMAGE)), id="of-somebody-else"),
        pytest.param("one", None, id="of-an-offer"),
        pytest.param("one", an_invoice(5_000, "ab" * 32), id="of-another-hash"),
    ],
)
async def test_what_this_backend_did_not_make_is_not_told(
    phoenixd: PhoenixdDouble,
    backend: PhoenixdBackend,
    external_id: str | None,
    text: str | None,
) -> None:
    invoice = None if text is None else bolt11.decode(text)
    phoenixd.incoming = [Incoming(external_id, invoice, PREIMAGE, 1)]
    phoenixd.receive(hash_of(PREIMAGE), 5_000)

    assert await backend.lookup_invoice(PaymentHash(hash_of(PREIMAGE))) is None
    assert (await backend.list_history("in", None, 10)).items == []


async def test_a_list_that_cannot_be_read_makes_no_second_invoice(
    phoenixd: PhoenixdDouble, backend: PhoenixdBackend
) -> None:
    phoenixd.script[LIST_IN] = Answer(200, {"not": "a list"})

    with pytest.raises(BackendUnavailable):
        await backend.create_invoice(a_spec())
    with pytest.raises(BackendUnavailable):
        await backend.lookup_invoice(NOBODYS_HASH)

    assert phoenixd.incoming == []
