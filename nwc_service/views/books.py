"""What an operator looks after: suspense, alarms, decisions, tokens, and the audit."""

from nwc_service import cursors
from nwc_service.store import alarms, decisions, receipts, tokens
from nwc_service.store.audit import audit_live, last_life
from nwc_service.store.database import Database, Tx
from nwc_service.store.tokens import Token
from nwc_service.views.view import View, page, rows

NEWEST = 2**63 - 1


async def suspense_list(tx: Tx) -> list[View]:
    """What arrived and is nobody's yet, oldest first."""
    return [
        {
            "payment_hash": receipt.payment_hash,
            "backend": receipt.backend,
            "htlc_set": receipt.htlc_set,
            "amount_msat": receipt.amount_msat,
            "received_at": receipt.created_at,
            "invoice_id": receipt.invoice_id,
            "account": receipt.account,
        }
        for receipt in await receipts.waiting(tx)
    ]


async def alarm_list(tx: Tx) -> list[View]:
    """What the operator must look at, oldest first."""
    return rows(await alarms.alarms(tx))


async def decision_page(tx: Tx, *, cursor: str | None, limit: int) -> View:
    """What operators decided and why, newest first. Raises Refused."""
    before = NEWEST if cursor is None else cursors.row_of(cursor)[0]
    read = await decisions.decision_page(tx, before=before, limit=limit + 1)
    numbers = [int(row["decision_id"]) for row in read]
    found = rows(read)
    for each in found:
        del each["decision_id"]
    return page(found, limit=limit, cursor=lambda: cursors.after_row(numbers[limit - 1], ""))


def token_view(token: Token) -> View:
    return {
        "name": token.name,
        "role": token.role,
        "created_at": token.created_at,
        "last_used_at": token.last_used_at,
        "revoked_at": token.revoked_at,
    }


async def token_list(tx: Tx) -> list[View]:
    """All that ever were, oldest first."""
    return [token_view(token) for token in await tokens.tokens(tx)]


async def audit_stopped(database: Database, *, now: int, required_percent: int) -> View:
    """As `audit`, where no service runs: what is overdue is judged by when one last did."""
    ran_at = await database.read(last_life)
    return await audit(database, now=ran_at or now, required_percent=required_percent)


async def audit(database: Database, *, now: int, required_percent: int) -> View:
    """Of each kind of problem the first ones, and how many more there are."""
    found = await audit_live(database, now=now, required_percent=required_percent)
    return {
        "ok": found.ok,
        "accounts": found.accounts,
        "entries": found.entries,
        "payments": found.payments,
        "invoices": found.invoices,
        "problems": list(found.problems),
    }
