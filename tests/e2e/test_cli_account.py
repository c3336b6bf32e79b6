"""nwc-service account …, as scripts rely on it."""

import json
import time
from pathlib import Path
from secrets import token_hex

import pytest

from nwc_service.wallet.units import MAX_MSAT
from tests.e2e.conftest import Cli, rows
from tests.e2e.service import ServiceProcess

pytestmark = pytest.mark.asyncio(loop_scope="module")

KEYS = [
    "account_id",
    "name",
    "backend",
    "available_msat",
    "held_msat",
    "keysend_id",
    "frozen",
    "max_balance_msat",
    "max_payment_msat",
    "max_daily_msat",
    "created_at",
]


async def test_a_new_account_is_printed_and_empty(cli: Cli) -> None:
    name = a_name()

    created = await cli.json("account", "create", name)

    assert list(created) == KEYS
    assert (created["name"], created["available_msat"], created["held_msat"]) == (name, 0, 0)
    assert isinstance(created["account_id"], str)
    assert isinstance(created["created_at"], int)
    assert abs(created["created_at"] - time.time()) < 10


async def test_a_backend_that_is_not_there_is_refused_by_name(cli: Cli) -> None:
    said = await cli.failure("account", "create", a_name(), "--backend", "nowhere")

    assert "there is no backend 'nowhere'; choose one of sandbox" in said


async def test_accounts_are_listed_and_shown_as_they_were_created(cli: Cli) -> None:
    created = [await cli.json("account", "create", a_name()) for _ in range(2)]

    listed = await cli.json("account", "list")
    shown = [await cli.json("account", "show", each["name"]) for each in created]

    assert isinstance(listed, list)
    assert listed == sorted(listed, key=lambda each: (each["created_at"], each["name"]))
    assert all(each in listed for each in created)
    assert shown == created


@pytest.mark.parametrize(
    "name", ["0", "a", "main.shop_2-b", "x" * 64, ".", "-"], ids=lambda name: name[:20]
)
async def test_a_name_is_of_lower_case_letters_digits_dots_and_dashes(
    name: str, cli: Cli
) -> None:
    created = await cli.json("account", "create", name)

    assert created["name"] == name
    assert (await cli.json("account", "show", name)) == created


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("", id="empty"),
        pytest.param("Main", id="upper-case"),
        pytest.param("two words", id="space"),
        pytest.param("größe", id="not-ascii"),
        pytest.param("x" * 65, id="65-characters"),
        pytest.param("a/b", id="slash"),
        pytest.param("main\n", id="line-break"),
        pytest.param("a\tb", id="tab"),
    ],
)
async def test_any_other_name_is_refused_in_one_line(name: str, cli: Cli) -> None:
    before = await cli.json("account", "list")

    said = await cli.failure("account", "create", name)

    assert "name" in said
    assert await cli.json("account", "list") == before


async def test_a_name_is_unique(cli: Cli) -> None:
    name = a_name()
    created = await cli.json("account", "create", name)

    said = await cli.failure("account", "create", name)

    assert name in said
    assert await cli.json("account", "show", name) == created


@pytest.mark.parametrize("name", ["nobody", "..", "a/b", "%2e", ""], ids=repr)
async def test_an_account_that_is_not_there_is_not_shown(name: str, cli: Cli) -> None:
    said = await cli.failure("account", "show", name)

    assert "no account" in said


async def test_a_credit_and_a_debit_move_exactly_that_and_keep_their_reason(
    cli: Cli, service: ServiceProcess
) -> None:
    account = await cli.json("account", "create", a_name())
    name = account["name"]

    credited = await cli.json("account", "credit", name, "1001", "--reason", "cash in")
    debited = await cli.json("account", "debit", name, "1", "--reason", "cash out")

    assert credited == account | {"available_msat": 1_001}
    assert debited == account | {"available_msat": 1_000}
    assert await cli.json("account", "show", name) == debited
    assert rows(
        service,
        "SELECT kind, amount_msat, reason FROM entry WHERE ? IN (source, destination)"
        " ORDER BY entry_id",
        f"available:{account['account_id']}",
    ) == [("credit", 1_001, "cash in"), ("debit", 1, "cash out")]


@pytest.mark.parametrize("movement", ["credit", "debit"])
@pytest.mark.parametrize(
    ("amount_msat", "reason", "told"),
    [
        pytest.param("0", "x", "amount_msat", id="nothing"),
        pytest.param("-1", "x", "amount_msat", id="negative"),
        pytest.param(str(MAX_MSAT + 1), "x", "amount_msat", id="more-than-all-bitcoin"),
        pytest.param("9" * 40, "x", "amount_msat", id="absurd"),
        pytest.param("1", "", "reason", id="no-reason"),
        pytest.param("1", "  ", "reason", id="blank-reason"),
    ],
)
async def test_a_movement_that_makes_no_sense_is_refused(
    movement: str, amount_msat: str, reason: str, told: str, cli: Cli
) -> None:
    account = await cli.json("account", "create", a_name())
    name = account["name"]

    said = await cli.failure("account", movement, "--reason", reason, "--", name, amount_msat)

    assert told in said
    assert await cli.json("account", "show", name) == account


@pytest.mark.attack("A34")
@pytest.mark.parametrize("movement", ["credit", "debit"])
@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(["main", "1"], id="no-reason"),
        pytest.param(["main", "--reason", "x"], id="no-amount"),
        pytest.param(["main", "1.5", "--reason", "x"], id="fraction"),
        pytest.param(["main", "1e3", "--reason", "x"], id="exponent"),
        pytest.param(["main", "ten", "--reason", "x"], id="words"),
        pytest.param([], id="nothing"),
    ],
)
async def test_a_movement_wants_a_name_an_integer_and_a_reason(
    movement: str, arguments: list[str], cli: Cli
) -> None:
    assert await cli.usage("account", movement, *arguments)


async def test_an_account_is_not_debited_below_zero(cli: Cli) -> None:
    account = await cli.json("account", "create", a_name())
    await cli.json("account", "credit", account["name"], "1000", "--reason", "x")

    said = await cli.failure("account", "debit", account["name"], "1001", "--reason", "x")

    assert "less than 1001 msat available" in said
    assert (await cli.json("account", "show", account["name"]))["available_msat"] == 1_000


@pytest.mark.attack("A34")
async def test_what_the_backends_do_not_cover_is_credited_by_force_alone(cli: Cli) -> None:
    name = (await cli.json("account", "create", a_name()))["name"]
    liquidity_msat = (await cli.json("sandbox", "show"))["node_available_msat"]
    credit = ("account", "credit", name, str(liquidity_msat + 1), "--reason", "x")

    said = await cli.failure(*credit)
    empty = await cli.json("account", "show", name)
    forced = await cli.json(*credit, "--force")
    await cli.json("account", "debit", name, str(liquidity_msat + 1), "--reason", "x")

    assert "--force" in said
    assert empty["available_msat"] == 0
    assert forced["available_msat"] == liquidity_msat + 1


@pytest.mark.parametrize("movement", ["credit", "debit"])
async def test_nobody_is_neither_credited_nor_debited(movement: str, cli: Cli) -> None:
    said = await cli.failure("account", movement, "nobody", "1", "--reason", "x")

    assert "no account 'nobody'" in said


def a_name() -> str:
    return f"account-{token_hex(4)}"


async def test_an_account_is_limited_frozen_and_thawed(cli: Cli) -> None:
    name = a_name()
    await cli.json("account", "create", name)

    limited = await cli.json(
        "account", "limit", name, "--max-daily-msat", "5000", "--max-payment-msat", "7"
    )
    frozen = await cli.json("account", "freeze", name, "--reason", "odd payments")
    unlimited = await cli.json("account", "limit", name, "--max-payment-msat", "0")
    thawed = await cli.json("account", "thaw", name, "--reason", "explained")
    too_much = await cli.failure("account", "limit", name, "--max-daily-msat", str(2**62))

    assert (limited["max_daily_msat"], limited["max_payment_msat"]) == (5000, 7)
    assert (unlimited["max_daily_msat"], unlimited["max_payment_msat"]) == (5000, None)
    assert (frozen["frozen"], thawed["frozen"]) == (True, False)
    assert "max_daily_msat" in too_much
    decided = [
        (each["kind"], each["reason"])
        for each in await cli.json("decision", "list")
        if each["subject"] == name
    ]
    assert decided == [
        ("account_thawed", "explained"),
        ("account_limited", ""),
        ("account_frozen", "odd payments"),
        ("account_limited", ""),
    ]


async def test_many_are_made_from_a_file(cli: Cli, tmp_path: Path) -> None:
    name, file = a_name(), tmp_path / "many"
    lines = [{"name": name, "connections": [{"app": "an app"}]}, {"name": "BAD"}]
    file.write_text("\n".join(map(json.dumps, lines)))

    done = await cli.run("bulk", str(file))

    made, refused = map(json.loads, done.stdout.splitlines())
    assert (done.code, made["name"]) == (0, name)
    assert made["connections"][0]["uri"].startswith("nostr+walletconnect://")
    assert "BAD" in refused["problem"]
    assert "is missing" in await cli.failure("bulk", str(file), NWC_DATA_DIR=str(tmp_path))
