"""Deep links that ask a wallet app for a connection URI (NWC-07).

`nostrnwc://connect` and `nostrnwc+<app name>://connect`; the URI goes back in the callback.
"""

import re
from dataclasses import dataclass
from urllib.parse import quote

from nwc_service.nip47.link import InvalidLink, parse_link

_SCHEME = re.compile(r"nostrnwc(?:\+(?P<wallet>[a-z0-9.-]{1,64}))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class DeepLink:
    """`appname` and `appicon` are the client's own words, and proven by nothing."""

    wallet: str | None
    appname: str | None
    appicon: str | None
    callback: str

    def answer(self, connection_uri: str) -> str:
        """What to open: the callback "with the following parameters: `value`"."""
        separator = "&" if "?" in self.callback else "?"
        return f"{self.callback}{separator}value={quote(connection_uri, safe='')}"


def parse(text: str) -> DeepLink:
    """Raises InvalidLink."""
    link = parse_link(text)
    scheme = _SCHEME.fullmatch(link.scheme)
    if scheme is None or link.body != "connect":
        raise InvalidLink("this is not nostrnwc://connect")
    callback = link.opened_url("callback")
    if callback is None or "#" in callback:
        raise InvalidLink("callback is missing, or has a fragment")
    return DeepLink(
        wallet=scheme["wallet"],
        appname=link.text("appname"),
        appicon=link.web_url("appicon"),
        callback=callback,
    )
