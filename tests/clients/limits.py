"""What a library itself prevents or bends. Each has a test in test_limits.py that shows it, and
that fails once the library is mended."""

from collections.abc import Iterator
from dataclasses import dataclass

from nwc_service.methods import METHODS
from tests.clients.libraries import ALBY, APPLESAUCE, NDK, NOSTR_SDK, NOSTR_TOOLS, Library

LINK = "a link of the app"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """`rows` of the page carry it; where it `prevents` them they are not tried otherwise. It is
    told once the service `needs` it to be."""

    library: Library
    why: str
    test: str
    rows: tuple[str, ...] = ()
    prevents: bool = False
    needs: str = "pay_invoice"


_LIMITS = (
    Limit(
        library=ALBY,
        why="One refused item ends the whole batch with its error: what became of the other"
        " items, which may be paid, is not told.",
        test="test_alby_tells_only_the_error_of_a_batch",
        rows=("multi_pay_invoice", "multi_pay_keysend"),
        needs="multi_pay_invoice",
    ),
    Limit(
        library=ALBY,
        why="A payment without an invoice, such as a keysend, cannot be looked up: the answer"
        " is thrown away because its `invoice` is empty.",
        test="test_alby_cannot_look_up_a_keysend",
        rows=("lookup_invoice",),
        needs="pay_keysend",
    ),
    Limit(
        library=NDK,
        why="It speaks NIP-04 only and does not read the info event, so a connection where"
        " NIP-04 is switched off refuses whatever it asks.",
        test="test_ndk_cannot_use_a_connection_without_nip04",
    ),
    Limit(
        library=NDK,
        why="It has no notifications; `subscribeTransactions` asks for the list once a minute.",
        test="test_ndk_knows_no_kind_of_notification",
    ),
    Limit(
        library=NDK,
        why="`lnPay` passes the preimage on but not the fee; its `req` has both.",
        test="test_ndk_does_not_tell_the_fee",
        rows=("pay_invoice",),
    ),
    Limit(
        library=NDK,
        why="On a relay that needs more than 2.5 s for EOSE it publishes each request twice; it"
        " is paid once here.",
        test="test_ndk_publishes_twice_over_a_slow_relay_and_pays_once",
    ),
    Limit(
        library=APPLESAUCE,
        why="Every refusal becomes `OTHER`, with the right message: it reads `error.type` where"
        " NIP-47 says `code`.",
        test="test_applesauce_loses_the_code_of_a_refusal",
        rows=(
            "PAYMENT_FAILED",
            "INSUFFICIENT_BALANCE",
            "QUOTA_EXCEEDED",
            "NOT_FOUND",
            "RESTRICTED",
        ),
    ),
    Limit(
        library=APPLESAUCE,
        why="It listens to both kinds of notification, so where a connection allows both"
        " encryptions it hears each twice, with the same content.",
        test="test_applesauce_hears_twice_where_both_encryptions_are_allowed",
        rows=("payment_received", "payment_sent", "hold_invoice_accepted"),
    ),
    Limit(
        library=APPLESAUCE,
        why="Its calls wait for an end of the answers that never comes; the payments are made.",
        test="test_applesauce_never_ends_a_batch",
        rows=("multi_pay_invoice", "multi_pay_keysend"),
        prevents=True,
        needs="multi_pay_invoice",
    ),
    Limit(
        library=APPLESAUCE,
        why="Without an info event it waits for ever, whatever its timeout: it does not send a"
        " request before it has read one.",
        test="test_applesauce_waits_for_ever_for_the_info_event",
    ),
    Limit(
        library=APPLESAUCE,
        why="After `waitForService` it waits for ever for the info event that it has just read,"
        " unless the app had subscribed to `support$` before.",
        test="test_applesauce_misses_the_info_event_that_it_waited_for",
        rows=(LINK,),
    ),
    Limit(
        library=APPLESAUCE,
        why="In its link a space is written as `+`, as in a form, where NWC-08 has `%20`: the"
        " methods are understood, but the name is shown with a plus.",
        test="test_applesauce_writes_a_space_as_a_plus",
        rows=(LINK,),
    ),
    Limit(
        library=NOSTR_TOOLS,
        why="Its `nip47` module makes `pay_invoice` without an amount and over NIP-04, and"
        " nothing else.",
        test="test_nostr_tools_makes_one_request_of_nip47",
    ),
    Limit(
        library=NOSTR_SDK,
        why="The Python binding has no call for notifications, hold invoices or several"
        " payments at once; notifications are read with the relay client that it gives out.",
        test="test_nostr_sdk_has_these_calls_and_no_others",
        rows=("payment_received", "payment_sent", "hold_invoice_accepted"),
    ),
    Limit(
        library=NOSTR_SDK,
        why="A refusal whose code is not in its list, such as `BAD_REQUEST`, is an answer that"
        " it cannot read, and its message is lost.",
        test="test_nostr_sdk_cannot_read_a_code_that_it_does_not_know",
    ),
)


def limits() -> Iterator[Limit]:
    return (limit for limit in _LIMITS if limit.needs in METHODS)


def limits_of(library: Library, row: str) -> list[Limit]:
    return [limit for limit in limits() if limit.library is library and row in limit.rows]


def prevented(library: Library, row: str) -> bool:
    return any(limit.prevents for limit in limits_of(library, row))
