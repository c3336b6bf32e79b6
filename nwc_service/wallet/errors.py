"""Refusals. In each case nothing was changed and the message is safe to show.

RequestError    a client's request, with its NIP-47 error code
Refused         an operator's command
└ NotFound      that names what is not there
"""

from enum import StrEnum


class ErrorCode(StrEnum):
    """The codes of NIP-47, and of its extensions from BAD_REQUEST on: rust-nostr's enum is
    closed, so the core methods answer with the first ones only."""

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
    BAD_REQUEST = "BAD_REQUEST"
    UNSUPPORTED_PAYMENT_INSTRUCTION = "UNSUPPORTED_PAYMENT_INSTRUCTION"
    UNSUPPORTED_NETWORK = "UNSUPPORTED_NETWORK"
    FEE_LIMIT_EXCEEDED = "FEE_LIMIT_EXCEEDED"
    MULTIPLE_MATCHES = "MULTIPLE_MATCHES"
    UNSUPPORTED_PAYMENT_TYPE = "UNSUPPORTED_PAYMENT_TYPE"
    TEMPORARILY_UNAVAILABLE = "TEMPORARILY_UNAVAILABLE"


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
