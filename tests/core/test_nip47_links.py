"""The links of NIP-47: connection URIs, `nostr+walletauth://`, and the deep links of NWC-07."""

import contextlib
import json
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

import nostr_sdk
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nwc_service.nip47 import deeplink, uri, walletauth
from nwc_service.nip47.link import MAX_RELAYS, InvalidLink, parse_link
from nwc_service.nip47.walletauth import WalletAuth
from nwc_service.nostr.keys import Keypair, npub
from nwc_service.wallet.budget import Renewal
from nwc_service.wallet.units import MAX_MSAT

SECRET = "02" * 32
WALLET = Keypair(b"\x01" * 32).public_key
CLIENT = Keypair(b"\x02" * 32).public_key
NPUB = npub(WALLET)
NSEC = nostr_sdk.SecretKey.parse(SECRET).to_bech32()
STATE = "9f2c4a00" * 4
RELAY = "wss://relay.example.com/v1"
REST = f"relay={RELAY}&secret={SECRET}"

# --- nostr+walletconnect


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(f"nostr+walletconnect://{WALLET}?{REST}", id="plain"),
        pytest.param(f"nostr+walletconnect:{WALLET}?{REST}", id="no-//"),
        pytest.param(f"nostrwalletconnect://{WALLET}?{REST}", id="older"),
        pytest.param(f"nostrwalletconnect:{WALLET}?{REST}", id="oldest"),
        pytest.param(f"NOSTR+WalletConnect://{WALLET}?{REST}", id="case"),
        pytest.param(f"nostr+walletconnect://{WALLET}/?{REST}", id="/"),
        pytest.param(
            f"nostr+walletconnect://{WALLET}?secret={SECRET}&relay={quote(RELAY, safe='')}",
            id="encoded-and-in-another-order",
        ),
        pytest.param(f"nostr+walletconnect://{NPUB}?relay={RELAY}&secret={NSEC}", id="nip-19"),
        pytest.param(
            f"nostr+walletconnect://{WALLET}?{REST}&pubkey={WALLET}",
            id="a-parameter-more",
        ),
        pytest.param(
            f"nostr+walletconnect://{WALLET}?relays={RELAY}&secret={SECRET}", id="relays"
        ),
    ],
)  # fmt: skip
def test_connection_uris_of_all_clients_are_read(text: str) -> None:
    """protocol.md 1.3: "Accept when parsing: `nostrwalletconnect:`, missing `//`, `relays=`
    comma list (Dart NDK), extra params (js-sdk writes `pubkey=`), npub/nsec (js-sdk 7)"."""
    read = uri.parse(text)

    assert (read.wallet_pubkey, read.relays, read.secret) == (WALLET, (RELAY,), SECRET)


def test_a_list_of_relays_is_read_in_order_and_each_once() -> None:
    read = uri.parse(
        f"nostr+walletconnect://{WALLET}?relays=wss://a.example/,wss://b.example"
        f"&relay=wss://c.example/&relay=wss://a.example&secret={SECRET}"
    )

    assert read.relays == ("wss://c.example", "wss://a.example", "wss://b.example")


def test_an_ipv6_address_need_not_be_encoded() -> None:
    read = uri.parse(f"nostr+walletconnect://{WALLET}?relay=ws://[::1]:7777&secret={SECRET}")

    assert read.relays == ("ws://[::1]:7777",)


def test_the_secret_is_in_no_repr() -> None:
    read = uri.parse(f"nostr+walletconnect://{WALLET}?{REST}")

    assert SECRET not in repr(read)


@pytest.mark.parametrize(
    "secret", ["", "00" * 32, "ff" * 32, "02" * 31, "0Z" * 32, "0A" * 32, NPUB, NSEC.upper()]
)
def test_a_secret_that_is_none_is_refused_and_not_told(secret: str) -> None:
    with pytest.raises(InvalidLink, match=r"^secret is not a secret key$"):
        uri.parse(f"nostr+walletconnect://{WALLET}?relay={RELAY}&secret={secret}")


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="nothing"),
        pytest.param(f"nostr+walletauth://{WALLET}?{REST}", id="scheme"),
        pytest.param(f"nostr+walletconnect://{WALLET}?secret={SECRET}", id="no-relay"),
        pytest.param(f"nostr+walletconnect://{WALLET}?relay={RELAY}", id="no-secret"),
        pytest.param(
            f"nostr+walletconnect://{WALLET}?{REST}&secret={SECRET}",
            id="two-secrets",
        ),
        pytest.param(f"nostr+walletconnect://{NSEC}?{REST}", id="nsec-as-key"),
        pytest.param(f"nostr+walletconnect://{'ff' * 32}?{REST}", id="off-curve"),
        pytest.param(f"nostr+walletconnect://{WALLET}/x?{REST}", id="a-path"),
        pytest.param(f"nostr+walletconnect://{WALLET}?{REST}#x", id="a-fragment"),
        pytest.param("nostr+walletconnect://" + "a" * 8192, id="too-long"),
    ],
)
def test_what_is_no_connection_uri(text: str) -> None:
    with pytest.raises(InvalidLink):
        uri.parse(text)


@pytest.mark.parametrize(
    "relay",
    ["http://relay.example", "wss://", "wss:relay.example", "relay.example", "wss://r:99999",
     "wss://r:0", "wss://r:port", "wss://[::1", "wss://r%20x.example/ ", "wss://r\u00e9.example"],
)  # fmt: skip
def test_what_is_no_relay(relay: str) -> None:
    with pytest.raises(InvalidLink, match="relay"):
        uri.parse(
            f"nostr+walletconnect://{WALLET}?relay={quote(relay, safe='')}&secret={SECRET}"
        )


@pytest.mark.parametrize("lud16", ["alice@example.com", "ä&b=c@example.com", None])
def test_what_is_built_is_read_here_and_by_nostr_sdk(lud16: str | None) -> None:
    """NIP-47: "`relay` Required. URL of the relay where the wallet service is connected and
    will be listening for events. May be more than one."; "`lud16` Recommended."."""
    relays = ["wss://one.example/a?b=c", "ws://[::1]:7777"]
    built = uri.build(wallet_pubkey=WALLET, relays=relays, secret=SECRET, lud16=lud16)

    read = uri.parse(built)
    assert (read.relays, read.secret, read.lud16) == (tuple(relays), SECRET, lud16)
    theirs = nostr_sdk.NostrWalletConnectUri.parse(built)
    assert [str(relay) for relay in theirs.relays()] == relays
    assert theirs.lud16() == lud16


# --- nostr+walletauth


def auth(*, scheme: str = "nostr+walletauth", **parameters: str | list[str]) -> str:
    query = urlencode({"relay": RELAY} | parameters, doseq=True, quote_via=quote)
    return f"{scheme}://{CLIENT}?{query}"


def test_the_example_of_nwc_08_is_read() -> None:
    """NWC-08: "authorization URI with protocol `nostr+walletauth://` and base path its
    hex-encoded public key"."""
    read = walletauth.parse(
        f"nostr+walletauth://{CLIENT}?relay=wss%3A%2F%2Frelay.example.com%2Fv1&state={STATE}"
    )

    assert read == WalletAuth(
        client_pubkey=CLIENT,
        wallet=None,
        relays=(RELAY,),
        state=STATE,
        request_methods=(),
        optional_request_methods=(),
        notification_types=(),
        max_amount_msat=None,
        renewal=None,
        expires_at=None,
        isolated=False,
        name=None,
        icon=None,
        return_to=None,
        metadata=None,
    )


def test_every_parameter_of_either_form_is_read() -> None:
    read = walletauth.parse(
        auth(
            scheme="nostr+walletauth+alby",
            relay=[RELAY, "wss://two.example/"],
            state=STATE,
            request_methods="pay_invoice get_balance pay_invoice",
            optional_request_methods="list_transactions",
            notification_types="payment_received payment_sent",
            max_amount="100000",
            renewal_period="monthly",
            expires_at="1900000000",
            isolated="true",
            name="Tea & Cake ☕",
            icon="https://tea.example/icon.png",
            return_to="tea:paired",
            metadata=json.dumps({"app": {"id": 7}}),
        )
    )

    assert read == WalletAuth(
        client_pubkey=CLIENT,
        wallet="alby",
        relays=(RELAY, "wss://two.example"),
        state=STATE,
        request_methods=("pay_invoice", "get_balance"),
        optional_request_methods=("list_transactions",),
        notification_types=("payment_received", "payment_sent"),
        max_amount_msat=read.max_amount_msat,
        renewal=Renewal.MONTHLY,
        expires_at=1_900_000_000,
        isolated=True,
        name="Tea & Cake ☕",
        icon="https://tea.example/icon.png",
        return_to="tea:paired",
        metadata={"app": {"id": 7}},
    )
    assert read.max_amount_msat == 100_000


def test_a_link_as_alby_writes_it_is_the_older_form() -> None:
    """js-sdk: `URLSearchParams`, with %20 for a space; no `state`."""
    read = walletauth.parse(
        f"nostr+walletauth://{CLIENT}?request_methods=pay_invoice%20get_info&name=App"
        "&budget_renewal=weekly&max_amount=1000&isolated=true"
        "&relay=wss%3A%2F%2Frelay.example.com%2Fv1"
    )

    assert read.state is None
    assert read.request_methods == ("pay_invoice", "get_info")
    assert (read.renewal, read.isolated) == (Renewal.WEEKLY, True)


def test_the_page_is_asked_with_the_same_parameters() -> None:
    """NWC-08: "`pubkey` (HTTP flow) or the base path of the URI (Nostr flow): Required"."""
    read = walletauth.parse_page(f"pubkey={CLIENT}&state={STATE}&name=Example%20App")

    assert (read.client_pubkey, read.state, read.name) == (CLIENT, STATE, "Example App")
    assert read.relays == ()


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        pytest.param({"state": "9f2c4a00" * 3}, "state is not", id="state-of-96-bits"),
        pytest.param({"state": STATE.upper()}, "state is not", id="state-in-upper-case"),
        pytest.param({"state": "x" * 32}, "state is not", id="state-not-hex"),
        pytest.param({"state": "00" * 65}, "state is not", id="state-too-long"),
        pytest.param({"state": [STATE, STATE]}, "state stands there twice", id="two-states"),
        pytest.param({"optional_request_methods": "a"}, "state is missing", id="optional"),
        pytest.param(
            {"renewal_period": "daily", "max_amount": "1"}, "state is missing", id="period"
        ),
        pytest.param({"state": ""}, "state is missing", id="empty-state"),
        pytest.param(
            {"state": STATE, "renewal_period": "daily"},
            "renewal_period is given without max_amount",
            id="period-without-amount",
        ),
        pytest.param(
            {"state": STATE, "renewal_period": "hourly", "max_amount": "1"},
            "renewal_period is not one of",
            id="unknown-period",
        ),
        pytest.param(
            {"budget_renewal": "hourly"}, "budget_renewal is not one of", id="unknown-renewal"
        ),
        pytest.param(
            {
                "state": STATE,
                "renewal_period": "daily",
                "budget_renewal": "weekly",
                "max_amount": "1",
            },
            "differ",
            id="two-periods",
        ),
        pytest.param({"max_amount": "0"}, "max_amount", id="no-amount"),
        pytest.param({"max_amount": "-1"}, "max_amount", id="negative"),
        pytest.param({"max_amount": "1.5"}, "max_amount", id="fraction"),
        pytest.param({"max_amount": "1e3"}, "max_amount", id="exponent"),
        pytest.param({"max_amount": "٣"}, "max_amount", id="arabic-digit"),
        pytest.param({"max_amount": str(MAX_MSAT + 1)}, "max_amount", id="too-much"),
        pytest.param({"max_amount": "9" * 5000}, "max_amount", id="5000-digits"),
        pytest.param({"expires_at": "tomorrow"}, "expires_at", id="expires-at-a-word"),
        pytest.param({"isolated": "1"}, "isolated", id="isolated-neither"),
        pytest.param({"request_methods": "pay-invoice"}, "request_methods", id="no-name"),
        pytest.param({"request_methods": "a,b"}, "request_methods", id="commas"),
        pytest.param({"notification_types": "x" * 65}, "notification_types", id="long-name"),
        pytest.param({"name": "a\nb"}, "name", id="name-of-two-lines"),
        pytest.param({"name": "a\u202eb"}, "name", id="name-turned-around"),
        pytest.param({"name": "a" * 1025}, "name", id="name-too-long"),
        pytest.param({"return_to": "javascript:alert(1)"}, "return_to", id="script"),
        pytest.param({"return_to": "JavaScript:alert(1)"}, "return_to", id="SCRIPT"),
        pytest.param({"return_to": "data:text/html,x"}, "return_to", id="data"),
        pytest.param({"return_to": "file:///etc/passwd"}, "return_to", id="file"),
        pytest.param({"return_to": "/relative"}, "return_to", id="no-scheme"),
        pytest.param({"return_to": "java\tscript:x"}, "return_to", id="tab"),
        pytest.param({"metadata": "[]"}, "metadata", id="metadata-a-list"),
        pytest.param({"metadata": "{"}, "metadata", id="metadata-cut-off"),
        pytest.param({"metadata": '{"a":1,"a":2}'}, "metadata", id="metadata-key-twice"),
        pytest.param({"metadata": '{"a":NaN}'}, "metadata", id="metadata-nan"),
        pytest.param({"relay": [f"{RELAY}{i}" for i in range(9)]}, "relay", id="nine-relays"),
        pytest.param({"relay": ""}, "relay", id="no-relay"),
        pytest.param({"relay": "https://r.example"}, "relay", id="not-a-web-socket"),
    ],
)  # fmt: skip
def test_what_a_client_may_not_ask(parameters: dict[str, Any], words: str) -> None:
    """NWC-08: "`state`: Required. Lowercase hex-encoded random value with at least 128 bits of
    entropy"; "`relay`: Required in the Nostr flow, repeatable"."""
    with pytest.raises(InvalidLink, match=words):
        walletauth.parse(auth(**parameters))


def test_in_the_older_form_a_renewal_without_an_amount_is_of_no_effect() -> None:
    assert walletauth.parse(auth(budget_renewal="daily")).renewal is None


def test_an_amount_without_a_renewal_never_renews() -> None:
    assert walletauth.parse(auth(max_amount="1")).renewal is Renewal.NEVER


@pytest.mark.parametrize(
    "icon", ["javascript:alert(1)", "data:image/png;base64,AA", "icon.png"]
)
def test_an_icon_that_is_no_web_url_is_left_out(icon: str) -> None:
    """NWC-08: "`name` and `icon` are client-supplied and unverified."; "Wallet services SHOULD
    present them cautiously to limit phishing"."""
    assert walletauth.parse(auth(icon=icon)).icon is None


def test_metadata_that_is_too_long_is_dropped() -> None:
    """Section 4, "metadata too long": "dropped, the request proceeds"."""
    text = json.dumps({"a": "x" * 4096})

    assert walletauth.parse(auth(metadata=text)).metadata is None


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(f"nostr+walletauth+://{CLIENT}?relay={RELAY}", id="no-name"),
        pytest.param(f"nostr+walletauth+a_b://{CLIENT}?relay={RELAY}", id="bad-name"),
        pytest.param(f"nostr+walletconnect://{CLIENT}?relay={RELAY}", id="another-scheme"),
        pytest.param(f"nostr+walletauth://{CLIENT.upper()}?relay={RELAY}", id="upper-case-key"),
        pytest.param(f"nostr+walletauth://{'ff' * 32}?relay={RELAY}", id="off-curve"),
        pytest.param(f"nostr+walletauth://?relay={RELAY}", id="no-key"),
    ],
)
def test_what_is_no_authorization_uri(text: str) -> None:
    with pytest.raises(InvalidLink):
        walletauth.parse(text)


# --- nostrnwc


@pytest.mark.parametrize(
    ("scheme", "wallet"), [("nostrnwc", None), ("nostrnwc+alby", "alby"), ("NostrNWC", None)]
)
def test_deep_links_are_read(scheme: str, wallet: str | None) -> None:
    """NWC-07: "`nostrnwc://connect` and `nostrnwc+{app_name}://connect`"."""
    link = deeplink.parse(
        f"{scheme}://connect?appicon=https%3A%2F%2Ftea.example%2Ficon.png&appname=Tea%20Time"
        "&callback=tea%3A%2F%2Fnwc"
    )

    assert (link.wallet, link.appname, link.callback) == (wallet, "Tea Time", "tea://nwc")
    assert link.appicon == "https://tea.example/icon.png"


@pytest.mark.parametrize("callback", ["tea://nwc", "tea:", "https://tea.example/?a=b%26c"])
def test_the_connection_uri_goes_back_in_the_callback(callback: str) -> None:
    """NWC-07: "All URI parameters, MUST be URI-encoded"; "`value` -- NWC pairing code"."""
    connection = uri.build(wallet_pubkey=WALLET, relays=[RELAY], secret=SECRET)
    link = deeplink.parse(f"nostrnwc://connect?callback={quote(callback, safe='')}")

    opened = link.answer(connection)

    assert opened.startswith(callback)
    assert parse_qsl(urlsplit(opened).query)[-1] == ("value", connection)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("nostrnwc://connect", id="no-callback"),
        pytest.param("nostrnwc://pair?callback=a%3A", id="not-connect"),
        pytest.param("nostr+nwc://connect?callback=a%3A", id="another-scheme"),
        pytest.param("nostrnwc://connect?callback=javascript%3Aalert(1)", id="script"),
        pytest.param("nostrnwc://connect?callback=tea%3A%23x", id="fragment"),
        pytest.param("nostrnwc://connect?callback=a%3A&callback=b%3A", id="two-callbacks"),
        pytest.param("nostrnwc://connect?callback=a%3A&appname=%0A", id="name-of-two-lines"),
    ],
)
def test_what_is_no_deep_link(text: str) -> None:
    with pytest.raises(InvalidLink):
        deeplink.parse(text)


# --- any of them


@given(st.text(), st.sampled_from(["", "?", f"{CLIENT}?", "connect?callback="]))
def test_any_text_is_read_or_refused(text: str, start: str) -> None:
    for parse, scheme in (
        (uri.parse, "nostr+walletconnect"),
        (walletauth.parse, "nostr+walletauth"),
        (deeplink.parse, "nostrnwc"),
        (parse_link, "x"),
    ):
        with contextlib.suppress(InvalidLink):
            parse(f"{scheme}://{start}{text}")


def test_a_link_holds_as_many_relays_as_a_connection() -> None:
    relays = [f"wss://r{number}.example" for number in range(MAX_RELAYS)]

    assert walletauth.parse(auth(relay=relays)).relays == tuple(relays)
