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


def _base_url(text: str) -> str:
    parts = urlsplit(text.strip())
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must be https://HOST:PORT of CLNRest")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("must hold no user name, password, query or fragment")
    if parts.scheme == "http" and not _is_loopback(parts.hostname):
        raise ValueError("must be https: over http anybody on the way reads the rune")
    return parts.geturl().rstrip("/")


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _rune(secret: SecretStr) -> SecretStr:
    text = secret.get_secret_value().strip()
    if not text or not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError("must be a rune as createrune gives it")
    return SecretStr(text)


class Options(BaseModel):
    """Errors must never show an input: one of them is a credential."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    socket: Path | None = None  # CLN's lightning-rpc
    url: Annotated[str, AfterValidator(_base_url)] | None = None  # of CLNRest
    tls_cert: Path | None = None  # CLNRest's ca.pem: trusted, and nothing else
    rune: Annotated[SecretStr, AfterValidator(_rune)] | None = None
    rune_path: Path | None = None
    allow_broad_rune: bool = False
    private_hints: bool | None = None  # invoices name private channels; None: as CLN decides
    timeout_s: float = Field(default=15.0, ge=1, le=120)  # of every call but pay
    fetch_timeout_s: int = Field(default=30, ge=1, le=120)  # for the payee of an offer
    poll_s: float = Field(default=1.0, ge=0.05, le=60)  # between looks at open hold invoices
    wait_s: int = Field(default=30, ge=1, le=600)  # of each wait for a paid invoice

    @model_validator(mode="after")
    def _one_way(self) -> "Options":
        if (self.socket is None) == (self.url is None):
            raise ValueError("give either socket or url")
        if self.url is None:
            if self.rune or self.rune_path or self.tls_cert or self.allow_broad_rune:
                raise ValueError("rune, tls_cert and allow_broad_rune go with url only")
        elif (self.rune is None) == (self.rune_path is None):
            raise ValueError("give either rune or rune_path with url")
        return self


def parse(name: str, options: Mapping[str, object]) -> Options:
    """Raises ValueError with a line for each wrong key."""
    try:
        return Options.model_validate(dict(options))
    except ValidationError as wrong:
        lines = [
            _line(error["type"], error["loc"], message=error["msg"]) for error in wrong.errors()
        ]
        raise ValueError(f"backend {name!r} (cln): {'; '.join(lines)}") from None


def _line(kind: str, location: tuple[int | str, ...], *, message: str) -> str:
    key = str(location[0]) if location else "options"
    if kind == "missing":
        return f"{key} is missing"
    if kind == "extra_forbidden":
        return f"{key} is unknown; known are {', '.join(Options.model_fields)}"
    return f"{key}: {message.removeprefix('Value error, ')}"
