"""What an operator is told of the settings for CLN, and how to mend what is wrong."""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from backends.cln import rights
from nwc_service.backend import Finding
from tests.backends.cln_double import RUNE, ClnDouble, cln_double
from tests.backends.cln_rows import NODE_ID, RpcFail, a_backend

BOTH = pytest.mark.parametrize("way", ["socket", "rest"])


@pytest.fixture
async def double() -> AsyncIterator[ClnDouble]:
    async with cln_double() as opened:
        yield opened


async def checked(double: ClnDouble, way: str, **options: object) -> Sequence[Finding]:
    backend = a_backend(**double.options(way), **options)
    found = await backend.check()
    assert RUNE not in repr(found)
    await backend.close()
    return found


def wrong(found: Sequence[Finding]) -> dict[str, str]:
    """Of what is wrong, what is said of it and how it is mended."""
    return {each.subject: f"{each.says}; {each.remedy}" for each in found if each.remedy}


@pytest.mark.parametrize(
    ("way", "says"),
    [
        ("socket", "the socket allows everything to whoever can open it"),
        ("rest", "the rune allows what is needed, and no more"),
    ],
)
async def test_what_is_right_is_told_fact_by_fact(
    double: ClnDouble, way: str, says: str
) -> None:
    double.core.balance_msat = 400_000

    assert await checked(double, way) == [
        Finding("rights", says),
        Finding("version", "Core Lightning v26.06"),
        Finding("identity", f"alice {NODE_ID}"),
        Finding("network", "regtest"),
        Finding("chain", "in sync at block 457"),
        Finding("payments", "xpay-slow-mode is on"),
        Finding("hold invoices", "the plugin hold is there"),
        Finding("balance", "400000 msat to spend, 1000000000000 msat to receive"),
    ]


@BOTH
async def test_it_asks_only_what_changes_nothing(double: ClnDouble, way: str) -> None:
    await checked(double, way)

    asked = {method for method, _ in double.core.requests}
    assert asked == {"getinfo", "listconfigs", "help", "listpeerchannels"} | (
        {"checkrune"} & asked
    )


@BOTH
async def test_everything_that_is_wrong_is_told_at_once(double: ClnDouble, way: str) -> None:
    double.core.is_slow = False
    double.core.info = {"version": "v24.11.1", "warning_bitcoind_sync": "not synced"}

    found = wrong(await checked(double, way))

    assert found["version"].endswith("; use Core Lightning 25.12 or newer")
    assert found["chain"].startswith("not in sync at block 457; wait")
    assert "xpay-slow-mode=true" in found["payments"]


@BOTH
async def test_a_node_without_the_plugin_is_no_worse(double: ClnDouble, way: str) -> None:
    double.core.has_hold = False

    found = await checked(double, way)

    assert Finding("hold invoices", "none: the plugin hold is not there") in found
    assert wrong(found) == {}


@BOTH
async def test_an_old_plugin_is_told(double: ClnDouble, way: str) -> None:
    double.core.has_old_hold = True

    said = wrong(await checked(double, way))["hold invoices"]

    assert said.startswith("none: the plugin hold is older than 0.3.2; use version 0.3.2")


async def test_a_rune_that_allows_too_little(double: ClnDouble) -> None:
    double.core.runes[RUNE] = frozenset(rights.NEEDED) - {"xpay", "injectpaymentonion"}

    said = wrong(await checked(double, "rest"))["rights"]

    assert said.startswith("the rune does not allow xpay, injectpaymentonion; ")
    assert "backend bake cln" in said


async def test_a_rune_that_allows_too_much(double: ClnDouble) -> None:
    double.core.runes[RUNE] = None

    said = wrong(await checked(double, "rest"))["rights"]

    assert said.startswith("the rune allows more than is needed: withdraw, close")
    assert "allow_broad_rune" in said
    assert wrong(await checked(double, "rest", allow_broad_rune=True)) == {}


@pytest.mark.parametrize("rune", ["nobodys-rune", "x"])
async def test_a_rune_of_nobody(double: ClnDouble, rune: str) -> None:
    backend = a_backend(url=double.url, rune=rune)

    [finding] = await backend.check()

    assert finding.subject == "connection"
    assert "backend bake cln" in (finding.remedy or "")
    assert rune not in finding.says


async def test_a_socket_that_is_not_there(tmp_path: Path) -> None:
    [finding] = await a_backend(socket=str(tmp_path / "none")).check()

    assert finding.subject == "connection"
    assert finding.remedy


@BOTH
async def test_one_answer_that_cannot_be_read_hides_no_other(
    double: ClnDouble, way: str
) -> None:
    double.core.script["listconfigs"] = RpcFail(-1, "no")
    double.core.script["listpeerchannels"] = {"channels": "many"}

    found = await checked(double, way)

    assert set(wrong(found)) >= {"payments", "balance"}
    assert Finding("network", "regtest") in found
