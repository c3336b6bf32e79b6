"""What the operator configures, and how a wrong key is named."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import (
    AfterValidator,
    Field,
    SecretStr,
)

from backends import _options as shared
from backends._options import BackendOptions, secret_url
from nwc_service.wallet.units import Msat

MILLIONTHS = 1_000_000


def _base_url(text: str) -> str:
    return secret_url(text, wanted="http://127.0.0.1:PORT or https://HOST", carries="password")


def _password(secret: SecretStr) -> SecretStr:
    text = secret.get_secret_value().strip()
    if not text or not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError("must be http-password, or that of limited access, of phoenix.conf")
    return SecretStr(text)


class Options(BackendOptions):
    """Errors must never show an input: one of them is a credential."""

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
    return shared.parse(Options, options, backend=f"{name!r} (phoenixd)")
