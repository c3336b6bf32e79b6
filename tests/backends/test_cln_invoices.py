"""Invoices at Core Lightning, and what is done about lost replies and what it forgets."""

from collections.abc import AsyncIterator
from dataclasses import replace
from hashlib import sha256

import pytest

from backends.cln import ClnBackend
from nwc_service.backend import (
    BackendUnavailable,
    BadRequest,
    InvoiceSpec,
    InvoiceStatus,
    Unsupported,
)
from nwc_service.wallet import bolt11
from nwc_service.wallet.units import Msat, PaymentHash, Preimage
from tests.backends.cln_double import ClnDouble, Fault, cln_double
from tests.backends.cln_rows import RpcFail, a_backend
from tests.backends.contract import a_spec


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


@pytest.mark.parametrize("fault", [Fault.AFTER_COMMIT, Fault.MID_REPLY, Fault.AFTER_READ])
@pytest.mark.parametrize("preimage", [None, "12" * 32])
async def test_an_invoice_whose_reply_was_lost_is_found_by_our_id(
    double: ClnDouble, backend: ClnBackend, fault: Fault, preimage: str | None
) -> None:
    spec = a_spec(our_id="one", preimage=preimage)
    double.faults["invoice"] = fault

    with pytest.raises(BackendUnavailable, match="create_invoice"):
        await backend.create_invoice(spec)
    again = await backend.create_invoice(spec)

    assert [row["label"] for row in double.core.invoices] == ["one"]
    assert await backend.lookup_invoice(again.payment_hash) == again


@pytest.mark.parametrize(
    "other",
    [
        {"amount_msat": Msat(1_000)},
        {"description": "coffee"},
        {"expiry_s": 60},
        {"preimage": Preimage("13" * 32)},
    ],
    ids=["amount", "description", "expiry", "preimage"],
)
async def test_the_same_id_for_another_invoice_is_refused(
    backend: ClnBackend, other: dict[str, object]
) -> None:
    spec: InvoiceSpec = a_spec(our_id="one", preimage="12" * 32)
    await backend.create_invoice(spec)

    with pytest.raises(BadRequest, match="another invoice with this label"):
        await backend.create_invoice(replace(spec, **other))  # type: ignore[arg-type]


async def test_the_hash_of_a_description_is_made_of_its_text(
    double: ClnDouble, backend: ClnBackend
) -> None:
    text = 'a long "text" \u00fc ' * 100
    wanted = sha256(text.encode()).hexdigest()
    spec = a_spec(our_id="one", description=text, description_hash=wanted)

    made = await backend.create_invoice(spec)

    assert bolt11.decode(made.invoice).description_hash == wanted
    assert await backend.create_invoice(spec) == made
    assert double.core.of("invoice")[0]["description"] == text


async def test_a_hash_without_its_text_is_not_supported(backend: ClnBackend) -> None:
    with pytest.raises(Unsupported):
        await backend.create_invoice(a_spec(description_hash="ab" * 32))


@pytest.mark.parametrize(
    "spec",
    [
        a_spec(0),
        a_spec(10**19),
        a_spec(expiry_s=0),
        a_spec(description="x" * 640),
        a_spec(description="\ud800"),
    ],
    ids=["nothing", "too-much", "expiry", "too-long", "surrogate"],
)
async def test_what_cln_would_not_take_is_a_bad_request_before_any_io(
    spec: InvoiceSpec,
) -> None:
    with pytest.raises(BadRequest):
        await a_backend(socket="/nowhere").create_invoice(spec)


@pytest.mark.parametrize("hints", [None, True, False])
async def test_private_channels_are_named_as_configured(hints: bool | None) -> None:
    async with cln_double() as double:
        backend = a_backend(**double.options("socket"), private_hints=hints)
        await backend.start()

        await backend.create_invoice(a_spec(min_cltv_expiry_delta=99))

        [asked] = double.core.of("invoice")
        assert asked.get("exposeprivatechannels") == hints
        assert asked["cltv"] == 99


async def test_another_error_is_the_nodes_trouble(
    double: ClnDouble, backend: ClnBackend
) -> None:
    double.core.script["invoice"] = RpcFail(-1, "disk full")

    with pytest.raises(BackendUnavailable, match="-1: disk full"):
        await backend.create_invoice(a_spec())


# --- canceling


async def test_what_is_paid_stays_so(double: ClnDouble, backend: ClnBackend) -> None:
    made = await backend.create_invoice(a_spec())
    await double.core.pay_from_outside(made.invoice, None)

    await backend.cancel_invoice(made.payment_hash)

    report = await backend.lookup_invoice(made.payment_hash)
    assert report is not None
    assert report.status is InvoiceStatus.SETTLED


async def test_what_is_paid_while_it_is_canceled_stays_so(
    double: ClnDouble, backend: ClnBackend
) -> None:
    made = await backend.create_invoice(a_spec())
    row = next(row for row in double.core.invoices if row["bolt11"] == made.invoice)
    double.core.script["delinvoice"] = RpcFail(906, "Invoice status is paid not unpaid")
    await double.core.receive(row, 5_000_000)
    row["status"] = "unpaid"  # as it was when it was read

    with pytest.raises(BackendUnavailable, match="changes all the time"):
        await backend.cancel_invoice(made.payment_hash)

    row["status"] = "paid"
    await backend.cancel_invoice(made.payment_hash)
    assert row in double.core.invoices


async def test_what_was_canceled_is_paid_by_nobody_and_forgotten_with_the_restart(
    double: ClnDouble, backend: ClnBackend
) -> None:
    made = await backend.create_invoice(a_spec())
    await backend.cancel_invoice(made.payment_hash)

    with pytest.raises(ValueError, match="does not know"):
        await double.core.pay_from_outside(made.invoice, None)

    other = a_backend(**double.options("socket"))
    await other.start()
    assert await other.lookup_invoice(made.payment_hash) is None
    await other.cancel_invoice(made.payment_hash)


async def test_canceling_what_was_never_made_does_nothing(backend: ClnBackend) -> None:
    await backend.cancel_invoice(PaymentHash("00" * 32))


async def test_an_error_of_canceling_is_told(double: ClnDouble, backend: ClnBackend) -> None:
    made = await backend.create_invoice(a_spec())
    double.core.script["delinvoice"] = RpcFail(-1, "disk full")

    with pytest.raises(BackendUnavailable, match=r"cancel_invoice.*disk full"):
        await backend.cancel_invoice(made.payment_hash)
