"""The info event: its content, and each of its tags as one string."""

import pytest

from nwc_service.nip47 import info
from nwc_service.nip47.kinds import Encryption, NotificationType
from tests.core.samples import a_connection

METHODS = ["pay_invoice", "get_info"]
ALL = frozenset(NotificationType)


def test_methods_are_separated_by_single_spaces() -> None:
    """NIP-47: "The content should be a plaintext string with the supported capabilities
    space-separated"."""
    connection = a_connection(notifications=frozenset())

    assert info.content(connection, METHODS) == "pay_invoice get_info"


def test_notifications_are_marked_beside_the_methods() -> None:
    connection = a_connection(notifications=ALL)

    assert info.content(connection, METHODS) == "pay_invoice get_info notifications"


def test_notifications_that_cannot_come_are_marked_nowhere() -> None:
    """Without NWC-03 there is no hold invoice to be accepted."""
    connection = a_connection(notifications=frozenset({NotificationType.HOLD_INVOICE_ACCEPTED}))

    assert info.content(connection, METHODS) == "pay_invoice get_info"
    assert info.extensions(connection, METHODS) == ["06"]
    assert "notifications" not in [name for name, *_ in info.tags(connection, METHODS)]
    assert info.content(connection, ["make_hold_invoice"]).endswith(" notifications")
    assert "02" in info.extensions(connection, ["make_hold_invoice"])


def test_every_list_is_one_string() -> None:
    """NIP-47: "the info event SHOULD contain a `notifications` tag with the supported
    notification types space-separated". NWC-02: "the NWC info event SHOULD contain a
    `notifications` tag with the supported notification types space-separated"."""
    tags = info.tags(a_connection(notifications=ALL), ["list_transactions"])

    assert tags == (
        ("encryption", "nip44_v2 nip04"),
        ("notifications", "payment_received payment_sent"),
        ("extensions", "02 05 06"),
        ("p", "bb" * 32),
    )


def test_without_notifications_there_is_no_tag_of_them() -> None:
    tags = info.tags(a_connection(notifications=frozenset()), METHODS)

    assert [tag[0] for tag in tags] == ["encryption", "extensions", "p"]


def test_the_schemes_are_those_of_the_connection() -> None:
    """NIP-47: "It should contain an `encryption` tag with the supported encryption schemes
    space-separated"."""
    names = [info.tags(a_connection(encryption=(scheme,)), METHODS)[0] for scheme in Encryption]

    assert names == [("encryption", "nip44_v2"), ("encryption", "nip04")]


@pytest.mark.parametrize(
    ("methods", "numbers"),
    [
        pytest.param(["make_offer"], ["02", "06"], id="offers-that-cannot-be-looked-up"),
        pytest.param([], ["02", "06"], id="none"),
        pytest.param(["make_hold_invoice", "pay_keysend"], ["02", "03", "04", "06"], id="some"),
        pytest.param(["lookup_payment", "make_offer", "pay"], ["02", "06", "09", "12", "321"]),
    ],
)
def test_an_extension_is_named_where_the_connection_has_a_method_of_it(
    methods: list[str], numbers: list[str]
) -> None:
    """NIP-47: "`extensions`". NWC-09: "A wallet service MUST also advertise each supported
    payment-type extension as required by that extension". NWC-12: "advertise `make_offer` and
    `lookup_payment` as supported methods in its NWC info event and `get_info` response"."""
    assert info.extensions(a_connection(notifications=ALL), methods) == numbers


def test_hold_invoice_accepted_is_named_only_where_hold_invoices_can_be_made() -> None:
    connection = a_connection(notifications=ALL)

    without = info.notifications(connection, METHODS)
    with_it = info.notifications(connection, ["make_hold_invoice"])

    assert without == ["payment_received", "payment_sent"]
    assert with_it == ["hold_invoice_accepted", *without]
