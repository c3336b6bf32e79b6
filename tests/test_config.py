"""Settings: the sample has all that the model knows; what is wrong is refused by its key."""

import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from backends.lnbits.options import Options as LnbitsOptions
from backends.sandbox.backend import Options as SandboxOptions
from nwc_service.config import ConfigError, Settings, load_settings

ROOT = Path(__file__).parents[1]
SAMPLE = ROOT / "docs" / "sample-config.toml"
VARIABLES = {
    "NWC_ADMIN_LISTEN": ("127.0.0.1:4444", ("admin", "listen"), "127.0.0.1:4444"),
    "NWC_EMBEDDED_RELAY_LISTEN": ("[::1]:7447", ("embedded_relay", "listen"), "[::1]:7447"),
    "NWC_RELAYS": ("wss://a/, ws://b/c,", ("relay", "urls"), ("wss://a", "ws://b/c")),
    "NWC_PUBLIC_RELAY_URL": ("wss://p/", ("relay", "public_url"), "wss://p"),
    "NWC_PUBLIC_LISTEN": ("127.0.0.1:4445", ("public", "listen"), "127.0.0.1:4445"),
    "NWC_PUBLIC_DOMAIN": ("Example.org", ("public", "domain"), "example.org"),
    "NWC_DATABASE_URL": ("sqlite:////a/b", ("database", "url"), "sqlite:////a/b"),
    "NWC_LOG_LEVEL": ("warning", ("log", "level"), "warning"),
}


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def write(text: str) -> Path:
        file = tmp_path / "nwc.toml"
        file.write_text(text)
        return file

    return write


def loaded(file: Path | None = None, /, **environment: str) -> Settings:
    return load_settings(file=file, data_dir=Path("/data"), environment=environment)


# --- the sample


def uncommented() -> dict[str, Any]:
    """The sample with the keys and sections that stand behind a bare "#"."""
    return tomllib.loads(re.sub(r"(?m)^#(?=[a-z_]+ = |\[)", "", SAMPLE.read_text()))


def keys_of_model(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Of every section but the backends, which have keys of their own."""
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from keys_of_model(kind, f"{prefix}{name}.")
        elif name not in ("data_dir", "backends"):
            yield f"{prefix}{name}"


def keys_of_table(table: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for name, value in table.items():
        if isinstance(value, dict):
            yield from keys_of_table(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def test_the_sample_has_every_key_of_the_model_and_no_other() -> None:
    sample = uncommented()
    del sample["backends"]

    assert sorted(keys_of_table(sample)) == sorted(keys_of_model(Settings))


@pytest.mark.parametrize(
    ("name", "options"),
    [("sandbox", SandboxOptions), ("lnbits", LnbitsOptions)],
)
def test_the_sample_has_every_option_of_a_backend(name: str, options: type[BaseModel]) -> None:
    table = uncommented()["backends"][name]

    assert set(table) == {"type", *options.model_fields}
    assert table["type"] == name


def test_the_sample_as_it_stands_is_the_default() -> None:
    sample, default = loaded(SAMPLE), loaded()

    assert without_backends(sample) == without_backends(default)
    assert set(sample.backends) == set(default.backends) == {"sandbox"}
    assert sample.backends["sandbox"].options == {
        name: field.default for name, field in SandboxOptions.model_fields.items()
    }


def without_backends(settings: Settings) -> Settings:
    return settings.model_copy(update={"backends": {}})


def test_the_sample_writes_every_default_that_there_is() -> None:
    written = set(keys_of_table(tomllib.loads(SAMPLE.read_text())))
    have_one = {
        f"{section}.{name}"
        for section, field in Settings.model_fields.items()
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
        for name, inner in field.annotation.model_fields.items()
        if inner.default is not None
    }

    assert have_one <= written


def test_every_example_in_the_sample_is_valid(write: Any) -> None:
    text = re.sub(r"(?m)^#(?=[a-z_]+ = |\[)", "", SAMPLE.read_text())

    settings = loaded(write(text))

    assert settings.default_backend == "sandbox"
    assert set(settings.backends) == {"sandbox", "lnbits", "lnd", "cln", "phoenixd"}


def test_every_key_in_the_sample_follows_words_of_its_own_or_its_neighbours() -> None:
    lines = SAMPLE.read_text().splitlines()
    bare = [
        line
        for before, line in zip(["", *lines], lines, strict=False)
        if re.match(r"#?[a-z_]+ = ", line)
        if before == "" or (before.startswith("[") and "type" not in line)
    ]

    assert bare == []


def test_the_sample_names_every_variable() -> None:
    named = set(re.findall(r"\bNWC_[A-Z_]+\b", SAMPLE.read_text()))

    assert set(VARIABLES) | {"NWC_CONFIG", "NWC_DATA_DIR", "NWC_BACKEND"} <= named


# --- what is refused, and by which name


def section_names() -> list[str]:
    return [name for name, value in uncommented().items() if isinstance(value, dict)]


@pytest.mark.parametrize(
    ("text", "key"),
    [
        pytest.param("colour = 1", "colour", id="at-the-top"),
        pytest.param("[colours]", "colours", id="a-section"),
        *(
            pytest.param(f"[{name}]\ncolour = 1", f"{name}.colour", id=f"in-{name}")
            for name in section_names()
            if name != "backends"
        ),
        *(
            pytest.param(f"{name} = 1", name, id=f"{name}-is-a-number")
            for name in section_names()
        ),
    ],
)
def test_what_the_model_does_not_know_is_refused(text: str, key: str, write: Any) -> None:
    with pytest.raises(ConfigError, match=rf"^{re.escape(key)}: "):
        loaded(write(text))


@pytest.mark.parametrize(
    ("section", "line"),
    [
        pytest.param(section, line, id=f"{section}: {line}")
        for section, lines in {
            "relay": [
                "urls = 'ws://a'",
                "urls = ['http://a']",
                "urls = ['ws://']",
                "urls = ['ws://a b']",
                "urls = [1]",
                "public_url = 'a'",
                "public_url = ''",
                "rate_per_s = 0",
                "rate_per_s = -1",
                "rate_per_s = inf",
                "rate_per_s = nan",
                "rate_per_s = '5'",
            ],
            "embedded_relay": [
                "listen = ''",
                "listen = '127.0.0.1'",
                "listen = ':80'",
                "listen = '127.0.0.1:'",
                "listen = '127.0.0.1:65536'",
                "listen = '127.0.0.1:99999'",
                "listen = '127.0.0.1:-1'",
                "listen = '::1:80'",
                "listen = 80",
                "require_auth = 1",
                "require_auth = 'yes'",
            ],
            "admin": ["listen = '127.0.0.1:65536'", "listen = 'http://127.0.0.1:80'"],
            "public": [
                "domain = 'https://example.org'",
                "domain = 'example.org/x'",
                "domain = ''",
                "base_url = 'example.org'",
                "base_url = 'https://example.org?x=1'",
                "min_msat = 0",
                "invoice_expiry_s = 59",
                "max_open = 0",
            ],
            "database": ["url = ''", "url = 'nwc.sqlite'", "url = 'sqlite:///'", "url = 1"],
            "requests": [
                "max_age_s = 0",
                "max_age_s = 31622401",
                "max_age_s = 1.5",
                "max_age_s = '300'",
                "max_age_s = true",
                "max_mutating_age_s = 0",
                "max_future_s = 0",
                "rate_per_s = 0",
                "rate_per_s = inf",
                "rate_burst = 0",
                "rate_burst = 1.5",
                "max_in_progress = 0",
            ],
            "payments": [
                "fee_reserve_floor_msat = -1",
                "fee_reserve_floor_msat = 2100000000000000001",
                "fee_reserve_floor_msat = 1.5",
                "fee_reserve_share_ppm = -1",
                "fee_reserve_share_ppm = 1000001",
                "timeout_s = 0",
                "timeout_s = true",
                "max_open = 0",
                "max_open_per_account = 0",
                "max_open_per_account = '50'",
            ],
            "invoices": ["expiry_s = 0", "expiry_s = 31622401", "max_open_per_account = 0"],
            "log": ["level = 'loud'", "level = 1"],
        }.items()
        for line in lines
    ],
)
def test_a_value_out_of_bounds_is_refused_by_its_key(
    section: str, line: str, write: Any
) -> None:
    key = f"{section}.{line.partition(' ')[0]}"

    with pytest.raises(ConfigError, match=rf"^{re.escape(key)}[.:]"):
        loaded(write(f"[{section}]\n{line}"))


@pytest.mark.parametrize(
    ("section", "line"),
    [
        ("relay", "rate_per_s = 0.5"),
        ("relay", "urls = ['ws://127.0.0.1:7777', 'wss://r.example/path?x=1']"),
        ("embedded_relay", "listen = '[::]:0'"),
        ("admin", "listen = 'localhost:65535'"),
        ("requests", "max_age_s = 31622400"),
        ("payments", "fee_reserve_floor_msat = 0"),
        ("payments", "fee_reserve_share_ppm = 0"),
        ("log", "level = 'debug'"),
    ],
)
def test_a_value_at_its_bound_is_taken(section: str, line: str, write: Any) -> None:
    settings = loaded(write(f"[{section}]\n{line}"))

    assert settings != loaded()


@pytest.mark.parametrize(
    "content",
    [pytest.param(b"a = ", id="no-toml"), pytest.param(b"\xff", id="no-utf-8")],
)
def test_a_file_that_cannot_be_read_is_named(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "nwc.toml"
    file.write_bytes(content)

    with pytest.raises(ConfigError, match=r"nwc\.toml: "):
        loaded(file)


def test_a_span_of_amounts_that_has_none_is_refused(write: Any) -> None:
    with pytest.raises(ConfigError, match=r"^public: .*min_msat is more than max_msat"):
        loaded(write("[public]\nmin_msat = 2_000\nmax_msat = 1_999"))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nwc\.toml: No such file"):
        loaded(tmp_path / "nwc.toml")


def test_the_data_directory_is_not_a_key_of_the_file(write: Any) -> None:
    with pytest.raises(ConfigError, match=r"^data_dir: give --data-dir or NWC_DATA_DIR"):
        loaded(write("data_dir = '/data'"))


def test_settings_cannot_be_changed() -> None:
    settings = loaded()

    with pytest.raises(ValueError, match="frozen"):
        settings.log.level = "debug"  # type: ignore[misc]


# --- the environment


@pytest.mark.parametrize("variable", VARIABLES)
def test_a_variable_wins_over_the_file(variable: str, write: Any) -> None:
    text, (section, key), value = VARIABLES[variable]
    settings = loaded(SAMPLE, **{variable: text})

    assert getattr(getattr(settings, section), key) == value


@pytest.mark.parametrize("variable", VARIABLES)
def test_an_empty_variable_is_none(variable: str) -> None:
    assert loaded(**{variable: ""}) == loaded()


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("NWC_ADMIN_LISTEN", "80"),
        ("NWC_EMBEDDED_RELAY_LISTEN", "127.0.0.1:70000"),
        ("NWC_RELAYS", "ws://a,http://b"),
        ("NWC_PUBLIC_RELAY_URL", "a"),
        ("NWC_DATABASE_URL", "mysql://x"),
        ("NWC_LOG_LEVEL", "loud"),
    ],
)
def test_a_wrong_variable_is_refused_by_its_key(variable: str, text: str) -> None:
    _, (section, key), _ = VARIABLES[variable]

    with pytest.raises(ConfigError, match=rf"^{section}\.{key}"):
        loaded(**{variable: text})


def test_the_log_level_may_be_written_loud() -> None:
    assert loaded(NWC_LOG_LEVEL="WARNING").log.level == "warning"


@pytest.mark.parametrize(
    ("environment", "data_dir"),
    [
        pytest.param({"NWC_DATA_DIR": "/d"}, "/d", id="named"),
        pytest.param({"XDG_DATA_HOME": "/x"}, "/x/nwc-service", id="xdg"),
        pytest.param({"NWC_DATA_DIR": "/d", "XDG_DATA_HOME": "/x"}, "/d", id="both"),
        pytest.param(
            {"NWC_DATA_DIR": ""},
            str(Path.home() / ".local" / "share" / "nwc-service"),
            id="neither",
        ),
    ],
)
def test_the_data_directory(environment: dict[str, str], data_dir: str) -> None:
    assert load_settings(environment=environment).data_dir == Path(data_dir)


@pytest.mark.parametrize(
    ("environment", "path"),
    [
        pytest.param({}, "/data/nwc.sqlite", id="in-the-data-directory"),
        pytest.param({"NWC_DATABASE_URL": "sqlite:////a/b"}, "/a/b", id="absolute"),
        pytest.param({"NWC_DATABASE_URL": "sqlite:///a/b"}, "a/b", id="relative"),
    ],
)
def test_the_database_path(environment: dict[str, str], path: str) -> None:
    assert loaded(**environment).database_path == Path(path)


# --- backends

TWO = "[backends.a]\ntype = 'sandbox'\n[backends.b]\ntype = 'lnbits'\nurl = 'u'\n"
LNBITS = {
    "NWC_BACKEND": "lnbits",
    "NWC_LNBITS_URL": "http://127.0.0.1:5000",
    "NWC_LNBITS_ADMIN_KEY": "aa",
    "NWC_LNBITS_INVOICE_KEY": "bb",
    "NWC_LNBITS_FEE_CAP": "2000, 1%",
}


def test_without_a_word_it_is_the_sandbox() -> None:
    settings = loaded()

    assert settings.default_backend == "sandbox"
    assert settings.backends["sandbox"].type == "sandbox"
    assert settings.backends["sandbox"].options == {}


def test_lnbits_needs_no_file() -> None:
    settings = loaded(**LNBITS)

    assert settings.default_backend == "lnbits"
    assert set(settings.backends) == {"lnbits"}
    assert settings.backends["lnbits"].type == "lnbits"
    assert settings.backends["lnbits"].options == {
        "url": "http://127.0.0.1:5000",
        "admin_key": "aa",
        "invoice_key": "bb",
        "fee_cap": "2000, 1%",
    }


def test_options_of_another_type_are_not_taken() -> None:
    settings = loaded(NWC_BACKEND="sandbox", NWC_LNBITS_URL="u", NWC_SANDBOX_PATH="p")

    assert settings.backends["sandbox"].options == {"path": "p"}


def test_one_configured_backend_is_the_default(write: Any) -> None:
    settings = loaded(write("[backends.mine]\ntype = 'sandbox'"))

    assert settings.default_backend == "mine"


def test_of_two_the_file_or_the_variable_names_the_default(write: Any) -> None:
    by_file = loaded(write("default_backend = 'b'\n" + TWO))
    by_variable = loaded(write("default_backend = 'b'\n" + TWO), NWC_BACKEND="a")

    assert by_file.default_backend == "b"
    assert by_variable.default_backend == "a"
    assert by_variable.backends["b"].options == {"url": "u"}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        pytest.param(TWO, "default_backend: choose one of a, b", id="none-of-two"),
        pytest.param(
            f"default_backend = 'c'\n{TWO}",
            "default_backend: choose one of a, b",
            id="one-that-is-not-there",
        ),
        pytest.param(f"default_backend = 1\n{TWO}", "default_backend: ", id="a-number"),
        pytest.param(f"default_backend = ['a']\n{TWO}", "default_backend: ", id="an-array"),
        pytest.param("[backends]\na = 1", "backends.a: ", id="a-backend-that-is-a-number"),
        pytest.param("[backends.a]", "backends.a.type: ", id="a-backend-without-a-type"),
        pytest.param("[backends.a]\ntype = 1", "backends.a.type: ", id="a-type-that-is-none"),
    ],
)
def test_a_backend_that_cannot_be_chosen_is_refused(
    text: str, problem: str, write: Any
) -> None:
    with pytest.raises(ConfigError, match=rf"^{re.escape(problem)}"):
        loaded(write(text))


def test_a_refusal_never_shows_a_value(write: Any) -> None:
    with pytest.raises(ConfigError) as refused:
        loaded(write("[backends.a]\ntype = 'x'\n[admin]\nlisten = 'canary'"))

    assert "canary" not in str(refused.value)
