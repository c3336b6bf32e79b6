"""How the embedded relay says no."""

__all__ = ["RefusedError"]


class RefusedError(Exception):
    """The message is the answer: a prefix of NIP-01 or NIP-42, and a sentence."""
