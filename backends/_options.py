"""What the operator configures for a backend: how it is read, and how a wrong key is named."""

from collections.abc import Mapping
from ipaddress import ip_address
from typing import TypeVar
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, ValidationError


class BackendOptions(BaseModel):
    """Errors must never show an input: one of them is a credential."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


AnyOptions = TypeVar("AnyOptions", bound=BackendOptions)

NOTHING_SPECIAL: Mapping[str, str] = {}


def parse(
    kind: type[AnyOptions],
    options: Mapping[str, object],
    *,
    backend: str,
    if_missing: Mapping[str, str] = NOTHING_SPECIAL,
) -> AnyOptions:
    """`backend` is its name and type, as an error tells them; `if_missing` has by key what is
    said of one that is missing. Raises ValueError with a line for each wrong key."""

    def line(error_type: str, location: tuple[int | str, ...], *, message: str) -> str:
        key = str(location[0]) if location else "options"
        if error_type == "missing":
            return if_missing.get(key, f"{key} is missing")
        if error_type == "extra_forbidden":
            return f"{key} is unknown; known are {', '.join(kind.model_fields)}"
        return f"{key}: {message.removeprefix('Value error, ')}"

    try:
        return kind.model_validate(dict(options))
    except ValidationError as wrong:
        lines = [
            line(error["type"], error["loc"], message=error["msg"]) for error in wrong.errors()
        ]
        raise ValueError(f"backend {backend}: {'; '.join(lines)}") from None


def base_url(text: str, *, wanted: str) -> str:
    """Raises ValueError, which says what is `wanted`."""
    parts = urlsplit(text.strip())
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"must be {wanted}")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("must hold no user name, password, query or fragment")
    return parts.geturl().rstrip("/")


def secret_url(text: str, *, wanted: str, carries: str) -> str:
    """As `base_url`, and over http to this machine only, for what it `carries`. Raises
    ValueError."""
    url = base_url(text, wanted=wanted)
    parts = urlsplit(url)
    if parts.scheme == "http" and not _is_loopback(parts.hostname or ""):
        raise ValueError(f"must be https: over http anybody on the way reads the {carries}")
    return url


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
