"""What the operator configures, and how a wrong key is named."""

from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)

HOLD_EXPIRY_DELTA = 12  # blocks; LND's own default


def _base_url(text: str) -> str:
    parts = urlsplit(text.strip())
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must be https://HOST:PORT of LND's REST listener")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("must hold no user name, password, query or fragment")
    if parts.scheme == "http" and not _is_loopback(parts.hostname):
        raise ValueError("must be https: over http anybody on the way reads the macaroon")
    return parts.geturl().rstrip("/")


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _hex(secret: SecretStr) -> SecretStr:
    text = secret.get_secret_value().strip()
    try:
        is_hex = len(bytes.fromhex(text)) > 0
    except ValueError:
        is_hex = False
    if not is_hex:
        raise ValueError("must be a macaroon as hex digits")
    return SecretStr(text)


class Options(BaseModel):
    """Errors must never show an input: one of them is a credential."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    url: Annotated[str, AfterValidator(_base_url)]
    tls_cert: Path | None = None  # LND's tls.cert: trusted, and nothing else
    macaroon_path: Path | None = None
    macaroon_hex: Annotated[SecretStr, AfterValidator(_hex)] | None = None
    allow_broad_macaroon: bool = False
    private_hints: bool = False  # invoices name private channels
    hold_expiry_delta: int = Field(
        default=HOLD_EXPIRY_DELTA, ge=1, le=1000
    )  # as invoices.holdexpirydelta in lnd.conf
    timeout_s: float = Field(default=15.0, ge=1, le=120)  # of every call but pay
    poll_s: float = Field(default=1.0, ge=0.05, le=60)  # between looks at open hold invoices
    idle_s: float = Field(default=60.0, ge=1, le=3600)  # of a stream that may be dead

    @model_validator(mode="after")
    def _one_macaroon(self) -> "Options":
        if (self.macaroon_path is None) == (self.macaroon_hex is None):
            raise ValueError("give either macaroon_path or macaroon_hex")
        return self


def parse(name: str, options: Mapping[str, object]) -> Options:
    """Raises ValueError with a line for each wrong key."""
    try:
        return Options.model_validate(dict(options))
    except ValidationError as wrong:
        lines = [
            _line(error["type"], error["loc"], message=error["msg"]) for error in wrong.errors()
        ]
        raise ValueError(f"backend {name!r} (lnd): {'; '.join(lines)}") from None


def _line(kind: str, location: tuple[int | str, ...], *, message: str) -> str:
    key = str(location[0]) if location else "options"
    if kind == "missing":
        return f"{key} is missing"
    if kind == "extra_forbidden":
        return f"{key} is unknown; known are {', '.join(Options.model_fields)}"
    return f"{key}: {message.removeprefix('Value error, ')}"
