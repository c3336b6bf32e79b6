"""The master key under a passphrase."""

import json
import os
from pathlib import Path

import pytest

from nwc_service import passphrase
from nwc_service.keyring import Keyring, open_master_key
from nwc_service.sealed_key import WrongPassphrase, is_sealed, seal, unseal

KEY = bytes(range(32))
WORDS = "correct horse battery staple"


@pytest.fixture(scope="module")
def sealed() -> str:
    return seal(KEY, WORDS)


def test_the_passphrase_opens_it_and_nothing_else_does(sealed: str) -> None:
    assert unseal(sealed, WORDS) == KEY
    for other in ("", WORDS.upper(), WORDS + " "):
        with pytest.raises(WrongPassphrase):
            unseal(sealed, other)


def test_it_shows_nothing_and_is_never_the_same(sealed: str) -> None:
    assert is_sealed(sealed)
    assert KEY.hex() not in sealed
    assert WORDS not in sealed
    assert seal(KEY, WORDS) != sealed


@pytest.mark.parametrize("field", ["salt", "nonce", "sealed", "n", "r", "p", "format"])
def test_what_was_tampered_with_is_refused(sealed: str, field: str) -> None:
    found = json.loads(sealed)
    value = found[field]
    changed = value * 2 if isinstance(value, int) else "A" + value[1:] + ""
    found[field] = changed if changed != value else "B" + value[1:]

    with pytest.raises(ValueError, match=r"passphrase|kind|sealed"):
        unseal(json.dumps(found), WORDS)


@pytest.mark.parametrize("text", ["", "{}", "[]", "{", "null", '{"format": 1}', "00" * 32])
def test_what_is_no_sealed_key_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="sealed master key"):
        unseal(text, WORDS)


def test_a_hostile_file_takes_no_endless_memory(sealed: str) -> None:
    with pytest.raises(ValueError, match="kind"):
        unseal(json.dumps(json.loads(sealed) | {"n": 2**40}), WORDS)


def test_a_short_passphrase_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 8"):
        seal(KEY, "1234567")


def test_the_key_file_is_opened_in_either_form(tmp_path: Path, sealed: str) -> None:
    path = tmp_path / "master.key"
    path.write_text(sealed)
    assert open_master_key(path, ask=lambda: WORDS) == KEY
    with pytest.raises(ValueError, match="passphrase") as raised:
        open_master_key(path, ask=lambda: "wrong words")
    assert "wrong words" not in str(raised.value)
    path.write_text(KEY.hex())
    assert open_master_key(path, ask=lambda: pytest.fail("nobody is asked")) == KEY
    assert unseal(Keyring(KEY).sealed(WORDS), WORDS) == KEY


def test_the_passphrase_is_found_where_it_is_said_to_be(tmp_path: Path) -> None:
    named, credential = tmp_path / "file", tmp_path / passphrase.CREDENTIAL
    named.write_text(WORDS + "\r\nand more")
    credential.write_text("of systemd\n")

    both = {passphrase.VARIABLE: str(named), "CREDENTIALS_DIRECTORY": str(tmp_path)}
    assert passphrase.ask(environment=both) == WORDS
    assert passphrase.ask(environment={"CREDENTIALS_DIRECTORY": str(tmp_path)}) == "of systemd"


def test_without_a_terminal_it_is_said_where_it_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    with Path(os.devnull).open() as nothing:
        monkeypatch.setattr("sys.stdin", nothing)
        with pytest.raises(ValueError, match="NWC_PASSPHRASE_FILE"):
            passphrase.ask(environment={})
