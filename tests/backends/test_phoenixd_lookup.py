"""Outgoing payments, found again among several attempts of one hash."""

import time
from collections.abc import AsyncIterator

import pytest

from backends.phoenixd import PhoenixdBackend
from backends.phoenixd.node import PAGE_SIZE
from nwc_service.backend import (
    BackendUnavailable,
    BadRequest,
    Cursor,
    Failed,
    InFlight,
    PaymentRef,
    PaymentReport,
    Settled,
    Unknown,
)
from nwc_service.wallet import bolt11
from nwc_service.wallet.units import PaymentHash
from tests.backends.phoenixd_double import LIST_OUT, LOOK_UP, PhoenixdDouble, phoenixd_double
from tests.backends.phoenixd_http import Answer
from tests.backends.phoenixd_rig import a_backend
from tests.backends.phoenixd_rows import OUTSIDE_KEY, Outgoing, an_invoice, hash_of

PREIMAGE = "12" * 32
PAYMENT_HASH = PaymentHash(hash_of(PREIMAGE))
NOW = int(time.time())


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


def attempt(
    *,
    age_s: int,
    ended: bool = True,
    preimage: str | None = None,
    amount_msat: int | None = 21_000,
    payment_hash: str = PAYMENT_HASH,
) -> Outgoing:
    invoice = an_invoice(amount_msat, payment_hash, key=OUTSIDE_KEY)
    created_at_ms = (NOW - age_s) * 1000
    return Outgoing(
        bolt11.decode(invoice),
        amount_msat or 3_000,
        created_at_ms,
        fee_msat=4_084,
        preimage=preimage,
        completed_at_ms=created_at_ms + 500 if ended else None,
    )


def a_ref(*, age_s: int) -> PaymentRef:
    return PaymentRef("our id", PAYMENT_HASH, NOW - age_s)


@pytest.mark.attack("A4")
async def test_an_earlier_attempt_that_failed_proves_nothing(
    phoenixd: PhoenixdDouble, backend: PhoenixdBackend
) -> None:
    phoenixd.outgoing = [attempt(age_s=60)]

    assert await backend.lookup_payment(a_ref(age_s=30)) is None


async def test_the_own_attempt_that_failed_is_final(
    phoenixd: PhoenixdDouble, backend: PhoenixdBackend
) -> None:
    phoenixd.outgoing = [attempt(age_s=30)]

    assert isinstance(await backend.lookup_payment(a_ref(age_s=30)), Failed)


async def test_the_own_attempt_is_found_behind_an_earlier_one_and_many_others(
    phoenixd: PhoenixdDouble, backend: PhoenixdBackend
) -> None:
    others = [attempt(age_s=10, payment_hash=f"{n:064x}") for n in range(PAGE_SIZE + 1)]
    phoenixd.outgoing = [attempt(age_s=60), attempt(age_s=20), *others]

    assert isinstance(await backend.lookup_payment(a_ref(age_s=30)), Failed)


async def test_a_page_of_rows_on_chain_hides_nothing(
    phoenixd: PhoenixdDouble, backend: PhoenixdBackend
) -> None:
    row = {"subType": "auto_liquidity", "createdAt": (NOW - 10) * 1000, "isPaid": True}
    phoenixd.outgoing = [attempt(age_s=60), attempt(age_s=20)]
    phoenixd.on_chain = [row] * PAGE_SIZE

    assert isinstance(await backend.lookup_payment(a_ref(age_s=30)), Failed)


@pytest.mark.parametrize("age_s", [60, 20])
async def test_an_attempt_that_is_live_goes_before_those_that_failed(
    phoenixd: PhoenixdDouble, backend: PhoenixdBackend, age_s: int
) -> None:
    live = attempt(age_s=age_s, ended=False)
    phoenixd.outgoing = [attempt(age_s=25), live, attempt(age_s=15)]

    assert isinstance(await backend.lookup_payment(a_ref(age_s=30)), InFlight)
    phoenixd.outside[PAYMENT_HASH] = PREIMAGE
    phoenixd.finish(live)
    found = await backend.lookup_payment(a_ref(age_s=30))
    assert isinstance(found, Settled)
    assert found.fee_msat == 4_084


@pytest.mark.attack("A4")
async def test_an_attempt_that_was_stored_after_the_look_is_not_overlooked(
    phoenixd: PhoenixdDouble, backend: PhoenixdBackend
) -> None:
    phoenixd.script[LOOK_UP] = Answer(200, attempt(age_s=60).row())
    phoenixd.outgoing = [attempt(age_s=10, ended=False), attempt(age_s=5)]

    assert isinstance(await backend.lookup_payment(a_ref(age_s=30)), InFlight)


async def test_paid_without_a_proof_stays_unknown(
    phoenixd: PhoenixdDouble, backend: PhoenixdBackend
) -> None:
    phoenixd.outgoing = [attempt(age_s=20, preimage="00" * 32)]

    assert isinstance(await backend.lookup_payment(a_ref(age_s=30)), Unknown)


@pytest.mark.parametrize(
    "answer",
    [
        Answer(401, "no"),
        Answer(500, "an exception"),
        Answer(200, {"isPaid": True}),
        Answer(200, "words"),
    ],
)
async def test_an_unreadable_answer_is_none(
    phoenixd: PhoenixdDouble, backend: PhoenixdBackend, answer: Answer
) -> None:
    phoenixd.script[LOOK_UP] = answer

    with pytest.raises(BackendUnavailable):
        await backend.lookup_payment(a_ref(age_s=30))


async def test_a_row_of_another_hash_is_none(
    phoenixd: PhoenixdDouble, backend: PhoenixdBackend
) -> None:
    row = attempt(age_s=20, preimage="13" * 32, payment_hash=hash_of("13" * 32)).row()
    phoenixd.script[LOOK_UP] = Answer(200, row)

    with pytest.raises(BackendUnavailable):
        await backend.lookup_payment(a_ref(age_s=30))


async def test_a_history_tells_what_the_payee_got_and_what_became_of_it(
    phoenixd: PhoenixdDouble, backend: PhoenixdBackend
) -> None:
    phoenixd.outgoing = [
        attempt(age_s=50, amount_msat=1_500),
        attempt(age_s=40, amount_msat=None, preimage=PREIMAGE),
        attempt(age_s=30, ended=False),
    ]
    phoenixd.on_chain = [{"subType": "splice_out", "createdAt": NOW * 1000, "isPaid": True}]

    page = await backend.list_history("out", None, 10)

    told = [
        (item.amount_msat, type(item.outcome))
        for item in page.items
        if isinstance(item, PaymentReport)
    ]
    assert told == [(21_000, InFlight), (3_000, Settled), (1_500, Failed)]


async def test_what_is_paid_meanwhile_moves_no_page(
    phoenixd: PhoenixdDouble, backend: PhoenixdBackend
) -> None:
    phoenixd.outgoing = [attempt(age_s=age_s) for age_s in (50, 40)]
    page = await backend.list_history("out", None, 1)
    phoenixd.outgoing.append(attempt(age_s=0))
    phoenixd.outgoing[-1].created_at_ms = phoenixd.now_ms() + 1

    rest = await backend.list_history("out", page.next_cursor, 1)

    assert [item.created_at for item in (*page.items, *rest.items)] == [NOW - 40, NOW - 50]


@pytest.mark.parametrize("cursor", ["", "5", "5:x", "5:-1", "5:0:0", "9" * 5000 + ":0"])
async def test_a_cursor_of_another_backend_is_a_bad_request(
    phoenixd: PhoenixdDouble, backend: PhoenixdBackend, cursor: str
) -> None:
    with pytest.raises(BadRequest, match="cursor"):
        await backend.list_history("out", Cursor(cursor), 1)
    assert phoenixd.of(LIST_OUT) == []


@pytest.mark.parametrize("cursor", ["", "5.0", "-5", "9" * 5000])
def test_a_place_of_another_backend_is_a_bad_request(
    backend: PhoenixdBackend, cursor: str
) -> None:
    with pytest.raises(BadRequest, match="cursor"):
        backend.watch_invoices(Cursor(cursor))


async def test_a_history_that_cannot_be_read_is_no_empty_one(
    phoenixd: PhoenixdDouble, backend: PhoenixdBackend
) -> None:
    phoenixd.script[LIST_OUT] = Answer(200, {"not": "a list"})

    with pytest.raises(BackendUnavailable):
        await backend.list_history("out", Cursor("5:0"), 1)
