"""structlog set up once: events and fields on standard error, secrets cut out of every line."""

import logging
import re
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any

import structlog
from structlog.typing import Processor

REDACTED = "[redacted]"

_SECRET_FIELDS = frozenset(
    {"secret", "preimage", "invoice", "bolt11", "token", "uri", "admin_key", "invoice_key"}
    | {"macaroon", "macaroon_hex"}
)
_SECRET_TEXT = re.compile(
    r"""(?ix)
    nostr\+?walletconnect:\S+
    | ln(?:bcrt|bc|tbs|tb)[0-9][0-9a-z]{20,}
    | nsec1[0-9a-z]{20,}
    | bearer\s+\S+
    | /ws/[^\s/]{16,}  # LNbits has a wallet's key in the address of its websocket
    | (?:secret|preimage|token|authorization|macaroon|(?:api|admin|invoice)[-_]?key)
      [\\"'=:\s]+(?:b["'])?[^\s"']{16,}
    """
)


def configure(level: str) -> None:
    """Readable lines on a terminal, one JSON object a line elsewhere.

    Libraries that use `logging` are heard from warnings on, through the same wall.
    """
    threshold = logging.getLevelNamesMapping()[level.upper()]
    renderer: Processor = structlog.processors.JSONRenderer()
    if sys.stderr.isatty():
        renderer = structlog.dev.ConsoleRenderer()
    named: list[Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    ending: list[Processor] = [structlog.processors.format_exc_info, redact, renderer]
    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, *named, *ending],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *named],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *ending],
        )
    )
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)


def redact(
    _logger: object, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """The last wall: nothing should log a secret, and if it does it is not seen."""
    return _without_secrets(event)


def _without_secrets(fields: Mapping[Any, object]) -> dict[str, Any]:
    return {
        _clean(str(name)): REDACTED if str(name).lower() in _SECRET_FIELDS else _clean(value)
        for name, value in fields.items()
    }


def _clean(value: object) -> Any:
    match value:
        case None | bool() | int() | float():
            return value
        case str():
            return _SECRET_TEXT.sub(REDACTED, value)
        case Mapping():
            return _without_secrets(value)
        case list() | tuple() | set() | frozenset():
            return [_clean(item) for item in value]
    return _SECRET_TEXT.sub(REDACTED, repr(value))
