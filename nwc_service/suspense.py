"""Money that arrived and is nobody's yet: the operator says whose it is.

What nobody here asked for, or an account had no room for, waits in suspense (`credit.py`). It
is owed all the same, until it is assigned to an account or to the operator.
"""

from dataclasses import dataclass

import structlog

from nwc_service.answers import Clock
from nwc_service.store import alarms, decisions, ledger, receipts
from nwc_service.store.database import Database, Tx
from nwc_service.store.receipts import Receipt
from nwc_service.wallet.errors import NotFound, Refused
from nwc_service.wallet.ledger import EQUITY, SUSPENSE, Entry, EntryKind, available
from nwc_service.wallet.units import AccountId, BackendName, PaymentHash

log = structlog.get_logger()

ASSIGNED = "receipt_assigned"
UNATTRIBUTED = "unattributed"
ACCOUNT_FULL = "account_full"


@dataclass(frozen=True, slots=True)
class Assignment:
    """Without an account the money is the operator's."""

    account: str | None
    account_id: AccountId | None
    reason: str
    by: str


class Suspense:
    def __init__(self, db: Database, *, books: Database, clock: Clock) -> None:
        self._db = db
        self._books = books
        self._clock = clock

    async def assign(
        self,
        payment_hash: PaymentHash,
        *,
        backend: BackendName | None,
        account: str | None,
        reason: str,
        by: str = "",
    ) -> list[Receipt]:
        """All that waits under this hash at one backend. Raises NotFound and Refused."""
        if not reason.strip():
            raise Refused("a reason is required")
        # What is in suspense is told by entries, which never change: only the claim decides.
        waiting = await self._books.read(lambda tx: receipts.waiting_of(tx, payment_hash))
        chosen = _at_one_backend(waiting, backend)

        async def work(tx: Tx) -> None:
            account_id = await _account_id(tx, account)
            assignment = Assignment(account, account_id, reason, by)
            for receipt in chosen:
                await _assign(tx, receipt, assignment=assignment, now=self._clock())

        await self._db.write(work)
        log.warning("receipt.assigned", payment_hash=payment_hash, account=account)
        return chosen


def _at_one_backend(waiting: list[Receipt], backend: BackendName | None) -> list[Receipt]:
    chosen = [each for each in waiting if backend in (None, each.backend)]
    if not chosen:
        raise NotFound("nothing waits in suspense under this payment hash")
    names = sorted({each.backend for each in chosen})
    if len(names) > 1:
        raise Refused(f"receipts wait at {' and '.join(names)}: name one with --backend")
    return chosen


async def _account_id(tx: Tx, name: str | None) -> AccountId | None:
    if name is None:
        return None
    account = await ledger.account_named(tx, name)
    if account is None:
        raise NotFound(f"there is no account {name!r}")
    return account.account_id


async def _assign(tx: Tx, receipt: Receipt, *, assignment: Assignment, now: int) -> None:
    """The claim, the entry, the decision and the end of the alarm."""
    account_id, amount_msat = assignment.account_id, receipt.amount_msat
    destination = EQUITY if account_id is None else available(account_id)
    if not await receipts.claim(tx, receipt, assigned_to=destination, now=now):
        raise Refused("the receipt was assigned meanwhile")
    if account_id is not None and not await ledger.has_room(
        tx, account_id, amount_msat=amount_msat
    ):
        raise Refused(f"account {assignment.account} has no room for {amount_msat} msat")
    entry = Entry(EntryKind.ASSIGN, SUSPENSE, destination, amount_msat)
    await ledger.post(
        tx, (entry,), now=now, invoice_id=receipt.invoice_id, reason=assignment.reason
    )
    to = "the operator" if account_id is None else f"account {assignment.account}"
    await decisions.record(
        tx,
        ASSIGNED,
        subject=receipt.invoice_id or receipt.payment_hash,
        reason=assignment.reason,
        detail=f"{amount_msat} msat from {receipt.backend} to {to}",
        by=assignment.by,
        now=now,
    )
    await _end_alarm(tx, receipt)


async def _end_alarm(tx: Tx, receipt: Receipt) -> None:
    if receipt.invoice_id is not None:
        await alarms.clear(tx, ACCOUNT_FULL, subject=receipt.invoice_id)
    elif not await receipts.is_unattributed(tx, receipt.payment_hash):
        await alarms.clear(tx, UNATTRIBUTED, subject=receipt.payment_hash)
