"""The embedded relay: small, strict, in memory, and for NIP-47 alone.

From the network it takes requests (kind 23194) between keys that the service knows, and hands
them over verified; what the service publishes never touches a socket on its way in.
"""

from nwc_service.embedded.limits import RelayLimits
from nwc_service.embedded.server import EmbeddedRelay, open_embedded_relay

__all__ = ["EmbeddedRelay", "RelayLimits", "open_embedded_relay"]
