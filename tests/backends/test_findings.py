"""What the check of every backend says alike."""

from email.utils import formatdate

import pytest

from nwc_service.backend import BackendUnavailable, Balance, Finding, NodeInfo, findings
from nwc_service.wallet.units import Msat

NOW = 1_796_095_204
PUBKEY = "02" + "ab" * 32


def wrong(found: list[Finding]) -> list[str]:
    return [finding.subject for finding in found if finding.remedy is not None]


@pytest.mark.parametrize(
    ("skew_s", "says"),
    [
        pytest.param(0, None, id="same"),
        pytest.param(60, None, id="a-little"),
        pytest.param(-60, None, id="a-little-behind"),
        pytest.param(61, "61 s ahead of", id="ahead"),
        pytest.param(-3600, "3600 s behind", id="behind"),
    ],
)
def test_a_clock_that_is_off_is_told(skew_s: int, says: str | None) -> None:
    [clock] = findings.of_clock(formatdate(NOW + skew_s, usegmt=True), now=NOW)

    assert (clock.remedy is None) == (says is None)
    assert (says or "agree") in clock.says


@pytest.mark.parametrize("date", ["", "now", "Tue, 99 Dec 2026"])
def test_what_is_no_date_says_nothing_of_the_clock(date: str) -> None:
    assert findings.of_clock(date, now=NOW) == []


def test_a_node_that_is_told_whole() -> None:
    info = NodeInfo(alias="alice", pubkey=PUBKEY, network="regtest", block_height=457)

    assert findings.of_info(info) == [
        Finding("identity", f"alice {PUBKEY}"),
        Finding("network", "regtest"),
        Finding("chain", "in sync at block 457"),
    ]


def test_what_a_node_does_not_say_is_left_out() -> None:
    assert findings.of_info(NodeInfo()) == []


def test_a_chain_that_is_behind_is_wrong() -> None:
    found = list(findings.of_info(NodeInfo(alias="a", block_height=7, synced=False)))

    assert wrong(found) == ["chain"]
    assert found[1].says == "not in sync at block 7"


@pytest.mark.parametrize(
    ("spendable", "receivable", "says", "is_wrong"),
    [
        (5, None, "5 msat to spend", False),
        (0, None, "0 msat to spend", False),
        (5, 0, "5 msat to spend, 0 msat to receive", False),
        (0, 5, "0 msat to spend, 5 msat to receive", False),
        (0, 0, "0 msat to spend, 0 msat to receive", True),
    ],
)
async def test_a_node_that_can_neither_pay_nor_be_paid_is_wrong(
    spendable: int, receivable: int | None, says: str, is_wrong: bool
) -> None:
    balance = Balance(Msat(spendable), None if receivable is None else Msat(receivable))

    async def read() -> Balance:
        return balance

    found = await findings.of_balance(read)

    assert (found.says, found.remedy is not None) == (says, is_wrong)


@pytest.mark.parametrize(
    ("gone", "says", "remedy"),
    [
        (BackendUnavailable("gone", remedy="call it back"), "gone", "call it back"),
        (BackendUnavailable("gone"), "gone", findings.SEE_ITS_LOG),
        (BackendUnavailable(), "no usable answer", findings.SEE_ITS_LOG),
    ],
)
async def test_a_node_that_does_not_answer_is_wrong(
    gone: BackendUnavailable, says: str, remedy: str
) -> None:
    async def fail() -> NodeInfo:
        raise gone

    async def read() -> Balance:
        raise gone

    async def info() -> NodeInfo:
        return NodeInfo(alias="alice")

    assert await findings.of_node(info=fail, balance=read) == [
        Finding("connection", says, remedy)
    ]
    assert await findings.of_node(info=info, balance=read) == [
        Finding("identity", "alice"),
        Finding("balance", says, remedy),
    ]


def test_an_error_tells_its_remedy_in_its_words_too() -> None:
    assert str(BackendUnavailable("gone", remedy="call it back")) == "gone; call it back"
    assert str(BackendUnavailable("gone")) == "gone"
