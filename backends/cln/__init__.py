"""A Core Lightning node as the service's node, by its socket or by CLNRest.

CLN keeps a name of ours with each invoice and gives the best cursor of all nodes. Its traps:
`xpay` may answer with an error while parts of the payment are still out, knows a payment by
its parts only, and makes the same offer twice. Each file here answers to one of these.
"""

from backends.cln.backend import ClnBackend
from backends.cln.rights import bake_command

__all__ = ["ClnBackend", "bake_command"]
