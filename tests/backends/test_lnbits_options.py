"""What the operator configures for LNbits, and the fee cap's grammar."""

from pathlib import Path

import pytest

from backends.lnbits import LnbitsBackend
from backends.lnbits.fee_cap import FeeCap
from nwc_service.backend import Cap
from nwc_service.wallet.units import BackendName, Msat

KEYS = {"admin_key": "ad" * 16, "invoice_key": "1c" * 16}
GOOD = {"url": "https://lnbits.example.org/", "fee_cap": "2000, 1%", **KEYS}


def a_backend(options: dict[str, object]) -> LnbitsBackend:
    return LnbitsBackend(BackendName("mine"), options, data_dir=Path())


@pytest.mark.parametrize(
    ("text", "small_msat", "large_msat"),
    [
        # of 100 000 msat, and of 10 000 001 msat
        pytest.param("2000, 1%", 2_000, 100_001, id="comma"),
        pytest.param("2000,1%", 2_000, 100_001, id="comma-tight"),
        pytest.param("1% 2000", 2_000, 100_001, id="whitespace"),
        pytest.param("1 % 2 sat", 2_000, 100_001, id="units-apart"),
        pytest.param("max(2000, 1%)", 2_000, 100_001, id="wrapped"),
        pytest.param(" MAX ( 2 SATS , 1 % ) ", 2_000, 100_001, id="wrapped-loosely"),
        pytest.param("2000msat,1%", 2_000, 100_001, id="msat"),
        pytest.param("2_000 msats 1%", 2_000, 100_001, id="digits-grouped"),
        pytest.param("1%", 1_000, 100_001, id="percent-only"),
        pytest.param("0.5%", 500, 50_001, id="percent-decimal"),
        pytest.param("0.0001%", 1, 11, id="percent-rounded-up"),
        pytest.param("5000", 5_000, 5_000, id="fixed-only"),
        pytest.param("3sat", 3_000, 3_000, id="sat-only"),
        pytest.param("0", 0, 0, id="none"),
        pytest.param("0, 0%", 0, 0, id="none-twice"),
        pytest.param(2000, 2_000, 2_000, id="integer"),
        pytest.param("10, 20, 30", 30, 30, id="three-parts"),
        # LNbits adds its service fee to its reserve: the sum is never less than each
        pytest.param("2000 + 1%", 3_000, 102_001, id="sum"),
        pytest.param("2000, 1% + 0.5%", 2_000, 150_001, id="sum-in-a-part"),
    ],
)
def test_the_fee_cap_is_the_largest_part(
    text: object, small_msat: int, large_msat: int
) -> None:
    cap = FeeCap.parse(text)

    assert cap.msat(Msat(100_000)) == small_msat
    assert cap.msat(Msat(10_000_001)) == large_msat


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        ",",
        "1%,",
        "-1%",
        "1.5",
        "1.5 sat",
        "2k",
        "one percent",
        "max()",
        "max(1%",
        "min(1%, 2000)",
        "1%%",
        "101%",
        "1e3",
        "١%",
        "1% +",
        "+ 1%",
        "9" * 19,
        "9" * 30,
        "1," * 150 + "1",
        None,
        True,
        1.5,
        ["1%"],
    ],
)
def test_what_is_no_fee_cap_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match=r"write one|not meant"):
        FeeCap.parse(text)


@pytest.mark.attack("A3")
def test_without_a_fee_cap_it_refuses_and_tells_where_lnbits_keeps_it() -> None:
    options: dict[str, object] = {k: v for k, v in GOOD.items() if k != "fee_cap"}

    with pytest.raises(ValueError, match="the operator declares LNbits' own cap") as refused:
        a_backend(options)

    for setting in ("lnbits_reserve_fee_min", "lnbits_reserve_fee_percent", "service_fee"):
        assert setting in str(refused.value)


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        pytest.param({"admin-key": "x"}, "admin-key is unknown", id="unknown-key"),
        pytest.param({"admin_key": ""}, "admin_key", id="empty-key"),
        pytest.param({"admin_key": "secret value"}, "admin_key", id="key-with-space"),
        pytest.param({"invoice_key": "secret\nvalue"}, "invoice_key", id="key-with-newline"),
        pytest.param({"invoice_key": 5}, "invoice_key", id="key-no-text"),
        pytest.param({"url": "lnbits.example.org"}, "url", id="url-without-scheme"),
        pytest.param({"url": "ftp://lnbits.example.org"}, "url", id="url-of-another-scheme"),
        pytest.param({"url": "https://u:secret@host"}, "url", id="url-with-password"),
        pytest.param({"url": "https://host/?key=secret"}, "url", id="url-with-query"),
        pytest.param({"fee_cap": "secret"}, "fee_cap", id="fee-cap"),
        pytest.param({"timeout_s": 0}, "timeout_s", id="no-timeout"),
        pytest.param({"poll_s": "secret"}, "poll_s", id="poll"),
    ],
)
def test_a_wrong_option_is_named_without_its_value(
    changed: dict[str, object], named: str
) -> None:
    with pytest.raises(ValueError, match=f"backend 'mine' .*{named}") as refused:
        a_backend({**GOOD, **changed})

    assert "secret" not in str(refused.value)
    assert not any(key in str(refused.value) for key in KEYS.values())


def test_every_wrong_option_is_named_at_once() -> None:
    with pytest.raises(ValueError, match="url is missing; admin_key is missing") as refused:
        a_backend({"wait": 1})

    assert "fee_cap is missing" in str(refused.value)
    assert "wait is unknown" in str(refused.value)


@pytest.mark.attack("A31")
def test_no_key_shows_in_what_is_printed() -> None:
    backend = a_backend(dict(GOOD))

    shown = repr(vars(backend)) + repr(backend._options)

    assert not any(key in shown for key in KEYS.values())


def test_it_says_what_it_cannot_do() -> None:
    backend = a_backend(dict(GOOD))

    assert backend.release_rules == {}
    assert backend.fee_cap_msat(Msat(1_000_000)) == 10_000
    for cap in (Cap.FEE_LIMIT, Cap.MSAT_INVOICE, Cap.NODE_INFO, Cap.CANCEL_INVOICE, Cap.HOLD):
        assert cap not in backend.caps
