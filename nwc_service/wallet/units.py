"""Units of money and the words for ids; every amount in this service is integer msat."""

from typing import NewType

Msat = NewType("Msat", int)
Sat = NewType("Sat", int)

AccountId = NewType("AccountId", str)
ConnectionId = NewType("ConnectionId", str)
PaymentId = NewType("PaymentId", str)
InvoiceId = NewType("InvoiceId", str)
BackendName = NewType("BackendName", str)

PaymentHash = NewType("PaymentHash", str)
"""32 bytes as 64 lowercase hex digits."""
Preimage = NewType("Preimage", str)
"""32 bytes as 64 lowercase hex digits; never logged."""

MSAT_PER_SAT = 1000

# 21 million bitcoin: no amount, and no sum of amounts, can be larger.
MAX_MSAT = Msat(21_000_000 * 100_000_000 * MSAT_PER_SAT)


def sat_from_msat_ceil(amount_msat: Msat) -> Sat:
    """Round up: use for what we reserve or charge, never for what we credit."""
    return Sat(-(-amount_msat // MSAT_PER_SAT))


def msat_from_sat(amount_sat: Sat) -> Msat:
    """Exact."""
    return Msat(amount_sat * MSAT_PER_SAT)
