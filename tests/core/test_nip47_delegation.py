"""create_connection hands on no more than the maker has (protocol.md 4: "limits never above
the creator's own")."""

from dataclasses import replace
from typing import Any

import pytest

from nwc_service.nip47.connection import Connection
from nwc_service.nip47.delegation import CREATE_CONNECTION, Grant, Identity, child
from nwc_service.nip47.kinds import Encryption, NotificationType
from nwc_service.wallet.budget import Budget, Renewal
from nwc_service.wallet.errors import ErrorCode, RequestError
from nwc_service.wallet.units import ConnectionId, Msat
from tests.core.samples import ALICE, BOB, NOW, a_connection

PAY, LIST = "pay_invoice", "list_transactions"
WEEKLY = Budget(Msat(1_000), Renewal.WEEKLY)
NODE_KEY = "02" + "79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798"
EVERY_LIMIT = {
    "relays": ("wss://relay.example",),
    "relays_by_user": True,
    "encryption": (Encryption.NIP44_V2,),
    "max_payment_msat": Msat(500),
    "internal_only": True,
    "destinations": (NODE_KEY,),
    "budget": WEEKLY,
    "expires_at": NOW + 100,
}

GRANT = Grant(
    client_pubkey="cc" * 32,
    app="another app",
    scopes=frozenset({PAY}),
    notifications=frozenset(),
    budget=None,
    expires_at=None,
    is_isolated=False,
    metadata=None,
)
IDENTITY = Identity(
    connection_id=ConnectionId("child"),
    wallet_pubkey="dd" * 32,
    account_id=ALICE,
    request_id="ee" * 32,
    created_at=NOW + 1,
)


def parent(**changes: Any) -> Connection:
    chosen = {"scopes": frozenset({PAY, LIST, CREATE_CONNECTION})} | changes
    return a_connection(**chosen)


def made(parent: Connection, *, identity: Identity = IDENTITY, **asked: Any) -> Connection:
    supported = (*parent.scopes, "get_info")  # which is announced to everybody
    return child(parent, replace(GRANT, **asked), identity=identity, supported=supported)


def test_what_was_asked_is_granted_and_who_made_it_is_kept() -> None:
    found = made(parent(), metadata='{"a":1}')

    assert found == a_connection(
        connection_id="child",
        wallet_pubkey="dd" * 32,
        client_pubkey="cc" * 32,
        app="another app",
        scopes=frozenset({PAY}),
        notifications=frozenset(),
        created_at=NOW + 1,
        parent_id="connection",
        request_id="ee" * 32,
        metadata='{"a":1}',
    )


@pytest.mark.parametrize("limit", EVERY_LIMIT)
def test_each_limit_of_the_maker_is_that_of_what_it_makes(limit: str) -> None:
    found = made(parent(**EVERY_LIMIT))

    assert getattr(found, limit) == EVERY_LIMIT[limit]


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        pytest.param(
            {"scopes": frozenset({PAY, "get_balance"})}, "request_methods", id="method"
        ),
        # Always answered, but with the node's fields for those only that hold it.
        pytest.param({"scopes": frozenset({"get_info"})}, "request_methods", id="get_info"),
        pytest.param(
            {"notifications": frozenset({NotificationType.PAYMENT_SENT})},
            "notification_types",
            id="notification",
        ),
        pytest.param(
            {"budget": Budget(Msat(1_001), Renewal.WEEKLY)}, "max_amount", id="larger-budget"
        ),
        pytest.param(
            {"budget": Budget(Msat(1_000), Renewal.DAILY)},
            "budget_renewal",
            id="more-frequent-budget",
        ),
        pytest.param({"expires_at": NOW + 101}, "expires_at", id="later-end"),
    ],
)
def test_more_than_the_makers_own_is_refused_by_the_name_of_the_field(
    asked: dict[str, Any], field: str
) -> None:
    """Section 4, "create_connection `isolated`": "limits never above the creator's own, and
    counted in it"."""
    maker = parent(
        notifications=frozenset({NotificationType.PAYMENT_RECEIVED}),
        budget=WEEKLY,
        expires_at=NOW + 100,
    )

    with pytest.raises(RequestError, match=f"^{field}: ") as refused:
        made(maker, **asked)

    assert refused.value.code is ErrorCode.RESTRICTED


def test_create_connection_is_never_handed_on() -> None:
    """Issue text: "never granting itself"."""
    with pytest.raises(RequestError, match="create_connection cannot be granted"):
        made(parent(), scopes=frozenset({PAY, CREATE_CONNECTION}))


def test_a_method_that_the_backend_cannot_do_is_refused() -> None:
    with pytest.raises(RequestError, match="not granted here: pay_invoice"):
        child(parent(), GRANT, identity=IDENTITY, supported=["get_info"])


@pytest.mark.parametrize(
    "asked",
    [
        pytest.param(WEEKLY, id="the-same"),
        pytest.param(Budget(Msat(1), Renewal.WEEKLY), id="smaller"),
        pytest.param(Budget(Msat(1_000), Renewal.MONTHLY), id="less-frequent"),
        pytest.param(Budget(Msat(1_000), Renewal.NEVER), id="once"),
    ],
)
def test_a_budget_within_the_makers_own_is_granted(asked: Budget) -> None:
    assert made(parent(budget=WEEKLY), budget=asked).budget == asked


def test_a_maker_without_limits_may_set_them() -> None:
    found = made(parent(), budget=WEEKLY, expires_at=NOW + 5)

    assert (found.budget, found.expires_at) == (WEEKLY, NOW + 5)


def test_a_lightning_address_goes_with_the_account_only() -> None:
    of_alice = parent(lud16="alice@example.org", link_state="ab" * 16)
    isolated = replace(IDENTITY, account_id=BOB)

    assert made(of_alice).lud16 == "alice@example.org"
    assert made(of_alice, identity=isolated, is_isolated=True).lud16 is None
    assert made(of_alice).link_state is None
