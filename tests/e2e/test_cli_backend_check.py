"""nwc-service backend check and bake, which an operator uses before the first start."""

import json
import shlex
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from backends.lnd import rights
from nwc_service.cli import backend as cli_backend
from tests.backends.lnbits_double import ADMIN_KEY, INVOICE_KEY, lnbits_double
from tests.backends.lnd_double import BALANCE, CHANNELS, GET_INFO, STATE, LndDouble, lnd_double
from tests.backends.lnd_http import Answer
from tests.backends.lnd_rows import INFO, MACAROON
from tests.e2e.conftest import Cli, Done
from tests.e2e.service import service_process

CHANNEL = {
    "active": True,
    "channel_point": f"{1:064x}:0",
    "local_balance": "500",
    "remote_balance": "60",
    "local_chan_reserve_sat": "100",
    "remote_chan_reserve_sat": "10",
    "num_updates": "1",
}


@pytest.fixture
async def double() -> AsyncIterator[LndDouble]:
    async with lnd_double() as opened:
        opened.script |= {
            CHANNELS: Answer(200, {"channels": [CHANNEL]}),
            BALANCE: Answer(200, {"local_balance": {"sat": "500", "msat": "500000"}}),
        }
        yield opened


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    """Of a service that never ran."""
    return Cli(tmp_path / "data")


def lnd_variables(double: LndDouble) -> dict[str, str]:
    return {
        "NWC_BACKEND": "lnd",
        "NWC_LND_URL": double.url,
        "NWC_LND_MACAROON_HEX": MACAROON,
        "NWC_LND_TIMEOUT_S": "2",
    }


async def checked(cli: Cli, name: str, **environment: str) -> tuple[int, list[dict[str, Any]]]:
    done = await cli.run("backend", "check", name, "--json", **environment)
    assert done.stderr == ""
    return done.code, json.loads(done.stdout)


def wrong(found: list[dict[str, Any]]) -> list[str]:
    return [finding["subject"] for finding in found if finding["remedy"] is not None]


# --- check


async def test_what_is_right_is_one_line_a_fact(cli: Cli, double: LndDouble) -> None:
    done = await cli.run("backend", "check", "lnd", **lnd_variables(double))

    assert done.code == 0
    words = [line.split(maxsplit=2) for line in done.stdout.splitlines()]
    assert {word for word, _, _ in words} == {"ok"}
    assert [subject for _, subject, _ in words] == [
        "macaroon",
        "version",
        "identity",
        "network",
        "chain",
        "graph",
        "balance",
    ]
    assert words[-1][2] == "400000 msat to spend, 50000 msat to receive"


async def test_what_is_wrong_is_told_with_its_remedy_and_fails(
    cli: Cli, double: LndDouble
) -> None:
    double.script[STATE] = Answer(200, {"state": "LOCKED"})

    done = await cli.run("backend", "check", "lnd", **lnd_variables(double))

    assert done.code == 1
    [right, mended] = done.stdout.splitlines()
    assert right.startswith("ok     macaroon")
    assert mended.startswith("wrong  connection")
    assert "; to mend it: unlock its wallet (lncli unlock)" in mended


async def test_no_secret_is_shown(cli: Cli, double: LndDouble) -> None:
    """Also where the node repeats it."""
    variables = lnd_variables(double)
    shown = [await cli.run("backend", "check", "lnd", **variables)]
    shown.append(await cli.run("backend", "check", "lnd", "--json", **variables))
    double.script[GET_INFO] = Answer(500, {"code": 2, "message": f"bad macaroon {MACAROON}"})
    shown.append(await cli.run("backend", "check", "lnd", **variables))
    variables["NWC_LND_MACAROON_HEX"] = MACAROON + "x"
    shown.append(await cli.run("backend", "check", "lnd", **variables))

    for done in shown:
        assert MACAROON[:32] not in done.stdout + done.stderr
    assert [done.code for done in shown] == [0, 0, 1, 1]


async def test_what_a_node_calls_itself_does_not_steer_the_terminal(
    cli: Cli, double: LndDouble
) -> None:
    double.script[GET_INFO] = Answer(200, dict(INFO) | {"alias": "\x1b[2J\nok"})

    done = await cli.run("backend", "check", "lnd", **lnd_variables(double))

    assert "\x1b" not in done.stdout
    assert done.stdout.count("\n") == 7


async def test_a_node_that_never_ends_is_given_up(
    cli: Cli, double: LndDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli_backend, "CHECK_TIMEOUT_S", 0.2)
    double.script[STATE] = Answer(200, {}, delay_s=60)

    code, found = await checked(cli, "lnd", **lnd_variables(double))

    assert (code, wrong(found)) == (1, ["connection"])


async def test_lnbits_is_checked_by_its_keys(cli: Cli) -> None:
    async with lnbits_double() as double:
        variables = {
            "NWC_BACKEND": "lnbits",
            "NWC_LNBITS_URL": double.url,
            "NWC_LNBITS_ADMIN_KEY": ADMIN_KEY,
            "NWC_LNBITS_INVOICE_KEY": INVOICE_KEY,
            "NWC_LNBITS_FEE_CAP": "2000, 1%",
        }
        right = await checked(cli, "lnbits", **variables)
        variables["NWC_LNBITS_INVOICE_KEY"] = ADMIN_KEY
        mistaken = await checked(cli, "lnbits", **variables)

    assert (right[0], wrong(right[1])) == (0, [])
    assert (mistaken[0], wrong(mistaken[1])) == (1, ["keys"])
    assert ADMIN_KEY not in repr(mistaken)


async def test_before_the_first_start_the_sandbox_is_left_as_it_is(
    cli: Cli, tmp_path: Path
) -> None:
    code, found = await checked(cli, "sandbox")

    assert (code, [each["subject"] for each in found]) == (0, ["money", "file"])
    assert list(tmp_path.iterdir()) == []


async def test_beside_a_service_that_runs_it_tells_the_same_and_more(tmp_path: Path) -> None:
    async with service_process(tmp_path / "data") as service:
        cli = Cli(service.data_dir)
        code, found = await checked(cli, "sandbox")
        assert (code, wrong(found)) == (0, [])
        assert found[-1]["says"].startswith("1000000000000 msat to spend")

        for mode, subjects in (
            ("lose-reply", ["mode"]),
            ("unreachable", ["connection", "mode"]),
        ):
            await service.sandbox("mode", mode=mode)
            code, found = await checked(cli, "sandbox")
            assert (code, wrong(found)) == (1, subjects)
        assert (await service.audit())["problems"] == []


async def test_it_reads_the_file_that_serve_would(
    cli: Cli, double: LndDouble, tmp_path: Path
) -> None:
    file = tmp_path / "nwc.toml"
    file.write_text(
        'default_backend = "play"\n[backends.play]\ntype = "sandbox"\n[backends.mine]\n'
        f'type = "lnd"\nurl = "{double.url}"\nmacaroon_hex = "{MACAROON}"\n'
    )
    arguments = ("backend", "check", "mine", "--config", str(file))

    by_option = await cli.run(*arguments)
    by_variable = await cli.run(*arguments[:3], NWC_CONFIG=str(file))
    another = await cli.failure(*arguments[:2], "yours", *arguments[3:])

    assert (by_option.code, by_variable.code) == (0, 0)
    assert by_option.stdout == by_variable.stdout
    assert "no backend is named 'yours'; configured: mine, play" in another


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        pytest.param({"NWC_BACKEND": "lnd"}, "url is missing", id="options"),
        pytest.param({"NWC_BACKEND": "foo"}, "no backend of type 'foo'", id="type"),
        pytest.param({"NWC_CONFIG": "/nowhere.toml"}, "/nowhere.toml", id="file"),
    ],
)
async def test_settings_that_cannot_be_read_are_one_line(
    cli: Cli, variables: Mapping[str, str], words: str
) -> None:
    name = variables.get("NWC_BACKEND", "sandbox")

    assert words in await cli.failure("backend", "check", name, **variables)


# --- bake


async def test_the_command_is_printed_as_it_is_to_be_run(cli: Cli) -> None:
    done = await cli.run("backend", "bake", "lnd")
    told = await cli.json("backend", "bake", "lnd")

    assert done == Done(0, rights.bake_command() + "\n", "")
    assert told == {"command": rights.bake_command()}


async def test_it_goes_where_it_is_wanted_with_a_key_of_its_own(cli: Cli) -> None:
    path = "/etc/a service/lnd's.macaroon"

    done = await cli.run("backend", "bake", "lnd", "--save-to", path, "--root-key-id", "7")

    command = shlex.split(done.stdout)
    assert command[:2] == ["lncli", "bakemacaroon"]
    assert command[2:4] == [f"--save_to={path}", "--root_key_id=7"]
    assert command[4:] == [f"uri:{uri}" for uri in rights.NEEDED]


async def test_what_bakes_nothing_is_a_failure(cli: Cli) -> None:
    assert "has no credential that is baked" in await cli.failure("backend", "bake", "sandbox")
    assert "installed: " in await cli.failure("backend", "bake", "foo")
    assert "root-key-id" in await cli.usage("backend", "bake", "lnd", "--root-key-id", "-1")
