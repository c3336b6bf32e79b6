"""What the operator configures, and how a wrong key is named."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
)

from backends import _options as shared
from backends._options import BackendOptions, base_url
from backends.lnbits.fee_cap import FeeCap

FEE_CAP_IS_MISSING = (
    "fee_cap is missing: LNbits obeys no fee limit, so the operator declares LNbits' own cap;"
    " without it the service refuses to start. It is the largest of lnbits_reserve_fee_min"
    " (msat) and lnbits_reserve_fee_percent (%), with lnbits_service_fee (%) added to both"
    ' where lnbits_service_fee_wallet is set: "2000, 1%" for a new LNbits'
)


def _base_url(text: str) -> str:
    return base_url(text, wanted="http://HOST or https://HOST, with a port where needed")


def _key(secret: SecretStr) -> SecretStr:
    text = secret.get_secret_value().strip()
    if not text.isascii() or not text.isalnum():
        raise ValueError("must be a wallet's key as LNbits shows it: letters and digits only")
    return SecretStr(text)


Key = Annotated[SecretStr, AfterValidator(_key)]


class Options(BackendOptions):
    """Errors must never show an input: two of them are keys."""

    url: Annotated[str, AfterValidator(_base_url)]
    admin_key: Key
    invoice_key: Key
    fee_cap: Annotated[FeeCap, BeforeValidator(FeeCap.parse)]
    timeout_s: float = Field(default=15.0, ge=1, le=120)  # of every call but pay
    poll_s: float = Field(default=30.0, ge=0.1, le=3600)  # between looks at what was settled


def parse(name: str, options: Mapping[str, object]) -> Options:
    """Raises ValueError with a line for each wrong key."""
    return shared.parse(
        Options,
        options,
        backend=f"{name!r} (lnbits)",
        if_missing={"fee_cap": FEE_CAP_IS_MISSING},
    )
