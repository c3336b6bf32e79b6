"""The query of a URI (RFC 3986): parameters in order, percent-decoded strictly."""

import re
from urllib.parse import unquote_to_bytes

_is_percent_encoded = re.compile(r"(?:[^%]|%[0-9A-Fa-f]{2})*").fullmatch
# RFC 3986, query: pchar / "/" / "?"; and the brackets of IPv6, which browsers do not encode.
_is_query = re.compile(r"[A-Za-z0-9._~!$&'()*+,;=:@/?%\[\]-]*").fullmatch


class InvalidQuery(ValueError):
    """Not the query of a URI. The message is safe to show."""


def parameters(query: str) -> dict[str, list[str]]:
    """Values by key, each split at the first `=` and decoded; keys in their order.

    A `+` is a plus, as RFC 3986 has it, and no space. Raises InvalidQuery.
    """
    if not _is_query(query):
        raise InvalidQuery("the query has a character that a URI does not have")
    found: dict[str, list[str]] = {}
    for part in query.split("&"):
        key, _, value = part.partition("=")
        if part:
            found.setdefault(decoded(key), []).append(decoded(value))
    return found


def decoded(text: str) -> str:
    """Raises InvalidQuery unless every % begins an octet, and all of them are UTF-8."""
    if "%" not in text:
        return text
    if not _is_percent_encoded(text):
        raise InvalidQuery("a % is not followed by two hex digits")
    try:
        return unquote_to_bytes(text).decode()
    except UnicodeDecodeError:
        raise InvalidQuery("a percent-encoded text is not UTF-8") from None
