"""Which library is tried with what, over which encryption: what tests/e2e/test_client_*.py run
and what docs/clients.md shows. A method that the service does not have yet is left out."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pytest

from nwc_service.methods import METHODS
from tests.clients.conversation import NIP44_V2
from tests.clients.libraries import BOTH, LIBRARIES, NOTIFICATIONS, Library
from tests.clients.limits import LINK, prevented

REFUSALS = (
    "PAYMENT_FAILED",
    "INSUFFICIENT_BALANCE",
    "QUOTA_EXCEEDED",
    "NOT_FOUND",
    "RESTRICTED",
)
SLOW_PAYMENT = "a payment slower than the client"

# What the test of a row calls, where that is not the row itself.
_CALLED = {"hold_invoice_accepted": "make_hold_invoice", "NOT_FOUND": "lookup_invoice"}


@dataclass(frozen=True, slots=True)
class Case:
    library: Library
    row: str
    encryption: str

    def __str__(self) -> str:
        return f"{self.library}-{self.row}-{self.encryption}"


def rows() -> dict[str, tuple[str, ...]]:
    """By the heading under which they stand."""
    heard = tuple(row for row in NOTIFICATIONS if _called(row) in METHODS)
    return {
        "method": tuple(METHODS),
        "notification": heard,
        "connection": (LINK,),
        "refusal": REFUSALS,
        "patience": (SLOW_PAYMENT,),
    }


def cases(heading: str) -> Iterator[Case]:
    for library in LIBRARIES:
        for row in rows()[heading]:
            for encryption in BOTH:
                if is_tried(library, row, encryption):
                    yield Case(library, row, encryption)


def is_tried(library: Library, row: str, encryption: str) -> bool:
    return is_offered(library, row, encryption) and not prevented(library, row)


def is_offered(library: Library, row: str, encryption: str) -> bool:
    if row in NOTIFICATIONS:
        return row in library.notifications and encryption in library.encryption
    if row == LINK:  # whichever the library prefers
        return library.links and encryption == NIP44_V2
    return library.can_call(_called(row), encryption)


def every_case(heading: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", parameters(list(cases(heading))))


def parameters(found: Sequence[Case]) -> list[object]:
    return [
        pytest.param(case, id=str(case), marks=() if case.library.module is None else REAL)
        for case in found
    ]


REAL = (pytest.mark.real,)


def _called(row: str) -> str:
    if row in METHODS or row not in (*NOTIFICATIONS, *REFUSALS, SLOW_PAYMENT):
        return row
    return _CALLED.get(row, "pay_invoice")
