"""What is wrong with the settings though each of them is in order by itself."""

from collections.abc import Iterator
from ipaddress import ip_address
from urllib.parse import urlsplit

from nwc_service.backend import Finding
from nwc_service.config import Settings

_WILDCARD = ("0.0.0.0", "[::]")  # noqa: S104 (compared with, not listened on)


def look(chosen: Settings) -> Iterator[Finding]:
    yield from _public_url(chosen)
    yield from _admin(chosen)
    yield from _solvency(chosen)


def _public_url(chosen: Settings) -> Iterator[Finding]:
    relay, subject = chosen.relay, "relay.public_url"
    for url in (*relay.urls, relay.public_url):
        if url is not None and _is_plain(url):
            yield Finding(
                subject,
                f"{_shown(url)} is not encrypted: apps in a browser refuse it",
                "put a proxy with a certificate before it, and name it wss://",
            )
    if relay.urls or relay.public_url:
        return
    listen = chosen.embedded_relay.listen
    if _host(listen) in _WILDCARD:
        yield Finding(
            subject,
            f"missing, and the relay listens on {listen}: connection URIs name 127.0.0.1",
            "set [relay] public_url to the address by which apps reach this machine",
        )
    elif _is_loopback(_host(listen)):
        yield Finding(subject, "none: only apps on this machine can connect")


def _admin(chosen: Settings) -> Iterator[Finding]:
    listen = chosen.admin.listen
    if not _is_loopback(_host(listen)):
        yield Finding(
            "admin.listen",
            f"{listen} can be reached from other machines, without TLS: whoever reads the token"
            " on the way can move money. Keep it behind a firewall or a proxy with TLS",
        )


def _solvency(chosen: Settings) -> Iterator[Finding]:
    if chosen.solvency.required_percent == 0:
        yield Finding(
            "solvency.required_percent",
            "0: payments leave though the backends may not cover what is owed",
            "set it to 100, or a little less for the reserve of channels",
        )


def _is_plain(url: str) -> bool:
    parts = urlsplit(url)
    host = parts.hostname or ""
    is_near = _is_loopback(host) or "." not in host or host.endswith((".onion", ".local"))
    return parts.scheme == "ws" and not is_near and not _is_private(host)


def _shown(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname}"


def _host(listen: str) -> str:
    return listen.rpartition(":")[0]


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def _is_private(host: str) -> bool:
    try:
        return ip_address(host).is_private
    except ValueError:
        return False
