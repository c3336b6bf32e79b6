"""Event kinds of NIP-47 and the words of its `encryption` and `notifications` tags."""

from enum import StrEnum

INFO = 13194
REQUEST = 23194
RESPONSE = 23195
NOTIFICATION_NIP04 = 23196  # legacy: NIP-04 only
NOTIFICATION = 23197


class Encryption(StrEnum):
    NIP44_V2 = "nip44_v2"
    NIP04 = "nip04"


class NotificationType(StrEnum):
    PAYMENT_RECEIVED = "payment_received"
    PAYMENT_SENT = "payment_sent"
    HOLD_INVOICE_ACCEPTED = "hold_invoice_accepted"


# NIP-47: a connection whose info event has no `encryption` tag speaks NIP-04 only.
DEFAULT_ENCRYPTION = (Encryption.NIP44_V2, Encryption.NIP04)
