"""The public key of a Lightning node."""

import re

from coincurve import PublicKey

_KEY = re.compile("0[23][0-9a-f]{64}")


def is_node_key(text: str) -> bool:
    """Whether it is a point of the curve, in the 33 bytes and lower-case hex of BOLT11."""
    if not _KEY.fullmatch(text):
        return False
    try:
        PublicKey(bytes.fromhex(text))
    except ValueError:
        return False
    return True
