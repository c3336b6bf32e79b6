"""What entries do to accounts and books."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nwc_service.wallet.ledger import (
    EQUITY,
    LOSS,
    SUSPENSE,
    Change,
    Entry,
    EntryKind,
    LedgerAccount,
    available,
    changes,
    held,
    node,
)
from nwc_service.wallet.units import AccountId, BackendName, Msat
from tests.core.samples import ALICE, BOB, NODE


def entry(source: LedgerAccount, destination: LedgerAccount, amount_msat: int) -> Entry:
    return Entry(EntryKind.SETTLE, source, destination, Msat(amount_msat))


@pytest.mark.parametrize(
    ("entries", "users", "books"),
    [
        pytest.param([], {}, {}, id="nothing"),
        pytest.param(
            [(available(ALICE), held(ALICE), 5)],
            {ALICE: (-5, 5)},
            {},
            id="within-one-account",
        ),
        pytest.param(
            [(available(ALICE), available(BOB), 5)],
            {ALICE: (-5, 0), BOB: (5, 0)},
            {},
            id="between-two",
        ),
        pytest.param(
            [(node(NODE), available(BOB), 5)], {BOB: (5, 0)}, {"node:node": -5}, id="received"
        ),
        pytest.param(
            [(held(ALICE), node(NODE), 7), (held(ALICE), available(ALICE), 2)],
            {ALICE: (2, -9)},
            {"node:node": 7},
            id="settled",
        ),
        pytest.param(
            [(LOSS, node(NODE), 3), (EQUITY, SUSPENSE, 1)],
            {},
            {"loss": -3, "node:node": 3, "equity": -1, "suspense": 1},
            id="the-operators-own",
        ),
        pytest.param(
            [(available(AccountId("held:x")), held(AccountId("available:")), 5)],
            {"held:x": (-5, 0), "available:": (0, 5)},
            {},
            id="ids-that-look-like-something-else",
        ),
        pytest.param(
            [(node(BackendName("held:x")), LOSS, 5)],
            {},
            {"node:held:x": -5, "loss": 5},
            id="a-node-that-looks-like-something-else",
        ),
    ],
)
def test_the_net_change(
    entries: list[tuple[LedgerAccount, LedgerAccount, int]],
    users: dict[str, tuple[int, int]],
    books: dict[str, int],
) -> None:
    of_users, of_books = changes(tuple(entry(*moved) for moved in entries))

    assert {
        name: (change.available_msat, change.held_msat) for name, change in of_users.items()
    } == users
    assert of_books == books


accounts = st.one_of(
    st.builds(available, st.sampled_from([ALICE, BOB])),
    st.builds(held, st.sampled_from([ALICE, BOB])),
    st.sampled_from([node(NODE), LOSS, SUSPENSE, EQUITY]),
)


@given(st.lists(st.builds(entry, accounts, accounts, st.integers(1, 10**18)), max_size=12))
def test_all_balances_together_stay_zero(entries: list[Entry]) -> None:
    users, books = changes(tuple(entries))

    total_msat = sum(change.available_msat + change.held_msat for change in users.values())
    assert total_msat + sum(books.values()) == 0


def test_a_change_begins_at_nothing() -> None:
    assert Change() == Change(available_msat=0, held_msat=0)
