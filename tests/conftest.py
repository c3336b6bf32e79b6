"""How the suite is shared out among several workers (`pytest -n 2`)."""

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

CONTRACT = ("tests/backends/test_contract", "tests/backends/test_table")


class _Files(LoadScopeScheduling):  # type: ignore[misc]  # it has no types
    def _split_scope(self, nodeid: str) -> str:
        """A file stays together, as its fixtures may be dear; so does the backends' contract
        with the test of the page that is made from its results."""
        file: str = nodeid.split("::")[0]
        return "the contract" if file.startswith(CONTRACT) else file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> _Files:
    return _Files(config, log)
