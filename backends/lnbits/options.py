"""What the operator configures, and how a wrong key is named."""

from collections.abc import Mapping
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
)

from backends.lnbits.fee_cap import FeeCap

FEE_CAP_IS_MISSING = (
    "fee_cap is missing: LNbits obeys no fee limit, so the operator declares LNbits' own cap;"
    " without it the service refuses to start. It is the largest of lnbits_reserve_fee_min"
    " (msat) and lnbits_reserve_fee_percent (%), with lnbits_service_fee (%) added to both"
    ' where lnbits_service_fee_wallet is set: "2000, 1%" for a new LNbits'
)


def _base_url(text: str) -> str:
    parts = urlsplit(text.strip())
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must be http://HOST or https://HOST, with a port where needed")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("must hold no user name, password, query or fragment")
    return parts.geturl().rstrip("/")


def _key(secret: SecretStr) -> SecretStr:
    text = secret.get_secret_value().strip()
    if not text.isascii() or not text.isalnum():
        raise ValueError("must be a wallet's key as LNbits shows it: letters and digits only")
    return SecretStr(text)


Key = Annotated[SecretStr, AfterValidator(_key)]


class Options(BaseModel):
    """Errors must never show an input: two of them are keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    url: Annotated[str, AfterValidator(_base_url)]
    admin_key: Key
    invoice_key: Key
    fee_cap: Annotated[FeeCap, BeforeValidator(FeeCap.parse)]
    timeout_s: float = Field(default=15.0, ge=1, le=120)  # of every call but pay
    poll_s: float = Field(default=30.0, ge=0.1, le=3600)  # between looks at what was settled


def parse(name: str, options: Mapping[str, object]) -> Options:
    """Raises ValueError with a line for each wrong key."""
    try:
        return Options.model_validate(dict(options))
    except ValidationError as wrong:
        lines = [
            _line(error["type"], error["loc"], message=error["msg"]) for error in wrong.errors()
        ]
        raise ValueError(f"backend {name!r} (lnbits): {'; '.join(lines)}") from None


def _line(kind: str, location: tuple[int | str, ...], *, message: str) -> str:
    key = str(location[0]) if location else "options"
    if kind == "missing":
        return FEE_CAP_IS_MISSING if key == "fee_cap" else f"{key} is missing"
    if kind == "extra_forbidden":
        return f"{key} is unknown; known are {', '.join(Options.model_fields)}"
    return f"{key}: {message.removeprefix('Value error, ')}"
