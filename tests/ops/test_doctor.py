"""Each fault around the service is provoked, found, and told with a remedy that mends it."""

import json
import os
import shutil
import socket
import sqlite3
import subprocess
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from nwc_service.backend import Finding
from nwc_service.config import Settings
from nwc_service.doctor import books, disk, files, ports, settings
from tests.e2e.conftest import Cli
from tests.e2e.service import ServiceProcess, service_process
from tests.relay.small_relay import SmallRelay, small_relay


def chosen(data_dir: Path, **sections: Any) -> Settings:
    sandbox = {"backends": {"sandbox": {"type": "sandbox"}}, "default_backend": "sandbox"}
    return Settings.model_validate({"data_dir": data_dir} | sandbox | sections)


def wrong(found: Sequence[Finding]) -> list[Finding]:
    return [each for each in found if each.remedy is not None]


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    made = tmp_path / "data"
    made.mkdir(mode=0o700)
    return made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def left_behind(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a service ran and does not any more."""
    made = tmp_path_factory.mktemp("left") / "data"
    made.mkdir(mode=0o700)
    async with service_process(made):
        pass
    return made


@pytest.fixture
def stopped(data_dir: Path, left_behind: Path) -> Path:
    """A copy of it, to be spoilt."""
    shutil.copytree(left_behind, data_dir, dirs_exist_ok=True)
    return data_dir


# --- settings


@pytest.mark.parametrize(
    ("sections", "subjects"),
    [
        pytest.param({}, [], id="as-it-comes"),
        pytest.param(
            {"embedded_relay": {"listen": "0.0.0.0:4848"}}, ["relay.public_url"], id="wildcard"
        ),
        pytest.param(
            {
                "embedded_relay": {"listen": "0.0.0.0:4848"},
                "relay": {"public_url": "wss://r.example.org"},
            },
            [],
            id="wildcard-with-its-name",
        ),
        pytest.param(
            {"relay": {"urls": ("ws://relay.example.org",)}}, ["relay.public_url"], id="no-tls"
        ),
        pytest.param({"relay": {"urls": ("ws://strfry:7777",)}}, [], id="inside-docker"),
        pytest.param({"relay": {"urls": ("ws://10.0.0.5:7777",)}}, [], id="at-home"),
        pytest.param({"relay": {"urls": ("ws://x.onion",)}}, [], id="over-tor"),
        pytest.param(
            {"solvency": {"required_percent": 0}}, ["solvency.required_percent"], id="no-gate"
        ),
    ],
)
def test_settings_that_do_not_go_together(
    tmp_path: Path, sections: dict[str, Any], subjects: list[str]
) -> None:
    found = list(settings.look(chosen(tmp_path, **sections)))

    assert [each.subject for each in wrong(found)] == subjects


def test_an_admin_api_for_everybody_is_told_and_is_for_the_operator_to_judge(
    tmp_path: Path,
) -> None:
    listen = {"admin": {"listen": "0.0.0.0:8800"}}

    found = list(settings.look(chosen(tmp_path, **listen)))

    assert wrong(found) == []
    assert "without TLS" in next(each.says for each in found if each.subject == "admin.listen")


# --- files


def looked_at(data_dir: Path, config: Path | None = None, **sections: Any) -> list[Finding]:
    return wrong(list(files.look(chosen(data_dir, **sections), config=config)))


def mend(found: Finding) -> None:
    """What the remedy says, word for word."""
    assert found.remedy is not None
    subprocess.run(found.remedy, shell=True, check=True, timeout=10)


@pytest.mark.parametrize("mode", [0o755, 0o750, 0o701])
def test_a_directory_that_others_may_read(data_dir: Path, mode: int) -> None:
    assert looked_at(data_dir) == []
    data_dir.chmod(mode)

    [found] = looked_at(data_dir)
    mend(found)

    assert looked_at(data_dir) == []


@pytest.mark.parametrize(
    "name", ["master.key", "admin.token", "nwc.sqlite", "nwc.sqlite-wal", "served.json"]
)
@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604])
def test_a_file_that_others_may_read(data_dir: Path, name: str, mode: int) -> None:
    (data_dir / "master.key").touch(0o600)
    (data_dir / name).touch(0o600)
    assert looked_at(data_dir) == []
    (data_dir / name).chmod(mode)

    [found] = looked_at(data_dir)
    assert f"{mode:03o}" in found.says
    mend(found)

    assert looked_at(data_dir) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_file_of_another_user(data_dir: Path) -> None:
    key = data_dir / "master.key"
    key.touch(0o600)
    os.chown(key, 12_345, -1)

    [found] = looked_at(data_dir)
    mend(found)

    assert looked_at(data_dir) == []


def test_books_without_their_key(data_dir: Path) -> None:
    (data_dir / "nwc.sqlite").touch(0o600)

    [found] = looked_at(data_dir)

    assert "master.key is missing" in found.says


def test_a_configuration_with_a_password_that_all_may_read(
    data_dir: Path, tmp_path: Path
) -> None:
    config = tmp_path / "config.toml"
    config.touch(0o644)
    phoenixd = {"p": {"type": "phoenixd", "url": "http://127.0.0.1:1", "password": "x"}}

    assert looked_at(data_dir, config) == []  # there is no secret in it
    [found] = looked_at(data_dir, config, backends=phoenixd, default_backend="p")
    mend(found)

    assert looked_at(data_dir, config, backends=phoenixd, default_backend="p") == []


@pytest.mark.parametrize(
    ("mode", "says"), [(None, "is not there"), (0o644, "everybody"), (0o640, None)]
)
def test_the_file_of_a_credential(
    data_dir: Path, tmp_path: Path, mode: int | None, says: str | None
) -> None:
    macaroon = tmp_path / "lnd.macaroon"
    if mode is not None:
        macaroon.touch()
        macaroon.chmod(mode)
    lnd = {"type": "lnd", "url": "http://127.0.0.1:1", "macaroon_path": str(macaroon)}

    found = looked_at(data_dir, backends={"lnd": lnd}, default_backend="lnd")

    assert len(found) == (says is not None)
    assert all(str(says) in each.says for each in found)


# --- disk

MIB = 1 << 20


@pytest.mark.parametrize(("free_bytes", "is_wrong"), [(100 * MIB, True), (2000 * MIB, False)])
def test_a_disk_that_is_nearly_full(data_dir: Path, free_bytes: int, is_wrong: bool) -> None:
    found = disk.look(data_dir, usage=lambda _: (0, 0, free_bytes))

    assert bool(wrong(found)) is is_wrong


@pytest.mark.parametrize(
    ("lasts_s", "says"),
    [(0.0, "no disk can"), (0.002, None), (0.06, "every payment waits")],
)
def test_a_disk_that_is_slow_or_lies(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch, lasts_s: float, says: str | None
) -> None:
    passed_s = 0.0

    def fsync(_: int) -> None:
        nonlocal passed_s
        passed_s += lasts_s

    monkeypatch.setattr(time, "perf_counter", lambda: passed_s)

    found = wrong(disk.look(data_dir, fsync=fsync, mounts=data_dir / "none"))

    assert [says in each.says for each in found if says] == [True] * (says is not None)
    assert len(found) == (says is not None)
    assert list(data_dir.iterdir()) == []


def test_a_disk_that_fails(data_dir: Path) -> None:
    def fsync(_: int) -> None:
        raise OSError(5, "Input/output error")

    [found] = wrong(disk.look(data_dir, fsync=fsync))

    assert "Input/output error" in found.says


@pytest.mark.parametrize(
    ("kind", "says"),
    [("tmpfs", "in memory"), ("overlay", "container"), ("nfs4", "locks"), ("ext4", None)],
)
def test_the_filesystem(data_dir: Path, tmp_path: Path, kind: str, says: str | None) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(
        f"22 1 0:21 / / rw,relatime - btrfs /dev/sda rw\n"
        f"23 22 0:22 / {tmp_path} rw shared:7 - {kind} /dev/sdb rw\n"
        f"24 23 0:23 / {tmp_path}/other rw - tmpfs tmpfs rw\n"
    )

    found = wrong(disk.look(data_dir, mounts=mounts))

    assert disk.filesystem_of(data_dir, mounts) == kind
    assert [says in each.says for each in found if says] == [True] * (says is not None)


# --- the database


async def read(data_dir: Path, *, now: float | None = None) -> list[Finding]:
    known = await books.look(chosen(data_dir), now=time.time() if now is None else now)
    return wrong(known.findings)


def damage(path: Path) -> None:
    """As a disk does: pages from the middle of the file are gone."""
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with path.open("r+b") as file:
        file.seek(5 * 4096)
        file.write(b"\xa5" * 4096 * 8)


async def test_books_that_are_whole(stopped: Path) -> None:
    assert await read(stopped) == []


async def test_a_damaged_file(stopped: Path) -> None:
    damage(stopped / "nwc.sqlite")

    [found] = await read(stopped)

    assert found.remedy == books.RESTORE


async def test_a_file_that_is_no_database(stopped: Path) -> None:
    (stopped / "nwc.sqlite-wal").unlink(missing_ok=True)
    (stopped / "nwc.sqlite").write_text("not a database, but long enough to be read " * 100)

    [found] = await read(stopped)

    assert found.remedy == books.RESTORE


def execute(data_dir: Path, statement: str) -> None:
    path = data_dir / "nwc.sqlite"
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute(statement)


@pytest.mark.parametrize(
    ("statement", "says"),
    [
        ("INSERT INTO schema_version (version) VALUES (999)", "schema 999"),
        ("DELETE FROM schema_version WHERE version > 1", "schema 1:"),
        ("PRAGMA journal_mode = DELETE", "journal mode delete"),
        ("INSERT INTO alarm VALUES ('late_success', 'x', 'y', 1)", "1 late_success"),
        ("INSERT INTO pause VALUES ('sandbox', 'all', 3, 'rolled_back', '', 1)", "rolled_back"),
    ],
)
async def test_books_that_are_not_in_order(stopped: Path, statement: str, says: str) -> None:
    execute(stopped, statement)

    [found] = await read(stopped)

    assert says in found.says


async def test_the_key_of_other_books(stopped: Path) -> None:
    (stopped / "master.key").write_text("ab" * 32)

    [found] = await read(stopped)

    assert "not the master key" in found.says


async def test_a_clock_that_went_back(stopped: Path) -> None:
    execute(
        stopped,
        "INSERT INTO entry (kind, source, destination, amount_msat, created_at)"
        f" VALUES ('x', 'a', 'b', 1, {int(time.time())})",
    )

    assert await read(stopped) == []
    [found] = await read(stopped, now=time.time() - 3600)

    assert found.subject == "clock"


def test_a_check_that_takes_too_long_is_told_as_such(tmp_path: Path) -> None:
    path = tmp_path / "large.sqlite"
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute(
            "CREATE TABLE t AS WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n"
            " WHERE x < 200000) SELECT x, hex(randomblob(20)) AS y FROM n"
        )
        database.execute("CREATE INDEX i ON t (y)")
        database.commit()

    found = books._whole(path, patience_s=-1)

    assert found.remedy is None
    assert "too large" in found.says


# --- ports


@pytest.mark.parametrize(
    ("name", "others"),
    [("admin", {}), ("embedded_relay", {}), ("public", {"domain": "example.org"})],
)
async def test_a_port_that_another_program_has(
    data_dir: Path, name: str, others: dict[str, str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        sections = {name: {"listen": f"127.0.0.1:{port}", **others}}
        found = (await ports.look(chosen(data_dir, **sections), known={})).findings
        as_before = chosen(data_dir, **{name: others})
        remembered = (await ports.look(as_before, known={name: port})).findings

    for each in (found, remembered):
        assert [finding.subject for finding in wrong(each)] == [f"{name}.listen"]
    free = (await ports.look(chosen(data_dir, **sections), known={})).findings
    assert wrong(free) == []


async def test_an_address_that_is_not_of_this_machine(data_dir: Path) -> None:
    sections = {"admin": {"listen": "192.0.2.1:8800"}}

    [found] = wrong((await ports.look(chosen(data_dir, **sections), known={})).findings)

    assert found.subject == "admin.listen"


# --- the command


async def doctor(cli: Cli, **environment: str) -> tuple[int, list[dict[str, Any]]]:
    done = await cli.run("doctor", "--json", **environment)
    assert done.stderr == ""
    return done.code, json.loads(done.stdout)


async def test_before_the_first_start_nothing_is_wrong_and_nothing_is_made(
    tmp_path: Path,
) -> None:
    code, found = await doctor(Cli(tmp_path / "data"))

    assert (code, [each for each in found if each["remedy"]]) == (0, [])
    assert not (tmp_path / "data").exists()


async def test_with_the_service_running_and_stopped(data_dir: Path) -> None:
    cli = Cli(data_dir)
    async with service_process(data_dir) as service:
        code, found = await doctor(cli)
        assert (code, [each for each in found if each["remedy"]]) == (0, [])
        assert f"it runs at {str(service.admin.base_url).rstrip('/')} and is ready" in told(
            found
        )

    code, found = await doctor(cli)
    assert (code, [each for each in found if each["remedy"]]) == (0, [])
    assert "it does not run" in told(found)
    assert {each["subject"].split()[0] for each in found} >= {
        *("files", "disk", "database", "service", "backends.sandbox")
    }


def told(found: list[dict[str, Any]]) -> str:
    return "\n".join(each["says"] for each in found)


async def test_a_service_that_is_not_ready(data_dir: Path) -> None:
    async with (
        small_relay(SmallRelay()) as relay,
        service_process(data_dir, NWC_RELAYS=relay.url) as service,
    ):
        await service.create_account("alice")
        await service.connect("alice")
        await ready(service)
        code, found = await doctor(Cli(data_dir), NWC_RELAYS=relay.url)
        assert code == 0, [each for each in found if each["remedy"]]
        relay.max_subscriptions = 0
        for subscriber in tuple(relay.subscribers):
            subscriber.socket.transport.abort()
        await ready(service, is_so=False)

        code, found = await doctor(Cli(data_dir), NWC_RELAYS=relay.url)

    assert code == 1
    assert "is not ready: relays" in told(found)
    assert [each["subject"] for each in found if each["remedy"]] == [
        "service",
        f"{relay.url} read",
    ]


async def ready(service: ServiceProcess, *, is_so: bool = True) -> None:
    deadline = time.monotonic() + 15
    while (await service.admin.get("/readyz")).is_success is not is_so:
        assert time.monotonic() < deadline


async def test_wrong_settings_are_a_finding_too(data_dir: Path) -> None:
    code, found = await doctor(Cli(data_dir), NWC_ADMIN_LISTEN="nonsense")

    assert (code, [each["subject"] for each in found]) == (1, ["settings"])
    assert "admin.listen" in told(found)


async def test_a_backend_that_cannot_be_made_or_reached(data_dir: Path) -> None:
    phoenixd = {"NWC_BACKEND": "phoenixd", "NWC_PHOENIXD_URL": "http://127.0.0.1:1"}

    code, found = await doctor(Cli(data_dir), **phoenixd)
    assert code == 1
    assert "backends.phoenixd" in [each["subject"] for each in found if each["remedy"]]

    code, found = await doctor(Cli(data_dir), **phoenixd, NWC_PHOENIXD_PASSWORD="c4nary")
    assert code == 1
    assert any(
        each["subject"].startswith("backends.phoenixd ") for each in found if each["remedy"]
    )
    assert "c4nary" not in json.dumps(found)


async def test_one_line_a_fact_for_readers(data_dir: Path) -> None:
    data_dir.chmod(0o755)

    done = await Cli(data_dir).run("doctor")

    assert done.code == 1
    assert [line.split()[0] for line in done.stdout.splitlines()].count("wrong") == 1
    assert f"to mend it: chmod 700 {data_dir}" in done.stdout
