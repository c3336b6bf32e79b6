"""How the suite is shared out among several workers (`pytest -n 2 --dist loadgroup`)."""

from pathlib import Path

import pytest

BACKENDS = Path(__file__).parent / "backends"
CONTRACT = ("test_contract", "test_table")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A file stays together, as its fixtures may be dear; so does the backends' contract with
    the test of the page that is made from its results."""
    for item in items:
        item.add_marker(pytest.mark.xdist_group(_group(item.path)))


def _group(path: Path) -> str:
    if path.parent == BACKENDS and path.name.startswith(CONTRACT):
        return "contract"
    return str(path)
