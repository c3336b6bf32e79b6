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
    {"secret", "preimage", "own_preimage", "invoice", "bolt11", "token", "uri", "params"}
    | {"admin_key", "invoice_key", "api_key", "master_key", "macaroon", "macaroon_hex", "rune"}
    | {"password", "passphrase", "authorization", "cookie", "plaintext", "payload"}
)
_SECRET_TEXT = re.compile(
    r"""(?x)
    (?i:
    nostr\+?walletconnect:\S+
    | ln(?:bcrt|bc|tbs|tb)[0-9][0-9a-z]{20,}
    | ln(?:url|i)1[0-9a-z]{20,}  # what may be drawn upon, and BOLT12's invoices
    | nsec1[0-9a-z]{20,}
    | (?:bearer|basic)\s+[^\s"']{8,}
    | /ws/[^\s/]{16,}  # LNbits has a wallet's key in the address of its websocket
    | (?<=://)[^\s/@:]*:[^\s/@]+(?=@)  # user and password
    | (?:secret|preimage|token|authorization|macaroon|rune|(?:api|admin|invoice|master)[-_]?key)
      [\\"'=:\s]+(?:b["'])?[^\s"']{16,}
    | pass(?:word|phrase|wd)[\w-]*[\\"']*\s*[=:][\\"'\s]*[^\s"',&}]+
    | input_value=[\s\S]{0,200}?(?=,[ ]input_type=)  # pydantic shows what it cannot read
    | (?<![0-9a-f])[0-9a-f]{67,}  # longer than any key, id or hash: a macaroon
    )
    # Runes, tokens and keys in base64: as long as no name, in upper and lower case and digits.
    | (?<![\w+=-])(?=[\w+=-]*[A-Z])(?=[\w+=-]*[a-z])(?=[\w+=-]*[0-9])[\w+=-]{40,}
    """
)

# Most of what is logged: a word, an id, a hash, a time. No secret that is known looks like it.
_is_plain = re.compile(r"[\w.-]{0,20}|[0-9a-f]{20,66}|[0-9T:.Z-]{20,30}", re.ASCII).fullmatch


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
            foreign_pre_chain=[
                structlog.contextvars.merge_contextvars,
                structlog.stdlib.add_logger_name,
                *named,
            ],
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
            return value if _is_plain(value) else _SECRET_TEXT.sub(REDACTED, value)
        case Mapping():
            return _without_secrets(value)
        case list() | tuple() | set() | frozenset():
            return [_clean(item) for item in value]
    return _SECRET_TEXT.sub(REDACTED, repr(value))
