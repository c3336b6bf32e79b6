import pytest
from hypothesis import given
from hypothesis import strategies as st

from nwc_service.wallet.units import MAX_MSAT, Msat, Sat, msat_from_sat, sat_from_msat_ceil


def test_no_amount_is_larger_than_all_bitcoin() -> None:
    assert msat_from_sat(Sat(21_000_000 * 10**8)) == MAX_MSAT


@pytest.mark.attack("A3")
@pytest.mark.parametrize(
    ("amount_msat", "amount_sat"), [(0, 0), (1, 1), (999, 1), (1_000, 1), (1_001, 2)]
)
def test_what_is_charged_is_rounded_up(amount_msat: int, amount_sat: int) -> None:
    assert sat_from_msat_ceil(Msat(amount_msat)) == amount_sat


@given(st.integers(0, MAX_MSAT))
def test_rounding_up_costs_less_than_one_sat(amount_msat: int) -> None:
    rounded_msat = msat_from_sat(sat_from_msat_ceil(Msat(amount_msat)))

    assert amount_msat <= rounded_msat < amount_msat + 1_000
