"""Where the service may be led by a URL that a user named: nowhere but to public addresses.

A host is resolved once and the connection made to an address that was looked at, so that a
name which changes its mind between the look and the connection (DNS rebinding) gains nothing.
"""

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

import httpx

__all__ = ["ForbiddenAddress", "Outbound", "Resolve", "fetch", "is_public"]

PORTS = {"ws": 80, "http": 80, "wss": 443, "https": 443}
RESOLVE_TIMEOUT_S = 5.0

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolve = Callable[[str, int], Awaitable[list[str]]]
"""The addresses of a host, for a port. Raises OSError."""

# `is_global` says yes to some of these, and which ones depends on the version of Python.
_FORBIDDEN = tuple(
    ipaddress.ip_network(network)
    for network in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",  # carrier-grade NAT
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/3",  # multicast, reserved, broadcast
        "::/96",  # unspecified, loopback, IPv4-compatible
        "::ffff:0:0/96",  # IPv4-mapped
        "::ffff:0:0:0/96",  # IPv4-translated
        "64:ff9b::/96",  # NAT64
        "64:ff9b:1::/48",  # NAT64 of a network's own
        "100::/64",
        "2001::/23",  # Teredo and other protocols
        "2001:db8::/32",
        "2002::/16",  # 6to4
        "3fff::/20",
        "5f00::/16",
        "fc00::/7",  # unique local
        "fe80::/10",  # link local
        "fec0::/10",  # site local
        "ff00::/8",
    )
)


class ForbiddenAddress(OSError):
    """The host has an address that no user may lead the service to."""


def is_public(address: str) -> bool:
    """Whether this is an address of the public internet, and of nothing else."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.scope_id is not None:
        return False
    return parsed.is_global and not any(parsed in network for network in _FORBIDDEN)


async def _resolve(host: str, port: int) -> list[str]:
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(RESOLVE_TIMEOUT_S):
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in found]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outbound:
    """`allowed_hosts` are the operator's exemptions, each HOST or HOST:PORT."""

    allowed_hosts: frozenset[str] = frozenset()
    resolve: Resolve = _resolve

    async def addresses(self, url: str) -> tuple[str, ...]:
        """Every address of the URL's host, none of them forbidden; connect to one of these.

        Raises ForbiddenAddress, another OSError when the host has no address, and ValueError
        when this is no URL.
        """
        parts = urlsplit(url)
        host, port = _host(parts), _port(parts)
        found = tuple(dict.fromkeys(await self.resolve(host, port)))
        if not found:
            raise OSError("the host has no address")
        if not self._allows(host, port) and not all(map(is_public, found)):
            raise ForbiddenAddress("the host is not on the public internet")
        return found

    def _allows(self, host: str, port: int) -> bool:
        name = f"[{host}]" if ":" in host else host
        return not self.allowed_hosts.isdisjoint((name, f"{name}:{port}"))


async def fetch(
    url: str,
    *,
    address: str | None,
    headers: Mapping[str, str],
    timeout_s: float,
    max_bytes: int,
) -> bytes:
    """GET from `address`, under the URL's own name in Host, SNI and certificate; or, with no
    address given, from wherever the operator's URL leads. No redirects.

    Raises OSError and ValueError.
    """
    parts = urlsplit(url)
    client = httpx.AsyncClient(trust_env=address is None, follow_redirects=False)
    try:
        async with (
            asyncio.timeout(timeout_s),
            client,
            client.stream(
                "GET",
                url if address is None else _at(parts, address),
                headers={**headers, "Host": parts.netloc.rpartition("@")[2]},
                extensions={"sni_hostname": _host(parts)},
            ) as response,
        ):
            if response.status_code != httpx.codes.OK:
                raise ValueError(f"the answer is {response.status_code}")
            return await _body(response, max_bytes=max_bytes)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise OSError(type(error).__name__) from error


async def _body(response: httpx.Response, *, max_bytes: int) -> bytes:
    body = b""
    async for part in response.aiter_bytes():
        body += part
        if len(body) > max_bytes:
            raise ValueError("the answer is too long")
    return body


def _at(parts: SplitResult, address: str) -> str:
    host = f"[{address}]" if ":" in address else address
    return parts._replace(netloc=f"{host}:{_port(parts)}", fragment="").geturl()


def _host(parts: SplitResult) -> str:
    if parts.scheme not in PORTS or not parts.hostname:
        raise ValueError("not a URL with a host")
    return parts.hostname


def _port(parts: SplitResult) -> int:
    return parts.port or PORTS[parts.scheme]
