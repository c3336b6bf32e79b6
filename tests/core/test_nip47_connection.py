"""What a connection may do, and until when."""

import pytest

from tests.core.samples import NOW, a_connection


@pytest.mark.parametrize(
    ("expires_at", "revoked_at", "live"),
    [
        pytest.param(None, None, True, id="for-ever"),
        pytest.param(NOW + 1, None, True, id="its-last-second"),
        pytest.param(NOW, None, False, id="at-its-expiry"),
        pytest.param(NOW - 1, None, False, id="after-it"),
        pytest.param(None, NOW - 5, False, id="revoked"),
        pytest.param(NOW + 99, NOW - 5, False, id="revoked-before-its-expiry"),
    ],
)
def test_a_connection_lives_until_it_expires_or_is_revoked(
    expires_at: int | None, revoked_at: int | None, live: bool
) -> None:
    connection = a_connection(expires_at=expires_at, revoked_at=revoked_at)

    assert connection.is_live(NOW) is live


@pytest.mark.parametrize(
    ("scopes", "sees_account"),
    [
        pytest.param({"list_transactions"}, True, id="with-list_transactions"),
        pytest.param({"lookup_invoice", "get_balance"}, False, id="without"),
    ],
)
def test_only_list_transactions_shows_the_whole_account(
    scopes: set[str], sees_account: bool
) -> None:
    assert a_connection(scopes=frozenset(scopes)).sees_account is sees_account
