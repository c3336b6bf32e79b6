"""Backups: whole, made while others write, and refused when anything is wrong with them."""

import io
import json
import os
import sqlite3
import tarfile
import threading
from contextlib import closing
from pathlib import Path

import pytest

from nwc_service import backup
from nwc_service.backup import BackupError, Place
from nwc_service.backups import Backups, all_of
from nwc_service.config import BackupSettings
from nwc_service.keyring import Keyring
from nwc_service.sealed_key import unseal
from nwc_service.store import alarms, meta
from nwc_service.store.database import Database
from nwc_service.store.sqlite import open_sqlite

KEY = bytes(range(32))
WORDS = "correct horse battery staple"


@pytest.fixture
async def place(tmp_path: Path) -> Place:
    """With books of this key, and a sandbox."""
    data_dir = tmp_path / "data"
    data_dir.mkdir(mode=0o700)
    found = Place(data_dir, data_dir / "nwc.sqlite")
    keyring = Keyring(KEY)
    async with open_sqlite(found.database, read_only=False) as database:
        await database.write(lambda tx: meta.put(tx, "master_key", keyring.fingerprint))
        await database.write(lambda tx: meta.put(tx, "said", "before"))
    (data_dir / "master.key").write_text(KEY.hex())
    with closing(sqlite3.connect(data_dir / "sandbox.sqlite")) as sandbox, sandbox:
        sandbox.execute("CREATE TABLE node (secret TEXT)")
    return found


@pytest.fixture(scope="module")
def sealed() -> str:
    return Keyring(KEY).sealed(WORDS)


@pytest.fixture
def made(place: Place, sealed: str, tmp_path: Path) -> Path:
    return backup.make(place, tmp_path / "backup.tar", sealed_key=sealed)


def elsewhere(tmp_path: Path) -> Place:
    return Place(tmp_path / "other", tmp_path / "other" / "nwc.sqlite")


def said(place: Place) -> str:
    with closing(sqlite3.connect(place.database)) as database:
        row = database.execute("SELECT value FROM meta WHERE name = 'said'").fetchone()
    return str(row[0])


def test_all_of_it_comes_back_for_its_owner_alone(made: Path, tmp_path: Path) -> None:
    target = elsewhere(tmp_path)

    manifest = backup.restore(made, target, passphrase=WORDS)

    assert said(target) == "before"
    assert (target.data_dir / "master.key").read_text().strip() == KEY.hex()
    assert (target.data_dir / "sandbox.sqlite").exists()
    assert manifest["format"] == 1
    for path in (made, *target.files.values()):
        assert path.stat().st_mode & 0o077 == 0, path
    assert target.data_dir.stat().st_mode & 0o077 == 0
    left = {path.name for path in target.data_dir.iterdir()}
    assert left == {"nwc.sqlite", "master.key", "sandbox.sqlite", "lock"}


def test_it_holds_no_secret_in_the_open(made: Path) -> None:
    raw = made.read_bytes()

    assert KEY.hex().encode() not in raw
    assert KEY not in raw
    assert WORDS.encode() not in raw


def test_a_key_that_was_sealed_stays_so(place: Place, sealed: str, tmp_path: Path) -> None:
    (place.data_dir / "master.key").write_text(sealed)
    made = backup.make(place, tmp_path / "backup.tar", sealed_key=sealed)

    backup.restore(made, elsewhere(tmp_path), passphrase=WORDS)

    text = (elsewhere(tmp_path).data_dir / "master.key").read_text()
    assert unseal(text, WORDS) == KEY


def test_it_is_of_one_moment_while_others_write(
    place: Place, sealed: str, tmp_path: Path
) -> None:
    """Two rows that are always equal are equal in it, whenever it was made."""
    stop = threading.Event()
    with closing(sqlite3.connect(place.database)) as database, database:
        database.execute("CREATE TABLE pair (name TEXT PRIMARY KEY, value INTEGER, pad TEXT)")
        pad = "x" * 5_000_000
        database.executemany("INSERT INTO pair VALUES (?, 0, ?)", [("a", pad), ("b", pad)])

    def write() -> None:
        with closing(sqlite3.connect(place.database, timeout=30)) as database:
            while not stop.is_set():
                with database:
                    database.execute("UPDATE pair SET value = value + 1")

    writer = threading.Thread(target=write)
    writer.start()
    try:
        files = [backup.make(place, tmp_path / f"{n}.tar", sealed_key=sealed) for n in range(3)]
    finally:
        stop.set()
        writer.join()
    counted = []
    for number, file in enumerate(files):
        target = Place(tmp_path / f"r{number}", tmp_path / f"r{number}" / "nwc.sqlite")
        backup.restore(file, target, passphrase=WORDS)
        with closing(sqlite3.connect(target.database)) as database:
            [a, b] = [row[0] for row in database.execute("SELECT value FROM pair")]
        assert a == b
        counted.append(a)
    assert counted == sorted(counted)


def test_no_file_is_written_over(place: Place, sealed: str, tmp_path: Path) -> None:
    target = tmp_path / "mine"
    target.write_text("something else")

    with pytest.raises(BackupError, match="already"):
        backup.make(place, target, sealed_key=sealed)

    assert target.read_text() == "something else"
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize("name", ["nwc.sqlite", "master.key", "sandbox.sqlite"])
def test_it_is_brought_back_into_an_empty_place_only(
    made: Path, tmp_path: Path, name: str
) -> None:
    target = elsewhere(tmp_path)
    target.data_dir.mkdir()
    (target.data_dir / name).write_text("what was here")

    with pytest.raises(BackupError, match="empty place"):
        backup.restore(made, target, passphrase=WORDS)

    assert [path.name for path in target.data_dir.iterdir()] == [name]


def refused(file: Path, tmp_path: Path, *, words: str = WORDS) -> str:
    """Why, with nothing left behind."""
    target = elsewhere(tmp_path)
    with pytest.raises((BackupError, ValueError)) as raised:
        backup.restore(file, target, passphrase=words)
    assert not any(path.exists() for path in target.files.values())
    assert {path.name for path in target.data_dir.iterdir()} <= {"lock"}
    return str(raised.value)


def test_a_wrong_passphrase_changes_nothing(made: Path, tmp_path: Path) -> None:
    assert "passphrase" in refused(made, tmp_path, words="something else")


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_cut_off_file_is_refused(made: Path, tmp_path: Path, share: float) -> None:
    cut = tmp_path / "cut.tar"
    raw = made.read_bytes()
    cut.write_bytes(raw[: int(len(raw) * share)])

    refused(cut, tmp_path)


def test_a_changed_byte_is_found(made: Path, tmp_path: Path) -> None:
    raw = bytearray(made.read_bytes())
    with tarfile.open(made) as archive:
        member = archive.getmember("nwc.sqlite")
    raw[member.offset_data + 100] ^= 1
    made.write_bytes(raw)

    assert "damaged" in refused(made, tmp_path)


def packed(tmp_path: Path, files: dict[str, bytes], **manifest: object) -> Path:
    path = tmp_path / "forged.tar"
    text = {"format": 1, "schema": 1, "made_at": 0, "key_was_sealed": False, "sha256": {}}
    with tarfile.open(path, "w") as archive:
        for name, raw in {
            "manifest.json": json.dumps(text | manifest).encode(),
            **files,
        }.items():
            member = tarfile.TarInfo(name)
            member.size = len(raw)
            archive.addfile(member, io.BytesIO(raw))
    return path


@pytest.mark.parametrize(
    ("files", "manifest"),
    [
        ({}, {"format": 2}),
        ({}, {"sha256": {"../../evil": "00"}}),
        ({"../evil": b"x"}, {"sha256": {"../evil": "00"}}),
        ({}, {"sha256": None}),
        ({}, {"sha256": {"nwc.sqlite": "00"}}),
        ({"nwc.sqlite": b"x"}, {"sha256": {"nwc.sqlite": "00"}}),
        ({}, {}),
    ],
)
def test_a_forged_archive_is_refused_and_writes_nowhere(
    tmp_path: Path, files: dict[str, bytes], manifest: dict[str, object]
) -> None:
    refused(packed(tmp_path, files, **manifest), tmp_path)

    assert not (tmp_path / "evil").exists()


def test_a_newer_schema_is_refused(place: Place, sealed: str, tmp_path: Path) -> None:
    with closing(sqlite3.connect(place.database)) as database, database:
        database.execute("INSERT INTO schema_version (version) VALUES (999)")
    made = backup.make(place, tmp_path / "new.tar", sealed_key=sealed)

    assert "999" in refused(made, tmp_path)


def test_the_key_of_other_books_is_refused(place: Place, tmp_path: Path) -> None:
    of_others = Keyring(bytes(32)).sealed(WORDS)
    made = backup.make(place, tmp_path / "mixed.tar", sealed_key=of_others)

    assert "not that of its database" in refused(made, tmp_path)


def test_a_damaged_database_makes_no_backup(place: Place, sealed: str, tmp_path: Path) -> None:
    raw = bytearray(place.database.read_bytes())
    raw[5000:9000] = os.urandom(4000)
    place.database.write_bytes(raw)

    with pytest.raises(BackupError):
        backup.make(place, tmp_path / "bad.tar", sealed_key=sealed)
    assert not (tmp_path / "bad.tar").exists()


# --- by themselves


def scheduled(database: Database, place: Place, **settings: object) -> Backups:
    return Backups(
        database,
        place=place,
        settings=BackupSettings.model_validate(settings),
        seal=Keyring(KEY).sealed,
        clock=lambda: 1_800_000_000,
    )


async def alarms_of(database: Database) -> list[str]:
    return [row["kind"] for row in await database.read(alarms.alarms)]


async def test_the_newest_are_kept(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words, directory = tmp_path / "words", tmp_path / "backups"
    words.write_text(WORDS)
    (tmp_path / "backups").mkdir()
    (directory / "mine.tar").write_text("not ours")
    async with open_sqlite(place.database, read_only=False) as database:
        backups = scheduled(database, place, directory=directory, passphrase_file=words, keep=2)
        for second in range(4):
            monkeypatch.setattr("time.time", lambda second=second: 1_800_000_000.0 + second)
            assert await backups.make(directory)

        assert await alarms_of(database) == []
    assert [path.name[-9:-5] for path in all_of(directory)] == ["0002", "0003"]
    assert (directory / "mine.tar").exists()


async def test_a_failure_is_an_alarm_until_one_is_made(place: Place, tmp_path: Path) -> None:
    words, directory = tmp_path / "words", tmp_path / "backups"
    async with open_sqlite(place.database, read_only=False) as database:
        backups = scheduled(database, place, directory=directory, passphrase_file=words)
        failed = await backups.make(directory), await alarms_of(database)
        words.write_text(WORDS)
        made = await backups.make(directory), await alarms_of(database)

    assert failed == (False, ["backup_failed"])
    assert made == (True, [])
