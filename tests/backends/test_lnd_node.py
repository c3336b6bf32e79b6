"""What LND says of itself, and how it reads an invoice."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from backends.lnd import LndBackend
from nwc_service.backend import (
    BackendUnavailable,
    BadRequest,
    Balance,
    Cap,
    Decoded,
    NodeInfo,
    OfferSpec,
    Unsupported,
)
from nwc_service.wallet.units import Msat
from tests.backends.lnd_double import (
    BALANCE,
    CHANNELS,
    DECODE,
    GET_INFO,
    SIGN,
    LndDouble,
    lnd_double,
)
from tests.backends.lnd_http import Answer
from tests.backends.lnd_rows import INFO, PAYEE, PAYMENT_HASH, a_backend, a_payment, error


@pytest.fixture
async def double() -> AsyncIterator[LndDouble]:
    async with lnd_double() as opened:
        yield opened


@pytest.fixture
async def backend(double: LndDouble) -> AsyncIterator[LndBackend]:
    opened = a_backend(double.url)
    await opened.start()
    yield opened
    await opened.close()


async def test_the_node_is_told_as_it_is(backend: LndBackend) -> None:
    assert await backend.start() == NodeInfo(
        alias="alice",
        color="3399ff",
        pubkey=PAYEE,
        network="regtest",
        block_height=457,
        block_hash="4f" * 32,
        synced=True,
    )


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"synced_to_chain": False}, {"synced": False}),
        ({"chains": [{"network": "testnet4"}]}, {"network": "testnet"}),
        ({"chains": []}, {"network": None}),
        ({"color": "", "alias": ""}, {"color": None, "alias": None}),
        ({"version": "v0.20.0-beta.rc1"}, {}),
        ({"version": "custom"}, {}),
    ],
)
async def test_what_it_does_not_say_is_left_out(
    double: LndDouble, backend: LndBackend, changed: dict[str, object], expected: dict[str, Any]
) -> None:
    double.script[GET_INFO] = Answer(200, dict(INFO) | changed)

    info = await backend.start()

    assert {name: getattr(info, name) for name in expected} == expected


def a_channel(
    *, local: int, remote: int = 0, reserve: int = 100, active: bool = True, updates: int = 1
) -> dict[str, object]:
    return {
        "active": active,
        "channel_point": f"{local:064x}:0",
        "local_balance": str(local),
        "remote_balance": str(remote),
        "local_chan_reserve_sat": str(reserve),
        "remote_chan_reserve_sat": "10",
        "num_updates": str(updates),
    }


@pytest.mark.parametrize(
    ("channels", "total_msat", "spendable", "receivable"),
    [
        pytest.param(
            [a_channel(local=500, remote=60)], 500_000, 400_000, 50_000, id="reserves"
        ),
        pytest.param([a_channel(local=99, remote=9)], 99_000, 0, 0, id="less-than-the-reserve"),
        pytest.param(
            [a_channel(local=500), a_channel(local=300, active=False)],
            800_000,
            400_000,
            0,
            id="inactive",
        ),
        pytest.param([a_channel(local=500)], 500_999, 400_999, 0, id="less-than-a-sat"),
        pytest.param([a_channel(local=500)], 501_000, 400_000, 0, id="moved-meanwhile"),
        pytest.param([a_channel(local=500)], 400_000, 400_000, 0, id="moved-away-meanwhile"),
        pytest.param([a_channel(local=5, active=False)], 5_100, 0, 0, id="none-usable"),
        pytest.param([], 0, 0, 0, id="none"),
    ],
)
async def test_what_can_be_spent_is_what_usable_channels_have_above_their_reserve(
    double: LndDouble,
    backend: LndBackend,
    channels: list[dict[str, object]],
    total_msat: int,
    spendable: int,
    receivable: int,
) -> None:
    total = {"local_balance": {"sat": "1", "msat": str(total_msat)}}
    double.script |= {
        CHANNELS: Answer(200, {"channels": channels}),
        BALANCE: Answer(200, total),
    }

    assert await backend.balance() == Balance(Msat(spendable), Msat(receivable))


async def test_what_is_counted_never_falls_unless_the_node_went_back(
    double: LndDouble, backend: LndBackend
) -> None:
    channels = [a_channel(local=1, updates=7), a_channel(local=2, updates=9)]
    double.script[CHANNELS] = Answer(200, {"channels": channels})
    assert (await backend.counters())["payment_index"] == 0
    double.payments = {"a": a_payment(index=3), "b": a_payment("aa" * 32, index=5)}
    for _ in range(3):
        double.add_invoice()

    assert await backend.counters() == {
        "payment_index": 5,
        "add_index": 3,
        f"channel_{1:064x}:0": 7,
        f"channel_{2:064x}:0": 9,
    }


READ = {
    "destination": PAYEE,
    "payment_hash": PAYMENT_HASH,
    "num_msat": "21000",
    "timestamp": "1796095203",
    "expiry": "3600",
}


@pytest.mark.parametrize(("num_msat", "amount_msat"), [("21000", 21_000), ("0", None)])
async def test_an_invoice_is_told_as_lnd_reads_it(
    double: LndDouble, backend: LndBackend, num_msat: str, amount_msat: int | None
) -> None:
    double.script[DECODE] = Answer(200, READ | {"num_msat": num_msat})

    told = await backend.decode("lnbcrt1x")

    amount = None if amount_msat is None else Msat(amount_msat)
    assert told == Decoded(PAYMENT_HASH, amount, 1_796_098_803, PAYEE)
    assert double.of(DECODE)[0].argument == "lnbcrt1x"


@pytest.mark.parametrize(
    "answer",
    [
        Answer(500, error(2, "checksum failed. Expected x, got y.")),
        Answer(500, error(2, "invoice not for current active network 'regtest'")),
    ],
)
async def test_what_lnd_cannot_read_is_a_bad_request(
    double: LndDouble, backend: LndBackend, answer: Answer
) -> None:
    double.script[DECODE] = answer

    with pytest.raises(BadRequest):
        await backend.decode("lnbcrt1x")


@pytest.mark.parametrize("text", ["", " ", "../v1/getinfo", "a?b=c", "a#b", "ü", "x" * 7_090])
async def test_what_is_no_invoice_is_not_asked_about(
    double: LndDouble, backend: LndBackend, text: str
) -> None:
    with pytest.raises(BadRequest):
        await backend.decode(text)

    assert double.of(DECODE) == []


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(Answer(500, error(2, "permission denied")), id="no-right"),
        pytest.param(Answer(500, error(2, "wallet locked, unlock it")), id="locked"),
        pytest.param(Answer(404, error(5, "Not Found")), id="another-server"),
        pytest.param(Answer(502, "Bad Gateway"), id="proxy"),
        pytest.param(Answer(200, READ | {"payment_hash": "x"}), id="no-hash"),
    ],
)
async def test_an_answer_that_is_not_about_the_invoice_is_none(
    double: LndDouble, backend: LndBackend, answer: Answer
) -> None:
    double.script[DECODE] = answer

    with pytest.raises(BackendUnavailable, match="decode"):
        await backend.decode("lnbcrt1x")


async def test_a_message_is_signed_as_lnd_does(double: LndDouble, backend: LndBackend) -> None:
    double.script[SIGN] = Answer(200, {"signature": "d67t"})

    assert await backend.sign_message("hello") == "d67t"
    assert double.of(SIGN)[0].body == {"msg": "aGVsbG8="}


async def test_lnd_signs_no_empty_message(double: LndDouble, backend: LndBackend) -> None:
    with pytest.raises(BadRequest):
        await backend.sign_message("")


async def test_offers_are_none_of_its_trades(double: LndDouble, backend: LndBackend) -> None:
    asked = len(double.requests)
    spec = OfferSpec("x", None, "", None, single_use=False, expires_at=None)

    assert not backend.caps & (Cap.BOLT12_SEND | Cap.BOLT12_RECEIVE)
    with pytest.raises(Unsupported):
        await backend.create_offer(spec)
    with pytest.raises(Unsupported):
        await backend.fetch_invoice("lno1", amount_msat=None, payer_note=None)
    assert len(double.requests) == asked
