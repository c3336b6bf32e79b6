"""What building a Go module says where it cannot be built, and when it builds again."""

import shutil
from pathlib import Path

import pytest

from tests.go_build import GoModule, Missing
from tests.regtest.build import NETWORK
from tests.relays.build import RELAY

NO_GO = "echo 'go: go.mod requires go >= 1.25.10 (running go 1.24.1)' >&2; exit 1"
GO = 'while [ "$1" != -o ]; do shift; done; echo x >> "$2"'


@pytest.fixture(autouse=True)
def nothing_is_required(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.delenv("NWC_REQUIRE_REAL", raising=False)


@pytest.fixture
def module(tmp_path: Path) -> GoModule:
    folder = tmp_path / "tests" / "tool"
    folder.mkdir(parents=True)
    (folder / "go.mod").write_text("module tool")
    return GoModule(folder=folder, programs={".": tmp_path / "bin" / "tool"}, timeout_s=30)


@pytest.fixture
def no_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)


def go_that(does: str, *, at: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a program called go in front of every other."""
    go = at / "go"
    go.write_text(f"#!/bin/sh\n{does}\n")
    go.chmod(0o755)
    monkeypatch.setenv("PATH", str(at), prepend=":")


@pytest.mark.usefixtures("no_go")
def test_without_go_it_is_left_out_with_one_line(
    module: GoModule, capsys: pytest.CaptureFixture[str]
) -> None:
    assert module.main() == 0
    assert capsys.readouterr().err == "tests/tool is not built: go is not there\n"


@pytest.mark.usefixtures("no_go")
def test_without_go_it_fails_where_real_parts_are_required(
    module: GoModule, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NWC_REQUIRE_REAL", "1")
    assert module.main() == 1


def test_a_go_that_is_too_old_is_as_good_as_none(
    module: GoModule, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_that(NO_GO, at=tmp_path, monkeypatch=monkeypatch)

    with pytest.raises(Missing, match=r"too old: .*requires go"):
        module.build()


def test_what_does_not_compile_fails_and_is_not_taken_for_built(
    module: GoModule, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_that("echo broken >&2; exit 1", at=tmp_path, monkeypatch=monkeypatch)

    assert module.main() == 1
    assert not module.built()


def test_it_is_built_again_only_when_the_source_has_changed(
    module: GoModule, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_that(GO, at=tmp_path, monkeypatch=monkeypatch)
    program = module.programs["."]

    module.build()
    module.build()
    assert program.read_text() == "x\n"

    (module.folder / "go.mod").write_text("module other")
    module.build()
    assert program.read_text() == "x\nx\n"


def test_the_modules_are_named_by_their_folders() -> None:
    assert (RELAY.name, NETWORK.name) == ("tests/relays", "tests/regtest")
