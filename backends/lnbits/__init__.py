"""A wallet on an LNbits server as the service's node.

LNbits obeys no fee limit and no timeout, invoices whole sats only, says the outcome in the body
and not in the HTTP status, and lets anybody forge its websocket: each file here answers to one
of these.
"""

from backends.lnbits.backend import LnbitsBackend

__all__ = ["LnbitsBackend"]
