"""Settings: a TOML file, then `NWC_…` environment variables on top; unknown keys refused.

`docs/sample-config.toml` documents each key; a test proves that it and this file agree.
"""

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from nwc_service.wallet.hold import LONGEST_HOLD_S
from nwc_service.wallet.units import MAX_MSAT


class ConfigError(Exception):
    """The configuration cannot be used; the message names the key."""


LONGEST_EXPIRATION_S = 24 * 3600
"""How old a request may be, whatever its `expiration` says; so far back relays are asked for
what was missed."""


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


def _port_exists(listen: str) -> str:
    if int(listen.rpartition(":")[2]) > 65_535:
        raise ValueError("there is no such port")
    return listen


def _without_last_slash(url: str) -> str:
    """As links and connections have it: one relay is to have one name."""
    return url.rstrip("/")


def _in_lower_case(word: object) -> object:
    return word.lower() if isinstance(word, str) else word


Listen = Annotated[
    str,
    Field(pattern=r"^(\[[0-9a-fA-F:]+\]|[^\s:/]+):[0-9]{1,5}$"),
    AfterValidator(_port_exists),
]
RelayUrl = Annotated[
    str, Field(pattern=r"^wss?://[^\s/?#]+\S*$"), AfterValidator(_without_last_slash)
]
Host = Annotated[
    str,
    BeforeValidator(_in_lower_case),
    Field(pattern=r"^(\[[0-9a-f:.]+\]|[^\s:/?#@]+)(:[0-9]{1,5})?$"),
]
Domain = Annotated[
    str,
    BeforeValidator(_in_lower_case),
    Field(max_length=253, pattern=r"^[a-z0-9-]+(\.[a-z0-9-]+)*(:[0-9]{1,5})?$"),
]
HttpUrl = Annotated[
    str, Field(pattern=r"^https?://[^\s/?#]+[^\s?#]*$"), AfterValidator(_without_last_slash)
]
AmountMsat = Annotated[int, Field(ge=0, le=MAX_MSAT)]
Seconds = Annotated[int, Field(ge=1, le=366 * 86_400)]
Count = Annotated[int, Field(ge=1, le=1_000_000)]
PerSecond = Annotated[float, Field(gt=0, le=1_000_000)]


class RelaySettings(_Section):
    urls: Annotated[tuple[RelayUrl, ...], Field(strict=False)] = ()
    public_url: RelayUrl | None = None
    kind_only_urls: Annotated[tuple[RelayUrl, ...], Field(strict=False)] = ()
    rate_per_s: PerSecond = 2000


class EmbeddedRelaySettings(_Section):
    listen: Listen = "127.0.0.1:0"
    require_auth: bool = False


class OutboundSettings(_Section):
    allowed_hosts: Annotated[tuple[Host, ...], Field(strict=False)] = ()


class AdminSettings(_Section):
    listen: Listen = "127.0.0.1:0"


class PublicSettings(_Section):
    listen: Listen = "127.0.0.1:0"
    domain: Domain | None = None
    base_url: HttpUrl | None = None
    trusted_proxies: Annotated[tuple[str, ...], Field(strict=False)] = ()
    min_msat: Annotated[int, Field(ge=1, le=MAX_MSAT)] = 1000
    max_msat: Annotated[int, Field(ge=1000, le=MAX_MSAT)] = 10_000_000_000
    invoice_expiry_s: Annotated[int, Field(ge=60, le=86_400)] = 600
    max_open_per_address: Count = 100
    max_open: Count = 1000
    host_rate_per_s: PerSecond = 1
    host_burst: Count = 60
    address_rate_per_s: PerSecond = 2
    address_burst: Count = 60

    @model_validator(mode="after")
    def _has_amounts(self) -> Self:
        if self.min_msat > self.max_msat:
            raise ValueError("min_msat is more than max_msat")
        return self


class DatabaseSettings(_Section):
    url: Annotated[str, Field(pattern=r"^sqlite:///.+$")] | None = None


class RequestSettings(_Section):
    max_age_s: Seconds = 300
    max_mutating_age_s: Seconds = 120
    max_future_s: Seconds = 60
    rate_per_s: PerSecond = 20
    rate_burst: Count = 100
    account_rate_per_s: PerSecond = 100
    account_rate_burst: Count = 500
    max_in_progress: Count = 200


class ResponseSettings(_Section):
    null_error_on_success: bool = True
    null_result_on_error: bool = False


class ConnectionSettings(_Section):
    max_children: Count = 100


class PaymentSettings(_Section):
    fee_reserve_floor_msat: AmountMsat = 10_000
    fee_reserve_share_ppm: Annotated[int, Field(ge=0, le=1_000_000)] = 10_000
    timeout_s: Seconds = 60
    max_open: Count = 400
    max_open_per_account: Count = 50


class InvoiceSettings(_Section):
    expiry_s: Seconds = 3600
    max_open_per_account: Count = 1000
    max_open_holds_per_account: Count = 20
    longest_hold_s: Annotated[int, Field(ge=1, le=LONGEST_HOLD_S)] = 3600


class SolvencySettings(_Section):
    required_percent: Annotated[int, Field(ge=0, le=1000)] = 100


class BackupSettings(_Section):
    directory: Annotated[Path, Field(strict=False)] | None = None
    passphrase_file: Annotated[Path, Field(strict=False)] | None = None
    every_s: Annotated[int, Field(ge=60, le=366 * 86_400)] = 86_400
    keep: Annotated[int, Field(ge=1, le=10_000)] = 14


class LogSettings(_Section):
    level: Annotated[
        Literal["debug", "info", "warning", "error"], BeforeValidator(_in_lower_case)
    ] = "info"


class BackendSettings(BaseModel):
    """`type` names an entry point; the other keys are checked by that backend."""

    model_config = ConfigDict(frozen=True, extra="allow")

    type: str

    @property
    def options(self) -> Mapping[str, object]:
        return dict(self.model_extra or {})


class Settings(_Section):
    data_dir: Path
    default_backend: str | None = None
    backends: dict[str, BackendSettings] = Field(default_factory=dict)
    relay: RelaySettings = RelaySettings()
    embedded_relay: EmbeddedRelaySettings = EmbeddedRelaySettings()
    outbound: OutboundSettings = OutboundSettings()
    admin: AdminSettings = AdminSettings()
    public: PublicSettings = PublicSettings()
    database: DatabaseSettings = DatabaseSettings()
    requests: RequestSettings = RequestSettings()
    responses: ResponseSettings = ResponseSettings()
    connections: ConnectionSettings = ConnectionSettings()
    payments: PaymentSettings = PaymentSettings()
    invoices: InvoiceSettings = InvoiceSettings()
    solvency: SolvencySettings = SolvencySettings()
    backup: BackupSettings = BackupSettings()
    log: LogSettings = LogSettings()

    @property
    def database_path(self) -> Path:
        if self.database.url is None:
            return self.data_dir / "nwc.sqlite"
        return Path(self.database.url.removeprefix("sqlite:///"))


# Environment variable -> where it goes in the file's structure.
_VARIABLES = {
    "NWC_ADMIN_LISTEN": ("admin", "listen"),
    "NWC_EMBEDDED_RELAY_LISTEN": ("embedded_relay", "listen"),
    "NWC_RELAYS": ("relay", "urls"),
    "NWC_PUBLIC_RELAY_URL": ("relay", "public_url"),
    "NWC_PUBLIC_LISTEN": ("public", "listen"),
    "NWC_PUBLIC_DOMAIN": ("public", "domain"),
    "NWC_DATABASE_URL": ("database", "url"),
    "NWC_LOG_LEVEL": ("log", "level"),
}
DEFAULT_BACKEND = "sandbox"


def default_data_dir(environment: Mapping[str, str]) -> Path:
    """`NWC_DATA_DIR`, else where the XDG specification puts a user's data."""
    if environment.get("NWC_DATA_DIR"):
        return Path(environment["NWC_DATA_DIR"])
    base = environment.get("XDG_DATA_HOME")
    return (Path(base) if base else Path.home() / ".local" / "share") / "nwc-service"


def load_settings(
    *,
    file: Path | None = None,
    data_dir: Path | None = None,
    environment: Mapping[str, str] = os.environ,
) -> Settings:
    """Raises ConfigError."""
    values = _read(file) if file else {}
    if "data_dir" in values:
        raise ConfigError("data_dir: give --data-dir or NWC_DATA_DIR instead")
    values["data_dir"] = data_dir or default_data_dir(environment)
    for variable, (section, key) in _VARIABLES.items():
        if environment.get(variable):
            text = environment[variable]
            value = _comma_list(text) if key == "urls" else text
            _table(values, section)[key] = value
    _choose_backend(values, environment)
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        problem = error.errors(include_input=False, include_url=False)[0]
        key = ".".join(str(part) for part in problem["loc"])
        raise ConfigError(f"{key}: {problem['msg']}") from error


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text())
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: {error}") from error


def _choose_backend(values: dict[str, Any], environment: Mapping[str, str]) -> None:
    """`NWC_BACKEND` names a configured backend, or a type to run with `NWC_TYPE_…` options."""
    backends = _table(values, "backends")
    chosen = environment.get("NWC_BACKEND")
    if chosen is None and not backends:
        chosen = DEFAULT_BACKEND
    if chosen is not None:
        if chosen not in backends:
            backends[chosen] = {"type": chosen, **_options(chosen, environment)}
        values["default_backend"] = chosen
    default = values.get("default_backend")
    if default is None and len(backends) == 1:
        values["default_backend"] = next(iter(backends))
    elif not isinstance(default, str) or default not in backends:
        raise ConfigError(f"default_backend: choose one of {', '.join(sorted(backends))}")


def _table(values: dict[str, Any], name: str) -> dict[str, Any]:
    table = values.setdefault(name, {})
    if not isinstance(table, dict):
        raise ConfigError(f"{name}: must be a table")
    return table


def _options(backend_type: str, environment: Mapping[str, str]) -> dict[str, str]:
    prefix = f"NWC_{backend_type.upper()}_"
    return {
        name.removeprefix(prefix).lower(): value
        for name, value in environment.items()
        if name.startswith(prefix) and value
    }


def _comma_list(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]
