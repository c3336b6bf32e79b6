"""structlog set up once: events and fields on standard error, secrets cut out of every line."""

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

_SECRET_FIELDS = frozenset(
    {"secret", "preimage", "invoice", "bolt11", "token", "uri", "admin_key", "invoice_key"}
)
_SECRET_TEXT = re.compile(
    r"nostr\+walletconnect:\S+|ln(?:bcrt|bc|tbs|tb)[0-9][0-9a-z]{20,}|ln(?:bcrt|bc|tbs|tb)1[0-9a-z]{20,}"
    r"|nsec1[0-9a-z]{20,}|(?i:secret|preimage|x-api-key|authorization)[\"'=: ]+\S{16,}"
)


def configure(level: str) -> None:
    """Readable lines on a terminal, one JSON object a line elsewhere."""
    threshold = logging.getLevelNamesMapping()[level.upper()]
    renderer: Any = structlog.processors.JSONRenderer()
    if sys.stderr.isatty():
        renderer = structlog.dev.ConsoleRenderer()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            redact,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )


def redact(
    _logger: object, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """The last wall: nothing should log a secret, and if it does it is not seen."""
    for name, value in event.items():
        if name in _SECRET_FIELDS:
            event[name] = "[redacted]"
        elif isinstance(value, str):
            event[name] = _SECRET_TEXT.sub("[redacted]", value)
    return event
