"""The files that open LND: its certificate, and a macaroon that allows what is needed."""

import ssl
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
from cryptography import x509

from backends.lnd import rights
from backends.lnd.options import Options
from nwc_service.backend import Finding

RENEW = "restart LND, which then makes a new one, and copy its tls.cert again"


class Wrong(Exception):
    """What is wrong with a file, and how it is mended."""

    def __init__(self, problem: str, *, remedy: str) -> None:
        super().__init__(problem)
        self.problem = problem
        self.remedy = remedy


def trust(options: Options) -> ssl.SSLContext:
    """LND's own certificate and no other; without it, the authorities of the system. Raises
    Wrong."""
    path = options.tls_cert
    if path is None:
        return httpx.create_ssl_context()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(path.expanduser())
    except (OSError, ssl.SSLError) as wrong:
        raise _unreadable_certificate(wrong) from None
    return context


def macaroon(options: Options) -> bytes:
    """Raises Wrong."""
    secret, path = options.macaroon_hex, options.macaroon_path
    if path is None:
        return bytes.fromhex(secret.get_secret_value() if secret else "")
    try:
        return path.expanduser().read_bytes()
    except OSError as wrong:
        problem = f"macaroon_path cannot be read ({type(wrong).__name__})"
        raise Wrong(problem, remedy=rights.BAKE) from None


def check_rights(content: bytes, *, may_be_broad: bool) -> None:
    """Raises Wrong."""
    try:
        granted = rights.operations(content)
    except ValueError as wrong:
        problem = f"the macaroon cannot be read: {wrong}"
        raise Wrong(problem, remedy=rights.BAKE) from None
    if missing := rights.missing(granted):
        raise Wrong(f"the macaroon does not allow {', '.join(missing)}", remedy=rights.BAKE)
    excess = rights.excess(granted)
    if excess and not may_be_broad:
        raise Wrong(
            f"the macaroon allows more than is needed: {', '.join(excess)}",
            remedy=f"{rights.BAKE}, or set allow_broad_macaroon = true",
        )


# --- what a check tells of them


def findings(options: Options, *, now: datetime) -> Iterator[Finding]:
    if options.url.startswith("https:"):
        yield _found("certificate", lambda: _certificate(options.tls_cert, now=now))
    yield _found("macaroon", lambda: _rights(options))


def _found(subject: str, tell: Callable[[], str]) -> Finding:
    try:
        return Finding(subject, tell())
    except Wrong as wrong:
        return Finding(subject, wrong.problem, wrong.remedy)


def _certificate(path: Path | None, *, now: datetime) -> str:
    """Raises Wrong."""
    if path is None:
        return "one that an authority of this system vouches for"
    try:
        certificate = x509.load_pem_x509_certificate(path.expanduser().read_bytes())
    except (OSError, ValueError) as wrong:
        raise _unreadable_certificate(wrong) from None
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if end <= now:
        raise Wrong(f"tls_cert expired on {end:%Y-%m-%d}", remedy=RENEW)
    if begin > now:
        remedy = "set the clocks of this machine and of LND's from the network (NTP)"
        raise Wrong(f"tls_cert begins only at {begin:%Y-%m-%dT%H:%M:%SZ}", remedy=remedy)
    return f"pinned, valid until {end:%Y-%m-%d}"


def _rights(options: Options) -> str:
    """Raises Wrong."""
    content = macaroon(options)
    check_rights(content, may_be_broad=options.allow_broad_macaroon)
    if excess := rights.excess(rights.operations(content)):
        return f"more than is needed, as allow_broad_macaroon says: {', '.join(excess)}"
    return f"it allows the {len(rights.NEEDED)} calls that are needed, and no more"


def _unreadable_certificate(wrong: Exception) -> Wrong:
    return Wrong(
        f"tls_cert cannot be read ({type(wrong).__name__})",
        remedy="name LND's tls.cert, readable for this service",
    )


def now_utc() -> datetime:
    return datetime.now(UTC)
