"""The info event: its content, and each of its tags as one string."""

from nwc_service.nip47 import info
from nwc_service.nip47.kinds import Encryption, NotificationType
from tests.core.samples import a_connection

METHODS = ["pay_invoice", "get_info"]
BOTH = frozenset(NotificationType)


def test_methods_are_separated_by_single_spaces() -> None:
    connection = a_connection(notifications=frozenset())

    assert info.content(connection, METHODS) == "pay_invoice get_info"


def test_notifications_are_marked_beside_the_methods() -> None:
    connection = a_connection(notifications=BOTH)

    assert info.content(connection, METHODS) == "pay_invoice get_info notifications"


def test_every_list_is_one_string() -> None:
    tags = info.tags(a_connection(notifications=BOTH))

    assert tags == (
        ("encryption", "nip44_v2 nip04"),
        ("notifications", "payment_received payment_sent"),
        ("extensions", "02 05 06"),
        ("p", "bb" * 32),
    )


def test_without_notifications_there_is_no_tag_of_them() -> None:
    tags = info.tags(a_connection(notifications=frozenset()))

    assert [tag[0] for tag in tags] == ["encryption", "extensions", "p"]


def test_the_schemes_are_those_of_the_connection() -> None:
    names = [info.tags(a_connection(encryption=(scheme,)))[0] for scheme in Encryption]

    assert names == [("encryption", "nip44_v2"), ("encryption", "nip04")]
