"""Connection URIs, as nostr-sdk reads them."""

import re

import nostr_sdk
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nwc_service.nip47 import uri
from nwc_service.nostr.keys import Keypair

PUBKEY = Keypair(b"\x01" * 32).public_key
SECRET = "02" * 32


@pytest.mark.parametrize(
    ("relays", "read"),
    [
        pytest.param(["ws://127.0.0.1:7777"], ["ws://127.0.0.1:7777"], id="one"),
        pytest.param(
            ["wss://relay.example/nwc"], ["wss://relay.example/nwc"], id="with-a-path"
        ),
        pytest.param(["wss://r.example/"], ["wss://r.example"], id="a-slash-goes"),
        pytest.param(["ws://[::1]:7777"], ["ws://[::1]:7777"], id="ipv6"),
        pytest.param(
            ["wss://r.example/a?b=c&d=%20#e"], ["wss://r.example/a?b=c&d=%20#e"], id="escaped"
        ),
        pytest.param(
            ["wss://one.example", "wss://two.example"],
            ["wss://one.example", "wss://two.example"],
            id="two-in-order",
        ),
    ],
)
def test_nostr_sdk_reads_the_uri(relays: list[str], read: list[str]) -> None:
    built = uri.build(wallet_pubkey=PUBKEY, relays=relays, secret=SECRET)

    parsed = nostr_sdk.NostrWalletConnectUri.parse(built)
    assert parsed.public_key().to_hex() == PUBKEY
    assert parsed.secret().to_hex() == SECRET
    assert [str(relay) for relay in parsed.relays()] == read


@given(st.lists(st.text(min_size=1).map(lambda path: f"wss://r.example/{path}"), min_size=1))
def test_a_relay_never_breaks_out_of_its_parameter(relays: list[str]) -> None:
    built = uri.build(wallet_pubkey=PUBKEY, relays=relays, secret=SECRET)

    parameter = r"relay=[A-Za-z0-9%_.~-]+&"
    assert re.fullmatch(
        rf"nostr\+walletconnect://{PUBKEY}\?({parameter}){{{len(relays)}}}secret={SECRET}",
        built,
    )
