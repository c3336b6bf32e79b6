"""What an operator is told of the settings for LNbits, and how to mend what is wrong."""

import time
from collections.abc import AsyncIterator, Sequence
from email.utils import formatdate
from pathlib import Path

import pytest

from nwc_service.backend import BackendUnavailable, Finding
from tests.backends.lnbits_double import (
    ADMIN_KEY,
    INVOICE_KEY,
    LIST,
    WALLET,
    WALLET_ID,
    Answer,
    Json,
    LnbitsDouble,
    a_backend,
    a_refusal,
    a_row,
    lnbits_double,
)
from tests.backends.lnd_tls import a_certificate, a_tls_double

HEALTH = "GET /api/v1/health"
ALL_RIGHT = [
    Finding("identity", "wallet test"),
    Finding("keys", "of one wallet, each of its own kind"),
    Finding("fee_cap", "1000000 msat are held beside a payment of 100000 sat"),
    Finding("balance", "1000000 msat to spend"),
]


@pytest.fixture
async def double() -> AsyncIterator[LnbitsDouble]:
    async with lnbits_double() as opened:
        yield opened


async def checked(url: str) -> Sequence[Finding]:
    backend = a_backend(url)
    found = await backend.check()
    assert ADMIN_KEY not in repr(found)
    assert INVOICE_KEY not in repr(found)
    await backend.close()
    return found


def wrong(found: Sequence[Finding]) -> dict[str, str]:
    return {each.subject: f"{each.says}; {each.remedy}" for each in found if each.remedy}


async def test_what_is_right_is_told_fact_by_fact(double: LnbitsDouble) -> None:
    assert await checked(double.url) == ALL_RIGHT
    assert {request.name.split()[0] for request in double.requests} == {"GET"}


async def test_a_check_starts_nothing(double: LnbitsDouble) -> None:
    backend = a_backend(double.url)

    await backend.check()

    with pytest.raises(BackendUnavailable, match="start it first"):
        await backend.balance()


@pytest.mark.parametrize(("skew_s", "is_wrong"), [(0, False), (-3600, True)])
async def test_the_clocks_are_compared(
    double: LnbitsDouble, skew_s: int, is_wrong: bool
) -> None:
    date = formatdate(time.time() + skew_s, usegmt=True)
    double.script[HEALTH] = Answer(200, {"up_time": "1s"}, date=date)

    found = await checked(double.url)

    assert [each.subject for each in found].count("clock") == 1
    assert list(wrong(found)) == (["clock"] if is_wrong else [])


WITH_ID: Json = {"name": "test", "balance": 5, "id": WALLET_ID}
WITHOUT_ID: Json = {"name": "test", "balance": 5}
ANOTHERS_ROW = {"data": [a_row(wallet_id="another")], "total": 1}


@pytest.mark.parametrize(
    ("script", "words"),
    [
        pytest.param(
            {f"admin {WALLET}": Answer(200, WITHOUT_ID)},
            "take the wallet's admin key",
            id="weak",
        ),
        pytest.param(
            {WALLET: Answer(200, WITH_ID)}, "take the wallet's invoice key", id="too-strong"
        ),
        pytest.param(
            {WALLET: Answer(200, {**WITHOUT_ID, "name": "hers"})},
            "take both from one wallet",
            id="two-names",
        ),
        pytest.param(
            {LIST: Answer(200, ANOTHERS_ROW)}, "take both from one wallet", id="two-wallets"
        ),
        pytest.param(
            {f"admin {WALLET}": a_refusal("Wallet not found.", None, http=404)},
            "check url, admin_key",
            id="nobodys-key",
        ),
        pytest.param(
            {f"admin {WALLET}": Answer(307, "")}, "first installation", id="not-installed"
        ),
        pytest.param({f"admin {WALLET}": Answer(429, "")}, "rate_limit_no", id="too-fast"),
    ],
)
async def test_wrong_keys_are_told_with_a_remedy(
    double: LnbitsDouble, script: dict[str, Answer], words: str
) -> None:
    double.script |= script

    found = await checked(double.url)

    assert list(wrong(found)) == ["keys"]
    assert words in wrong(found)["keys"]


async def test_a_server_that_is_not_there() -> None:
    found = await checked("http://127.0.0.1:1")

    assert [finding.subject for finding in found] == ["connection"]
    assert "check url, and that LNbits runs" in wrong(found)["connection"]


async def test_a_certificate_that_nobody_vouches_for(tmp_path: Path) -> None:
    async with a_tls_double(a_certificate(tmp_path, "lnbits")) as server:
        found = await checked(server.url)

    assert "SSL_CERT_FILE" in wrong(found)["connection"]
    assert server.requests == []


async def test_a_server_that_says_nothing(double: LnbitsDouble) -> None:
    double.script[HEALTH] = Answer(cut=True)

    found = await checked(double.url)

    assert "see LNbits' log" in wrong(found)["connection"]
