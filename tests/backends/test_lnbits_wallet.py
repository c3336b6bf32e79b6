"""Keys, invoices and histories of an LNbits wallet, against a scripted server."""

from collections.abc import AsyncIterator

import pytest

from backends.lnbits import LnbitsBackend
from nwc_service.backend import (
    BackendUnavailable,
    BadRequest,
    InvoiceReport,
    InvoiceSpec,
    InvoiceStatus,
    NodeInfo,
    PaymentReport,
    Settled,
)
from tests.backends.contract import a_spec
from tests.backends.lnbits_double import (
    ADMIN_KEY,
    AMOUNT_MSAT,
    CREATE,
    INVOICE_KEY,
    LIST,
    LOOK_UP,
    PAYMENT_HASH,
    PREIMAGE,
    WALLET,
    WALLET_ID,
    Answer,
    Json,
    LnbitsDouble,
    a_backend,
    a_lookup,
    a_refusal,
    a_row,
    an_invoice,
    lnbits_double,
)


def incoming(status: str = "success", **changed: object) -> Json:
    return a_row(status, amount=int(AMOUNT_MSAT), fee=0, **changed)


def listed(*rows: Json) -> Answer:
    return Answer(200, {"data": rows, "total": len(rows)})


@pytest.fixture
async def double() -> AsyncIterator[LnbitsDouble]:
    async with lnbits_double() as opened:
        yield opened


@pytest.fixture
async def backend(double: LnbitsDouble) -> AsyncIterator[LnbitsBackend]:
    opened = a_backend(double.url)
    await opened.start()
    yield opened
    await opened.close()


WITH_ID: Json = {"name": "test", "balance": 5, "id": WALLET_ID}
WITHOUT_ID: Json = {"name": "test", "balance": 5}


@pytest.mark.attack("A23")
@pytest.mark.parametrize(
    ("script", "told"),
    [
        pytest.param(
            {f"admin {WALLET}": Answer(200, WITHOUT_ID)}, "admin_key is no admin key", id="weak"
        ),
        pytest.param(
            {WALLET: Answer(200, WITH_ID)}, "invoice_key is an admin key", id="too-strong"
        ),
        pytest.param(
            {LIST: listed(incoming(wallet_id="another"))}, "different wallets", id="two-wallets"
        ),
        pytest.param(
            {f"admin {WALLET}": a_refusal("Wallet not found.", None, http=404)},
            "HTTP 404; check url, admin_key",
            id="nobodys-key",
        ),
        pytest.param({f"admin {WALLET}": Answer(307)}, "first installation", id="not-set-up"),
        pytest.param({WALLET: Answer(429)}, "lnbits_rate_limit_no", id="too-fast"),
        pytest.param({WALLET: Answer(200, "hello")}, "HTTP 200; see LNbits' log", id="no-json"),
        pytest.param({WALLET: Answer(cut=True)}, "no reply from LNbits", id="cut"),
    ],
)
async def test_start_names_what_is_wrong_and_no_key(
    double: LnbitsDouble, script: dict[str, Answer], told: str
) -> None:
    double.script |= script
    backend = a_backend(double.url)

    with pytest.raises(BackendUnavailable, match=r"^backend 'lnbits' \(lnbits\), s") as problem:
        await backend.start()

    await backend.close()
    assert told in str(problem.value)
    assert ADMIN_KEY not in str(problem.value)
    assert INVOICE_KEY not in str(problem.value)


async def test_start_may_be_repeated_and_tells_nothing_of_a_node(
    backend: LnbitsBackend,
) -> None:
    assert await backend.start() == NodeInfo()


async def test_without_start_nothing_is_asked(double: LnbitsDouble) -> None:
    with pytest.raises(BackendUnavailable, match="not started"):
        await a_backend(double.url).balance()

    assert double.requests == []


async def test_an_invoice_is_created_with_our_id_and_brings_its_preimage(
    double: LnbitsDouble, backend: LnbitsBackend
) -> None:
    double.script[CREATE] = Answer(201, incoming("pending", external_id="one"))

    report = await backend.create_invoice(a_spec(21_000, our_id="one", expiry_s=600))

    assert (report.payment_hash, report.status) == (PAYMENT_HASH, InvoiceStatus.OPEN)
    assert (report.preimage, report.received_msat) == (PREIMAGE, None)
    (request,) = double.asked(CREATE)
    assert request.key == INVOICE_KEY
    assert request.body == {
        "out": False,
        "unit": "sat",
        "amount": 21,
        "memo": "tea",
        "expiry": 600,
        "external_id": "one",
    }


async def test_an_invoice_whose_creation_lost_its_reply_is_found_by_our_id(
    double: LnbitsDouble, backend: LnbitsBackend
) -> None:
    spec = a_spec(21_000, our_id="one")
    double.script[CREATE] = Answer(cut=True)
    with pytest.raises(BackendUnavailable, match="no reply"):
        await backend.create_invoice(spec)
    # LNbits passes over filters that it does not know, so other rows may be there
    foreign = {"payment_hash": "ab" * 32, "bolt11": an_invoice(payment_hash="ab" * 32)}
    double.script[LIST] = listed(
        incoming("pending", external_id="two", **foreign),
        a_row(external_id="one"),
        incoming("pending", external_id="one"),
    )

    report = await backend.create_invoice(spec)

    assert report.payment_hash == PAYMENT_HASH
    assert len(double.asked(CREATE)) == 1
    assert double.asked(LIST)[-1].query == "external_id=one"


@pytest.mark.parametrize(
    "row",
    [
        pytest.param(
            incoming("pending", external_id="one", bolt11=an_invoice(20_000)), id="less"
        ),
        pytest.param(
            incoming("pending", external_id="one", bolt11=an_invoice(payment_hash="ab" * 32)),
            id="another-hash",
        ),
        pytest.param(incoming("pending", external_id="one", bolt11="lnbc1"), id="no-invoice"),
        pytest.param(
            incoming("pending", external_id="one", wallet_id="another"), id="another-wallet"
        ),
        pytest.param(incoming("pending", external_id=None), id="without-our-id"),
    ],
)
async def test_another_invoice_than_asked_for_is_not_handed_out(
    double: LnbitsDouble, backend: LnbitsBackend, row: Json
) -> None:
    double.script[CREATE] = Answer(201, row)

    with pytest.raises(BackendUnavailable, match="create_invoice"):
        await backend.create_invoice(a_spec(21_000, our_id="one"))


@pytest.mark.parametrize(
    ("answer", "raised", "told"),
    [
        pytest.param(
            a_refusal("Invoice amount 21 sats is too high. Max allowed: 9 sats.", "failed"),
            BadRequest,
            "too high",
            id="too-much",
        ),
        pytest.param(
            a_refusal([{"msg": "wrong"}], None, http=400), BadRequest, "parameters", id="400"
        ),
        pytest.param(
            a_refusal("Unable to connect to http://upstream.", "pending"),
            BackendUnavailable,
            "Unable to connect",
            id="funding-source-gone",
        ),
        pytest.param(Answer(201, "hello"), BackendUnavailable, "HTTP 201", id="no-json"),
        pytest.param(Answer(500), BackendUnavailable, "HTTP 500", id="500"),
    ],
)
async def test_a_creation_that_fails_is_told_apart_from_a_bad_request(
    double: LnbitsDouble,
    backend: LnbitsBackend,
    answer: Answer,
    raised: type[Exception],
    told: str,
) -> None:
    double.script[CREATE] = answer

    with pytest.raises(raised, match=told):
        await backend.create_invoice(a_spec(21_000, our_id="one"))


@pytest.mark.parametrize(
    "spec",
    [
        pytest.param(a_spec(1_500), id="fraction-of-a-sat"),
        pytest.param(a_spec(999), id="less-than-a-sat"),
        pytest.param(a_spec(0), id="nothing"),
        pytest.param(a_spec(-1_000), id="negative"),
        pytest.param(a_spec(1_000, expiry_s=0), id="expired-at-once"),
        pytest.param(a_spec(1_000, description="é" * 320), id="description-too-long"),
    ],
)
async def test_what_lnbits_would_change_silently_is_a_bad_request(
    double: LnbitsDouble, backend: LnbitsBackend, spec: InvoiceSpec
) -> None:
    double.requests.clear()

    with pytest.raises(BadRequest):
        await backend.create_invoice(spec)

    assert double.requests == []


@pytest.mark.parametrize(
    ("row", "status", "received_msat", "preimage"),
    [
        pytest.param(incoming(), "settled", 21_000, PREIMAGE, id="settled"),
        pytest.param(
            {**incoming(), "fee": -1_500.5}, "settled", 19_499, PREIMAGE, id="fee-taken-off"
        ),
        pytest.param(incoming("pending"), "open", None, PREIMAGE, id="open"),
        pytest.param(
            incoming("failed", bolt11=an_invoice(age_s=3_601)),
            "expired",
            None,
            PREIMAGE,
            id="expired-shown-as-failed",
        ),
        pytest.param(incoming("failed"), "canceled", None, PREIMAGE, id="failed-early"),
        pytest.param(incoming(preimage="00" * 32), "settled", 21_000, None, id="no-proof"),
    ],
)
async def test_an_invoice_is_reported_as_lnbits_shows_it(
    double: LnbitsDouble,
    backend: LnbitsBackend,
    row: Json,
    status: str,
    received_msat: int | None,
    preimage: str | None,
) -> None:
    double.script[LOOK_UP] = a_lookup(row)

    report = await backend.lookup_invoice(PAYMENT_HASH)

    assert report is not None
    assert (report.status, report.received_msat) == (status, received_msat)
    assert (report.preimage, report.amount_msat) == (preimage, AMOUNT_MSAT)


async def test_an_invoice_that_this_wallet_paid_itself_is_found_behind_the_payment(
    double: LnbitsDouble, backend: LnbitsBackend
) -> None:
    double.script |= {LOOK_UP: a_lookup(a_row()), LIST: listed(a_row(), incoming())}

    report = await backend.lookup_invoice(PAYMENT_HASH)

    assert report is not None
    assert report.status is InvoiceStatus.SETTLED


@pytest.mark.attack("A20")
async def test_somebody_elses_invoice_in_the_wallet_is_not_ours(
    double: LnbitsDouble, backend: LnbitsBackend
) -> None:
    double.script[LOOK_UP] = a_lookup(incoming(external_id=None))

    assert await backend.lookup_invoice(PAYMENT_HASH) is None


async def test_a_row_that_cannot_be_read_hides_no_other(
    double: LnbitsDouble, backend: LnbitsBackend
) -> None:
    poison: Json = {"payment_hash": "no hash", "amount": "much"}
    double.script[LIST] = Answer(200, {"data": [poison, incoming()], "total": 3})

    page = await backend.list_history("in", None, 2)

    assert [item.payment_hash for item in page.items] == [PAYMENT_HASH]
    assert isinstance(page.items[0], InvoiceReport)
    assert page.next_cursor == "2"


async def test_the_outgoing_history_reports_outcomes(
    double: LnbitsDouble, backend: LnbitsBackend
) -> None:
    double.script[LIST] = listed(a_row(created_at="2026-11-24T22:21:55"), incoming())

    page = await backend.list_history("out", None, 10)

    (item,) = page.items
    assert isinstance(item, PaymentReport)
    assert (item.amount_msat, item.created_at) == (AMOUNT_MSAT, 1795558915)
    assert isinstance(item.outcome, Settled)
    assert page.next_cursor is None
