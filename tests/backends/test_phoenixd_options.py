"""What the operator configures for phoenixd."""

from pathlib import Path

import pytest

from backends.phoenixd import PhoenixdBackend
from nwc_service.wallet.units import BackendName
from tests.backends.phoenixd_double import PASSWORD

GOOD: dict[str, object] = {"url": "http://127.0.0.1:9740", "password": PASSWORD}


def a_backend(**changed: object) -> PhoenixdBackend:
    return PhoenixdBackend(BackendName("mine"), GOOD | changed, data_dir=Path())


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1:9740/", "http://localhost:9740", "http://[::1]:9740", "https://phx.org"],
)
def test_a_url_is_of_this_machine_or_https(url: str) -> None:
    assert a_backend(url=url)._options.url == url.rstrip("/")


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        pytest.param({"url": "http://phx.org:9740"}, "must be https", id="http"),
        pytest.param({"url": "http://10.0.0.7:9740"}, "must be https", id="http-private"),
        pytest.param({"url": "127.0.0.1:9740"}, "url: must be http://127.0.0.1", id="scheme"),
        pytest.param({"url": "https://:hunter2@phx.org"}, "no user name", id="login"),
        pytest.param({"url": "https://phx.org/?a=hunter2"}, "query", id="query"),
        pytest.param({"password": ""}, "password: must be http-password", id="empty"),
        pytest.param({"password": "hunter2 hunter2"}, "password: must be", id="blank"),
        pytest.param({"password": "hunter2é"}, "password: must be", id="not-ascii"),
        pytest.param({"fee_base_msat": -1}, "fee_base_msat: ", id="negative-fee"),
        pytest.param({"fee_millionths": 1_000_001}, "fee_millionths: ", id="more-than-all"),
        pytest.param({"poll_s": 0}, "poll_s: ", id="poll"),
        pytest.param({"pasword": "hunter2"}, "pasword is unknown; known are url", id="typo"),
    ],
)
def test_a_wrong_key_is_named_and_its_value_is_not(
    changed: dict[str, object], words: str
) -> None:
    with pytest.raises(ValueError, match="backend 'mine' \\(phoenixd\\)") as caught:
        a_backend(**changed)

    assert words in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("key", ["url", "password"])
def test_a_missing_key_is_named(key: str) -> None:
    options = {name: value for name, value in GOOD.items() if name != key}

    with pytest.raises(ValueError, match=f"{key} is missing"):
        PhoenixdBackend(BackendName("mine"), options, data_dir=Path())


def test_the_password_is_in_no_text_of_the_backend() -> None:
    assert PASSWORD not in repr(a_backend()._options)
