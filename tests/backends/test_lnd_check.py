"""What an operator is told of the settings for LND, and how to mend what is wrong."""

import time
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from email.utils import formatdate
from pathlib import Path

import pytest

from backends.lnd import rights
from nwc_service.backend import BackendUnavailable, Finding
from tests.backends.lnd_double import BALANCE, CHANNELS, GET_INFO, STATE, LndDouble, lnd_double
from tests.backends.lnd_http import Answer
from tests.backends.lnd_rows import INFO, MACAROON, PAYEE, a_backend, a_macaroon, error
from tests.backends.lnd_tls import DAY, a_certificate, a_tls_double

CHANNEL = {
    "active": True,
    "channel_point": f"{1:064x}:0",
    "local_balance": "500",
    "remote_balance": "60",
    "local_chan_reserve_sat": "100",
    "remote_chan_reserve_sat": "10",
    "num_updates": "1",
}
ALL = [("uri", uri) for uri in rights.NEEDED]
ALL_RIGHT = [
    Finding("macaroon", "it allows the 16 calls that are needed, and no more"),
    Finding("version", "LND 0.21.2-beta commit="),
    Finding("identity", f"alice {PAYEE}"),
    Finding("network", "regtest"),
    Finding("chain", "in sync at block 457"),
    Finding("graph", "in sync"),
    Finding("balance", "400000 msat to spend, 50000 msat to receive"),
]


def with_a_channel(double: LndDouble) -> None:
    double.script |= {
        CHANNELS: Answer(200, {"channels": [CHANNEL]}),
        BALANCE: Answer(200, {"local_balance": {"sat": "500", "msat": "500000"}}),
    }


@pytest.fixture
async def double() -> AsyncIterator[LndDouble]:
    async with lnd_double() as opened:
        with_a_channel(opened)
        yield opened


async def checked(double: LndDouble, *, url: str = "", **options: object) -> Sequence[Finding]:
    backend = a_backend(url or double.url, **options)
    found = await backend.check()
    shown = repr(found)
    assert MACAROON[:40] not in shown
    assert MACAROON[-40:] not in shown
    await backend.close()
    return found


def wrong(found: Sequence[Finding]) -> dict[str, str]:
    """Of what is wrong, what is said of it and how it is mended."""
    return {each.subject: f"{each.says}; {each.remedy}" for each in found if each.remedy}


async def test_what_is_right_is_told_fact_by_fact(double: LndDouble) -> None:
    assert await checked(double) == ALL_RIGHT


async def test_it_asks_only_what_changes_nothing(double: LndDouble) -> None:
    await checked(double)

    assert {request.name.split()[0] for request in double.requests} == {"GET"}


async def test_a_check_starts_nothing(double: LndDouble) -> None:
    """So that no macaroon that is refused comes in through it."""
    backend = a_backend(double.url)

    await backend.check()

    with pytest.raises(BackendUnavailable, match="start it first"):
        await backend.balance()


@pytest.mark.parametrize(
    ("changed", "subject", "words"),
    [
        ({"version": "0.19.3-beta"}, "version", "use LND 0.20 or newer"),
        ({"synced_to_chain": False}, "chain", "not in sync at block 457"),
        ({"synced_to_graph": False}, "graph", "not in sync"),
    ],
)
async def test_what_lnd_says_of_itself_may_be_wrong(
    double: LndDouble, changed: dict[str, object], subject: str, words: str
) -> None:
    double.script[GET_INFO] = Answer(200, dict(INFO) | changed)

    found = await checked(double)

    assert list(wrong(found)) == [subject]
    assert words in wrong(found)[subject]
    assert len(found) == len(ALL_RIGHT)


REVOKED = error(2, "cannot retrieve macaroon: cannot get macaroon: root key with id 7 missing")


@pytest.mark.parametrize(
    ("name", "answer", "words"),
    [
        pytest.param(STATE, Answer(200, {"state": "LOCKED"}), "lncli unlock", id="locked"),
        pytest.param(GET_INFO, Answer(500, REVOKED), "backend bake lnd", id="revoked"),
        pytest.param(GET_INFO, Answer(404, error(5, "Not Found")), "REST listener", id="404"),
        pytest.param(GET_INFO, Answer(502, "Bad Gateway"), "see LND's log", id="proxy"),
    ],
)
async def test_a_node_that_does_not_serve_is_told_with_a_remedy(
    double: LndDouble, name: str, answer: Answer, words: str
) -> None:
    double.script[name] = answer

    found = await checked(double)

    assert [finding.subject for finding in found] == ["macaroon", "connection"]
    assert words in wrong(found)["connection"]


async def test_no_answer_about_the_balance_hides_nothing_else(double: LndDouble) -> None:
    double.script[CHANNELS] = Answer(500, error(2, "permission denied"))

    found = await checked(double)

    assert found[:-1] == ALL_RIGHT[:-1]
    assert "backend bake lnd" in wrong(found)["balance"]


async def test_a_node_that_is_not_there(double: LndDouble) -> None:
    found = await checked(double, url="http://127.0.0.1:1")

    assert "check url, and that LND runs" in wrong(found)["connection"]
    assert double.requests == []


@pytest.mark.parametrize(
    ("macaroon", "words"),
    [
        pytest.param(a_macaroon(*ALL, ("peers", "write")), "peers:write", id="too-many"),
        pytest.param(a_macaroon(*ALL[1:]), f"does not allow {ALL[0][1]}", id="too-few"),
    ],
)
async def test_other_rights_are_told_beside_what_the_node_says(
    double: LndDouble, macaroon: bytes, words: str
) -> None:
    found = await checked(double, macaroon_hex=macaroon.hex())

    assert list(wrong(found)) == ["macaroon"]
    assert words in wrong(found)["macaroon"]
    assert rights.BAKE in wrong(found)["macaroon"]
    assert found[1:] == ALL_RIGHT[1:]
    assert macaroon.hex() not in repr(found)


async def test_more_rights_may_be_wanted(double: LndDouble) -> None:
    broad = a_macaroon(*ALL, ("peers", "write")).hex()

    found = await checked(double, macaroon_hex=broad, allow_broad_macaroon=True)

    assert wrong(found) == {}
    assert "as allow_broad_macaroon says: peers:write" in found[0].says


@pytest.mark.parametrize("content", [None, b"nonsense"], ids=["missing", "nonsense"])
async def test_a_macaroon_that_cannot_be_read(
    double: LndDouble, tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / "lnd.macaroon"
    if content is not None:
        path.write_bytes(content)

    found = await checked(double, macaroon_hex=None, macaroon_path=path)

    assert "cannot be read" in wrong(found)["macaroon"]
    assert rights.BAKE in wrong(found)["macaroon"]


@pytest.mark.parametrize(("skew_s", "is_wrong"), [(0, False), (3600, True)])
async def test_the_clocks_are_compared(double: LndDouble, skew_s: int, is_wrong: bool) -> None:
    date = formatdate(time.time() + skew_s, usegmt=True)
    double.script[STATE] = Answer(200, {"state": "SERVER_ACTIVE"}, date=date)

    found = await checked(double)

    assert [each.subject for each in found][1] == "clock"
    assert list(wrong(found)) == (["clock"] if is_wrong else [])


# --- the certificate


@pytest.mark.parametrize(
    ("begin_in", "certificate", "connection"),
    [
        pytest.param(-DAY, None, None, id="valid"),
        pytest.param(-5 * DAY, "restart LND", "restart LND", id="expired"),
        pytest.param(5 * DAY, "(NTP)", "copy LND's tls.cert again", id="not-yet-valid"),
    ],
)
async def test_the_time_of_the_certificate_is_told(
    tmp_path: Path, begin_in: timedelta, certificate: str | None, connection: str | None
) -> None:
    served = a_certificate(tmp_path, "lnd", begin_in=begin_in)
    async with a_tls_double(served) as double:
        with_a_channel(double)
        found = await checked(double, tls_cert=served)

    told = wrong(found)
    for subject, words in (("certificate", certificate), ("connection", connection)):
        assert (words or "") in told.get(subject, "")
        assert (subject in told) == (words is not None)


async def test_the_certificate_of_another_is_told(tmp_path: Path) -> None:
    served, other = a_certificate(tmp_path, "lnd"), a_certificate(tmp_path, "other")
    async with a_tls_double(served) as double:
        found = await checked(double, tls_cert=other)

    assert list(wrong(found)) == ["connection"]
    assert "not the one of tls_cert" in wrong(found)["connection"]
    assert double.requests == []


@pytest.mark.parametrize("content", [None, "nonsense"])
async def test_a_certificate_that_cannot_be_read_is_told(
    double: LndDouble, tmp_path: Path, content: str | None
) -> None:
    path = tmp_path / "tls.cert"
    if content is not None:
        path.write_text(content)
    url = double.url.replace("http:", "https:")

    found = await checked(double, url=url, tls_cert=path)

    assert "name LND's tls.cert" in wrong(found)["certificate"]
    assert double.requests == []
