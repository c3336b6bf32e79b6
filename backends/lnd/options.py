"""What the operator configures, and how a wrong key is named."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import (
    AfterValidator,
    Field,
    SecretStr,
    model_validator,
)

from backends import _options as shared
from backends._options import BackendOptions, secret_url

HOLD_EXPIRY_DELTA = 12  # blocks; LND's own default


def _base_url(text: str) -> str:
    return secret_url(
        text, wanted="https://HOST:PORT of LND's REST listener", carries="macaroon"
    )


def _hex(secret: SecretStr) -> SecretStr:
    text = secret.get_secret_value().strip()
    try:
        is_hex = len(bytes.fromhex(text)) > 0
    except ValueError:
        is_hex = False
    if not is_hex:
        raise ValueError("must be a macaroon as hex digits")
    return SecretStr(text)


class Options(BackendOptions):
    """Errors must never show an input: one of them is a credential."""

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
    return shared.parse(Options, options, backend=f"{name!r} (lnd)")
