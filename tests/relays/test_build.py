"""What building the relay says where it cannot be built."""

import shutil

import pytest

from tests.relays import build


@pytest.fixture(autouse=True)
def nothing_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.delenv("NWC_REQUIRE_REAL", raising=False)
    monkeypatch.setattr(build, "built", lambda: False)
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)


def test_without_go_it_is_left_out_with_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert build.main() == 0
    assert capsys.readouterr().err == "tests/relays is not built: go is not there\n"


def test_without_go_it_fails_where_real_parts_are_required(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("NWC_REQUIRE_REAL", "1")
    assert build.main() == 1
