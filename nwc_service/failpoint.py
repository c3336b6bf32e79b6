"""Named places where a test may kill the process: `NWC_FAILPOINT=after_reserve`.

`after_reserve:17` means the 17th time that the process comes there.
"""

import os
import signal
from typing import Literal, get_args

FailpointName = Literal[
    "before_claim",
    "after_claim_all",
    "in_reserve",
    "after_reserve",
    "in_dispatch",
    "after_dispatch",
    "before_record",
    "in_record",
    "after_record",
    "before_give_back",
    "in_give_back",
    "after_give_back",
    "before_resolve",
    "after_resolve",
    "after_publish",
    "after_mark",
    "after_cancel",
    "in_invoice_claim",
    "after_invoice_claim",
    "after_invoice_created",
    "in_invoice_store",
    "after_invoice_store",
    "in_offer_claim",
    "after_offer_claim",
    "after_offer_created",
    "in_offer_store",
    "after_offer_store",
    "before_credit",
    "in_credit",
    "after_credit",
    "in_accept",
    "after_accept",
    "in_hold_decision",
    "after_hold_decision",
    "after_hold_resolved",
    "after_account_create",
    "after_connection_create",
    "in_create_connection",
    "after_create_connection",
    "after_revoke",
    "in_credit_by_operator",
    "after_credit_by_operator",
    "in_debit",
    "after_debit",
]
FAILPOINTS: tuple[FailpointName, ...] = get_args(FailpointName)

_armed: str | None = None
_passes_left = 0


def arm(place: str | None) -> None:
    """Die at `name`, or at the n-th pass of `name:n`. Raises ValueError for an unknown name."""
    global _armed, _passes_left
    name, _, passes = (place or "").partition(":")
    if name and name not in FAILPOINTS:
        raise ValueError(f"there is no failpoint {name!r}")
    _armed = name or None
    _passes_left = int(passes or 1)


def failpoint(name: FailpointName) -> None:
    """Die here as by a power cut, when armed; nothing otherwise."""
    if name == _armed:
        _pass()


def _pass() -> None:
    global _passes_left
    _passes_left -= 1
    if _passes_left <= 0:
        os.kill(os.getpid(), signal.SIGKILL)


arm(os.environ.get("NWC_FAILPOINT"))
