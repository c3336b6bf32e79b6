"""An LND node over REST as the service's node.

LND knows each payment by its hash, refuses a second one and expired invoices, and forgets
nothing by itself. Its traps: an error may follow a send, a failed hash may be tried again, its
streams of invoices know neither the first settled one nor what is only accepted. Each file
here answers to one of these.
"""

from backends.lnd.backend import LndBackend
from backends.lnd.rights import bake_command

__all__ = ["LndBackend", "bake_command"]
