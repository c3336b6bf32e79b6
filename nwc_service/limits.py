"""What a connection and its account may pay, judged in the transaction that reserves the money.

Every paying method comes through here. A connection that another one made counts in the budget
of its maker as well.
"""

from dataclasses import replace

from nwc_service.nip47.connection import Connection
from nwc_service.store import connections, ledger
from nwc_service.store.connections import Standing
from nwc_service.store.database import Tx
from nwc_service.wallet.budget import Renewal, period_start
from nwc_service.wallet.errors import ErrorCode, RequestError
from nwc_service.wallet.payment import Payment, PaymentState
from nwc_service.wallet.refusals import ACCOUNT_FROZEN, CONNECTION_ENDED, CONNECTION_PAUSED
from nwc_service.wallet.units import AccountId, ConnectionId, Msat

_OVER_BUDGET = "this would exceed the connection's budget"
_OVER_DAY = "this would exceed what the account may pay in a day"


def check(connection: Connection, payment: Payment, *, inside: bool) -> None:
    """`inside`: nothing leaves the ledger. Raises RequestError."""
    cap_msat = connection.max_payment_msat
    if cap_msat is not None and payment.amount_msat > cap_msat:
        raise RequestError(
            ErrorCode.QUOTA_EXCEEDED, f"this connection pays at most {cap_msat} msat at a time"
        )
    if connection.internal_only and not inside:
        raise RequestError(
            ErrorCode.RESTRICTED, "this connection pays accounts of this wallet only"
        )
    if connection.destinations is not None and payment.payee not in connection.destinations:
        raise RequestError(ErrorCode.RESTRICTED, "this connection may not pay this node")


def check_fee(payment: Payment, standing: Payment) -> None:
    """Whether what `standing` costs is what `payment` may cost. Raises RequestError."""
    costs_msat = standing.fee_reserve_msat if standing.fee_msat is None else standing.fee_msat
    if costs_msat > payment.fee_reserve_msat:
        raise RequestError(
            ErrorCode.FEE_LIMIT_EXCEEDED, "max_fee: this is being paid, or was paid, for more"
        )


async def must_be_served(tx: Tx, connection: Connection, *, now: int) -> None:
    """Raises RequestError, in the transaction that claims what the connection asks for."""
    match await connections.standing(tx, connection, now=now):
        case Standing.ENDED:
            raise RequestError(ErrorCode.UNAUTHORIZED, CONNECTION_ENDED)
        case Standing.PAUSED:
            raise RequestError(ErrorCode.RESTRICTED, CONNECTION_PAUSED)
        case Standing.FROZEN:
            raise RequestError(ErrorCode.RESTRICTED, ACCOUNT_FROZEN)


async def charge(tx: Tx, connection: Connection, payment: Payment, *, now: int) -> Payment:
    """Count the payment, with its fee reserve, in every budget that it concerns (I15).

    Raises RequestError, and then the transaction must be undone.
    """
    day = await _use_day(tx, payment, now=now)
    period = await _use(tx, connection, payment, now=now)
    parent_period = None
    if connection.parent_id is not None:
        parent = await connections.connection(tx, connection.parent_id)
        if parent is None or not parent.is_live(now):
            raise RequestError(ErrorCode.UNAUTHORIZED, "the connection that made it has ended")
        parent_period = await _use(tx, parent, payment, now=now)
    return replace(
        payment,
        budget_period=period,
        parent_budget_period=parent_period,
        account_day=day,
    )


async def _use_day(tx: Tx, payment: Payment, *, now: int) -> int | None:
    """The day in which it was counted for its account; None without a limit."""
    limits = await ledger.limits_of(tx, payment.account_id)
    cap_msat = limits.max_payment_msat
    if cap_msat is not None and payment.amount_msat > cap_msat:
        raise RequestError(
            ErrorCode.QUOTA_EXCEEDED, f"this account pays at most {cap_msat} msat at a time"
        )
    if limits.max_daily_msat is None:
        return None
    day = period_start(Renewal.DAILY, now)
    if not await ledger.use_day(tx, payment.account_id, day=day, amount_msat=payment.held_msat):
        raise RequestError(ErrorCode.QUOTA_EXCEEDED, _OVER_DAY)
    return day


async def check_room(tx: Tx, account_id: AccountId, *, amount_msat: Msat | None) -> None:
    """Whether the account may be paid so much; any amount only has to begin in it. What comes
    in all the same is credited: it cannot be refused any more. Raises RequestError."""
    if not await ledger.has_room_for(tx, account_id, amount_msat=amount_msat or Msat(1)):
        raise RequestError(
            ErrorCode.QUOTA_EXCEEDED, "this would be more than the account may hold"
        )


async def _use(tx: Tx, connection: Connection, payment: Payment, *, now: int) -> int | None:
    """The period in which it was counted; None without a budget."""
    budget = connection.budget
    if budget is None:
        return None
    period = period_start(budget.renewal, now)
    if not await connections.use_budget(
        tx, connection.connection_id, period_start=period, amount_msat=payment.held_msat
    ):
        raise RequestError(ErrorCode.QUOTA_EXCEEDED, _OVER_BUDGET)
    return period


async def give_back(tx: Tx, payment: Payment) -> None:
    """What a final payment did not spend of what was counted for it."""
    spent_msat = 0
    if payment.state is PaymentState.SETTLED:
        spent_msat = payment.amount_msat + (payment.fee_msat or 0)
    unused_msat = Msat(payment.held_msat - spent_msat)
    if not unused_msat:
        return
    if payment.account_day is not None:
        await ledger.give_day_back(
            tx, payment.account_id, day=payment.account_day, amount_msat=unused_msat
        )
    connection_id = payment.connection_id
    if connection_id is None:
        return
    await _return(tx, connection_id, period=payment.budget_period, amount_msat=unused_msat)
    if payment.parent_budget_period is None:
        return
    connection = await connections.connection(tx, connection_id)
    if connection is not None and connection.parent_id is not None:
        await _return(
            tx,
            connection.parent_id,
            period=payment.parent_budget_period,
            amount_msat=unused_msat,
        )


async def _return(
    tx: Tx, connection_id: ConnectionId, *, period: int | None, amount_msat: Msat
) -> None:
    if period is not None:
        await connections.give_budget_back(
            tx, connection_id, period_start=period, amount_msat=amount_msat
        )
