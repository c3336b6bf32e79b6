"""Which runes are taken, and the command that makes the right one."""

import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from backends.cln import ClnBackend, bake_command
from backends.cln.rights import HOLD, NEEDED
from nwc_service.backend import BackendUnavailable, BadRequest, Cap
from nwc_service.wallet.units import BackendName
from tests.backends.cln_double import RUNE, ClnDouble, cln_double
from tests.backends.cln_rows import PARAMETERS, a_backend


async def started(double: ClnDouble, **options: object) -> ClnBackend:
    backend = a_backend(**double.options("rest"), **options)
    try:
        await backend.start()
    finally:
        await backend.close()
    return backend


def test_the_command_names_every_call_and_no_other() -> None:
    program, keywords, command, restrictions = shlex.split(bake_command())

    assert (program, keywords, command) == ("lightning-cli", "-k", "createrune")
    methods, configs = json.loads(restrictions.removeprefix("restrictions="))
    assert methods == [f"method={method}" for method in NEEDED]
    assert configs[0] == "method/listconfigs"  # which would show passwords
    assert set(configs[1:]) == {
        "pnameconfig=xpay-slow-mode",
        "pnameconfig=hold-expiry-deadline",
    }


def test_every_call_that_the_double_knows_is_one_that_is_needed_but_the_old_one() -> None:
    assert set(PARAMETERS) - set(NEEDED) == {"listpays"}
    assert set(NEEDED) <= set(PARAMETERS)


async def test_the_rune_of_the_command_is_taken_and_asked_about_once() -> None:
    async with cln_double() as double:
        backend = a_backend(**double.options("rest"))

        await backend.start()
        questions = len(double.core.of("checkrune"))
        await backend.start()

        assert len(double.core.of("checkrune")) == questions
        assert {rune for _, rune in double.http} == {RUNE}
        await backend.close()


@pytest.mark.attack("A23")
@pytest.mark.parametrize("allowed", [None, frozenset({*NEEDED, "withdraw"})])
async def test_a_rune_that_allows_more_is_refused_unless_that_is_said(
    allowed: frozenset[str] | None,
) -> None:
    async with cln_double() as double:
        double.core.runes[RUNE] = allowed

        with pytest.raises(BackendUnavailable, match="allows more than is needed") as refused:
            await started(double)

        assert "withdraw" in str(refused.value)
        assert "allow_broad_rune = true" in str(refused.value)
        assert RUNE[:16] not in str(refused.value)
        await started(double, allow_broad_rune=True)


@pytest.mark.parametrize("method", ["keysend", "xkeysend", "sendpay", "renepay", "delpay"])
async def test_a_rune_that_sends_or_forgets_money_by_another_door_is_refused(
    method: str,
) -> None:
    async with cln_double() as double:
        double.core.runes[RUNE] = frozenset({*NEEDED, method})

        with pytest.raises(BackendUnavailable, match=rf"allows more than is needed: {method};"):
            await started(double)


async def test_what_a_rune_does_not_allow_is_told() -> None:
    async with cln_double() as double:
        double.core.runes[RUNE] = frozenset(NEEDED) - {"xpay", "offer"}

        with pytest.raises(BackendUnavailable, match="does not allow xpay, offer; create one"):
            await started(double)


async def test_a_rune_of_another_node_is_told() -> None:
    async with cln_double() as double:
        double.core.runes.clear()

        with pytest.raises(BackendUnavailable, match=r"1501.*; create one as") as refused:
            await started(double)

        assert RUNE[:16] not in str(refused.value)


async def test_a_rune_without_hold_invoices_makes_a_node_without() -> None:
    async with cln_double() as double:
        assert Cap.HOLD in (await started(double)).caps

        double.core.runes[RUNE] = frozenset(NEEDED) - {HOLD[0]}
        assert Cap.HOLD not in (await started(double)).caps


async def test_a_rune_is_read_from_its_file(tmp_path: Path) -> None:
    path = tmp_path / "rune"
    path.write_text(f"{RUNE}\n")
    async with cln_double() as double:
        options = {"url": double.url, "rune_path": str(path)}
        backend = ClnBackend(BackendName("mine"), options, data_dir=tmp_path)

        await backend.start()

        assert double.http[0][1] == RUNE
        await backend.close()


@pytest.mark.parametrize("wish", [{"save_to": "a-file"}, {"root_key_id": 7}])
def test_what_createrune_does_not_know_is_refused(wish: dict[str, Any]) -> None:
    with pytest.raises(BadRequest, match="knows no file and no root key id"):
        bake_command(**wish)
