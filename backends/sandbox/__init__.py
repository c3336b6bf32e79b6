"""The embedded default backend: a simulated Lightning network, where no real money moves.

Two nodes live in one SQLite file of their own: the service's, which `SandboxBackend` speaks
for, and an outside one that the operator's commands play. The file survives a kill of the
service as a real node would.
"""

from backends.sandbox.backend import SandboxBackend

__all__ = ["SandboxBackend"]
