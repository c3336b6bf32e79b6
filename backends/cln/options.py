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


def _base_url(text: str) -> str:
    return secret_url(text, wanted="https://HOST:PORT of CLNRest", carries="rune")


def _rune(secret: SecretStr) -> SecretStr:
    text = secret.get_secret_value().strip()
    if not text or not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError("must be a rune as createrune gives it")
    return SecretStr(text)


class Options(BackendOptions):
    """Errors must never show an input: one of them is a credential."""

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
    return shared.parse(Options, options, backend=f"{name!r} (cln)")
