"""The fee reserve: max(10 000 msat, 1 % rounded up), or more where a node may charge more."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nwc_service.wallet.payment import FeePolicy
from nwc_service.wallet.units import MAX_MSAT, Msat

POLICY = FeePolicy(floor_msat=Msat(10_000), share_ppm=10_000)


@pytest.mark.parametrize(
    ("amount_msat", "reserve_msat"),
    [
        pytest.param(1, 10_000, id="floor"),
        pytest.param(1_000_000, 10_000, id="the-last-at-the-floor"),
        pytest.param(1_000_001, 10_001, id="rounded-up"),
        pytest.param(1_000_100, 10_001, id="exact"),
        pytest.param(1_000_101, 10_002, id="rounded-up-again"),
        pytest.param(MAX_MSAT, 21_000_000_000_000_000, id="all-bitcoin"),
    ],
)
def test_floor_and_share(amount_msat: int, reserve_msat: int) -> None:
    assert POLICY.reserve_msat(Msat(amount_msat), cap_msat=None) == reserve_msat


@pytest.mark.attack("A3")
@pytest.mark.parametrize(
    ("cap_msat", "reserve_msat"),
    [
        pytest.param(0, 20_000, id="none"),
        pytest.param(19_999, 20_000, id="below-the-share"),
        pytest.param(20_001, 20_001, id="above-the-share"),
    ],
)
def test_what_a_node_without_a_fee_limit_may_charge_is_reserved(
    cap_msat: int, reserve_msat: int
) -> None:
    assert POLICY.reserve_msat(Msat(2_000_000), cap_msat=Msat(cap_msat)) == reserve_msat


def test_a_policy_may_reserve_nothing() -> None:
    policy = FeePolicy(floor_msat=Msat(0), share_ppm=0)

    assert policy.reserve_msat(Msat(MAX_MSAT), cap_msat=None) == 0


@pytest.mark.attack("A3")
@given(st.integers(1, MAX_MSAT), st.integers(0, 1_000_000), st.integers(0, MAX_MSAT))
def test_the_share_is_never_rounded_down_and_by_less_than_one_msat_up(
    amount_msat: int, share_ppm: int, floor_msat: int
) -> None:
    policy = FeePolicy(floor_msat=Msat(floor_msat), share_ppm=share_ppm)

    reserve_msat = policy.reserve_msat(Msat(amount_msat), cap_msat=None)

    exact = max(Fraction(floor_msat), Fraction(amount_msat * share_ppm, 1_000_000))
    assert exact <= reserve_msat < exact + 1
