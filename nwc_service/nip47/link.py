"""What the URIs of NIP-47 have in common: scheme, body, parameters, and their plain types."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from nwc_service.wallet.uri_query import InvalidQuery, parameters

MAX_LINK_CHARACTERS = 8192
MAX_RELAYS = 8
MAX_TEXT_CHARACTERS = 1024

_LINK = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]*):(?://)?(?P<body>[^?#/]*)/?(?:\?(?P<query>.*))?"
)
_is_whole_number = re.compile(r"[1-9][0-9]{0,18}").fullmatch
_is_scheme = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*").fullmatch
# What a browser opens as a script, as a file, or as a page made of the link itself.
_NEVER_OPENED = frozenset({"javascript", "data", "file", "vbscript", "blob", "about"})


class InvalidLink(ValueError):
    """Not a URI of this kind. The message names the field, never its value, a secret maybe."""


@dataclass(frozen=True, slots=True)
class Link:
    """A URI in its parts. `scheme` is in lower case."""

    scheme: str
    body: str
    parameters: Mapping[str, list[str]]

    def all(self, key: str) -> list[str]:
        return self.parameters.get(key, [])

    def one(self, key: str) -> str | None:
        """None where it is missing or empty. Raises InvalidLink where it stands there twice."""
        values = self.all(key)
        if len(values) > 1:
            raise InvalidLink(f"{key} stands there twice")
        return (values[0] or None) if values else None

    def text(self, key: str) -> str | None:
        """Printable, since people will read it."""
        value = self.one(key)
        if value is not None and (len(value) > MAX_TEXT_CHARACTERS or not value.isprintable()):
            raise InvalidLink(f"{key} is not 1 to {MAX_TEXT_CHARACTERS} printable characters")
        return value

    def words(self, key: str) -> tuple[str, ...]:
        """A list with spaces between, each word once. A plus is one of them: applesauce writes
        its links as forms are written."""
        return tuple(dict.fromkeys((self.one(key) or "").replace("+", " ").split()))

    def number(self, key: str, *, maximum: int) -> int | None:
        value = self.one(key)
        if value is None:
            return None
        if not _is_whole_number(value) or int(value) > maximum:
            raise InvalidLink(f"{key} is not a whole number from 1 to {maximum}")
        return int(value)

    def flag(self, key: str) -> bool:
        value = self.one(key)
        if value not in (None, "true", "false"):
            raise InvalidLink(f"{key} is neither true nor false")
        return value == "true"

    def web_url(self, key: str) -> str | None:
        """For show: anything but an http:// or https:// URL is left out."""
        value = self.one(key)
        parts = None if value is None else _split(value)
        return value if parts is not None and parts.scheme in ("http", "https") else None

    def opened_url(self, key: str) -> str | None:
        """A URI that an app will open: of a page or of another app, such as `myapp:paired`."""
        value = self.one(key)
        if value is None:
            return None
        scheme, colon, _ = value.partition(":")
        if not colon or not _is_scheme(scheme) or not _is_plain(value):
            raise InvalidLink(f"{key} is not a URI")
        if scheme.lower() in _NEVER_OPENED:
            raise InvalidLink(f"{key} has a scheme that is not opened")
        return value


def parse_link(text: str) -> Link:
    """`//` and a slash before the query may be there or not. Raises InvalidLink."""
    if len(text) > MAX_LINK_CHARACTERS:
        raise InvalidLink(f"the URI is longer than {MAX_LINK_CHARACTERS} characters")
    scheme, _, rest = text.partition(":")
    match = _LINK.fullmatch(f"{scheme.lower()}:{rest}")
    if match is None:
        raise InvalidLink("this is no URI of scheme, body and parameters")
    try:
        return Link(match["scheme"], match["body"], parameters(match["query"] or ""))
    except InvalidQuery as error:
        raise InvalidLink(str(error)) from None


def relay_urls(values: list[str]) -> tuple[str, ...]:
    """1 to 8 ws:// or wss:// URLs, each once, without a slash at the end. Raises InvalidLink.

    Whether one may be dialled is decided where it is dialled.
    """
    relays = tuple(dict.fromkeys(value.rstrip("/") for value in values if value))
    if not 1 <= len(relays) <= MAX_RELAYS:
        raise InvalidLink(f"relay is not there 1 to {MAX_RELAYS} times")
    if not all(_is_web_socket(relay) for relay in relays):
        raise InvalidLink("relay is not a ws:// or wss:// URL")
    return relays


def _is_web_socket(url: str) -> bool:
    parts = _split(url)
    return parts is not None and parts.scheme in ("ws", "wss")


def _split(url: str) -> SplitResult | None:
    """None unless it has a host, and a port in range where there is one."""
    if not _is_plain(url):
        return None
    try:
        parts = urlsplit(url)
        in_order = bool(parts.hostname) and parts.port != 0
    except ValueError:
        return None
    return parts if in_order else None


def _is_plain(url: str) -> bool:
    printable = url.isascii() and url.isprintable() and " " not in url
    return printable and len(url) <= MAX_TEXT_CHARACTERS
