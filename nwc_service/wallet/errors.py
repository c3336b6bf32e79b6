"""Refusals. In each case nothing was changed and the message is safe to show.

RequestError    a client's request, with its NIP-47 error code
Refused         an operator's command
└ NotFound      that names what is not there
"""

from enum import StrEnum


class ErrorCode(StrEnum):
    """The codes of NIP-47; rust-nostr's enum is closed, so no others for the core methods."""

    RATE_LIMITED = "RATE_LIMITED"
    NOT_IMPLEMENTED = "NOT_IMPLEMENTED"
    INSUFFICIENT_BALANCE = "INSUFFICIENT_BALANCE"
    QUOTA_EXCEEDED = "QUOTA_EXCEEDED"
    RESTRICTED = "RESTRICTED"
    UNAUTHORIZED = "UNAUTHORIZED"
    INTERNAL = "INTERNAL"
    UNSUPPORTED_ENCRYPTION = "UNSUPPORTED_ENCRYPTION"
    OTHER = "OTHER"
    PAYMENT_FAILED = "PAYMENT_FAILED"
    NOT_FOUND = "NOT_FOUND"


class RequestError(Exception):
    """This request is refused and changes nothing."""

    def __init__(self, code: ErrorCode, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class Refused(Exception):
    """The operator's command is refused; the message says why."""


class NotFound(Refused):
    """There is no such account, connection or payment."""
