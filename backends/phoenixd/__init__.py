"""phoenixd, a node whose channels are all with ACINQ's LSP, as the service's node.

It obeys no fee limit, says "failed" with HTTP 200, pays expired invoices, refuses a second
payment of a hash only once the first is settled, and takes the price of new liquidity out of
what comes in: each file here answers to one of these.
"""

from backends.phoenixd.backend import PhoenixdBackend

__all__ = ["PhoenixdBackend"]
