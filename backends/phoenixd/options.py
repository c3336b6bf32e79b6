"""What the operator configures, and how a wrong key is named."""

from collections.abc import Mapping
from ipaddress import ip_address
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
)

from nwc_service.wallet.units import Msat

MILLIONTHS = 1_000_000


def _base_url(text: str) -> str:
    parts = urlsplit(text.strip())
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must be http://127.0.0.1:PORT or https://HOST")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("must hold no user name, password, query or fragment")
    if parts.scheme == "http" and not _is_loopback(parts.hostname):
        raise ValueError("must be https: over http anybody on the way reads the password")
    return parts.geturl().rstrip("/")


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _password(secret: SecretStr) -> SecretStr:
    text = secret.get_secret_value().strip()
    if not text or not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError("must be http-password, or that of limited access, of phoenix.conf")
    return SecretStr(text)


class Options(BaseModel):
    """Errors must never show an input: one of them is a credential."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    url: Annotated[str, AfterValidator(_base_url)]
    password: Annotated[SecretStr, AfterValidator(_password)]  # a limited one cannot pay
    # What ACINQ takes for each payment: 4 sat and 0.4%, as its price list says.
    fee_base_msat: int = Field(default=4_000, ge=0, le=1_000_000_000)
    fee_millionths: int = Field(default=4_000, ge=0, le=MILLIONTHS)
    accept_fee_credit: bool = False  # what phoenixd keeps for fees is credited all the same
    timeout_s: float = Field(default=15.0, ge=1, le=120)  # of every call but pay
    poll_s: float = Field(default=30.0, ge=0.1, le=3600)  # between looks at what was paid

    def fee_cap_msat(self, amount_msat: int) -> Msat:
        """Rounded up."""
        return Msat(self.fee_base_msat - (-amount_msat * self.fee_millionths // MILLIONTHS))


def parse(name: str, options: Mapping[str, object]) -> Options:
    """Raises ValueError with a line for each wrong key."""
    try:
        return Options.model_validate(dict(options))
    except ValidationError as wrong:
        lines = [
            _line(error["type"], error["loc"], message=error["msg"]) for error in wrong.errors()
        ]
        raise ValueError(f"backend {name!r} (phoenixd): {'; '.join(lines)}") from None


def _line(kind: str, location: tuple[int | str, ...], *, message: str) -> str:
    key = str(location[0]) if location else "options"
    if kind == "missing":
        return f"{key} is missing"
    if kind == "extra_forbidden":
        return f"{key} is unknown; known are {', '.join(Options.model_fields)}"
    return f"{key}: {message.removeprefix('Value error, ')}"
