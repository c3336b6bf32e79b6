"""What must hold in the books, one SELECT of what is wrong for each.

Each text begins with the number of the invariant that is broken:

I1   all balances together are zero        I2   a balance is the sum of its entries
I3   no account is negative                I4   what is held is held for open payments
I5   one live or settled payment per hash  I6   what arrived is credited once, to whom it is due
I7   a payment moves what it must, once    I8   paid: with a preimage, within the fee reserve
I9   given back: with a proof              I10  one backend per payment, for ever
I12  one effect and one answer a request   I13  the answer says what became of the payment
I15  a budget counts its payments          I16  an internal payment moves both sides alike
I19  what is owed is backed                I23  the cursor moves with what it passed
I24  every amount is within its bounds     I25  nothing waits for ever without an alarm

The others are of the code, not of the books, and are proved by tests. Each check reads both
sides of its comparison in one statement, so it is right on whatever snapshot it runs. None
looks for each row through another table without an index: the time grows with the rows.
"""

from nwc_service.store.checks.balances import AMOUNTS, BALANCES
from nwc_service.store.checks.check import Check
from nwc_service.store.checks.holds import HOLDS
from nwc_service.store.checks.incoming import RECEIPTS
from nwc_service.store.checks.outgoing import PAYMENTS
from nwc_service.store.checks.requests import ANSWERS, OVERDUE

__all__ = ["CHECKS", "Check"]

CHECKS = (*BALANCES, *PAYMENTS, *RECEIPTS, *HOLDS, *ANSWERS, *AMOUNTS, *OVERDUE)
