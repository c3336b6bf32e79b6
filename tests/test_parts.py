import pytest

from tests.parts import require_real


@pytest.fixture(autouse=True)
def neither_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.delenv("NWC_REQUIRE_REAL", raising=False)


def test_a_missing_part_skips_the_test() -> None:
    with pytest.raises(pytest.skip.Exception, match=r"^a browser is missing$"):
        require_real("a browser", False)


@pytest.mark.parametrize("variable", ["CI", "NWC_REQUIRE_REAL"])
def test_a_missing_part_fails_the_test_where_real_parts_are_required(
    variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "1")

    with pytest.raises(pytest.fail.Exception, match=r"^a browser is missing"):
        require_real("a browser", False)


def test_a_part_that_is_there_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "1")

    require_real("a browser", True)
