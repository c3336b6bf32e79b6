"""What a payer of a Lightning address may ask, and what his invoice commits to."""

import json
from collections.abc import Mapping
from hashlib import sha256

import pytest

from nwc_service.lnurl import names, zap
from nwc_service.lnurl.pay import MAX_COMMENT_CHARACTERS, InvalidAsk, Terms, parse_ask
from nwc_service.nostr.event import Event, is_authentic, sign_event
from nwc_service.nostr.keys import Keypair
from nwc_service.wallet.units import MAX_MSAT, Msat, Preimage

PAYER = Keypair(b"\x61" * 32)
SIGNER = Keypair(b"\x62" * 32)
RECIPIENT = "63" * 32
RELAY = "wss://relay.example.org"
AUX = bytes(32)
AMOUNT_MSAT = 21_000

TERMS = Terms(
    name="alice",
    domain="example.org",
    callback="https://example.org/lnurlp/alice/callback",
    min_msat=Msat(1000),
    max_msat=Msat(1_000_000),
    whole_sats=False,
    nostr_pubkey=SIGNER.public_key,
)


def zap_request(
    *tags: tuple[str, ...], kind: int = 9734, without: str = "", content: str = "thanks"
) -> Event:
    plain = [("p", RECIPIENT), ("relays", RELAY), ("amount", str(AMOUNT_MSAT))]
    kept = [tag for tag in plain if tag[0] != without]
    return sign_event(
        PAYER, kind=kind, content=content, tags=[*kept, *tags], created_at=1, aux=AUX
    )


def asked(**query: str) -> Mapping[str, str]:
    return {"amount": str(AMOUNT_MSAT), **query}


def hash_of(text: str) -> str:
    return sha256(text.encode()).hexdigest()


# --- names


@pytest.mark.parametrize("name", ["a", "alice", "alice_b", "a.b-c", "0", "_", "a" * 64])
def test_a_name_is_of_the_characters_that_lud16_has(name: str) -> None:
    assert names.checked(name) == name


@pytest.mark.parametrize(
    "name",
    ["", "Alice", "a b", "a@b", "alice+tag", ".a", "a.", "a..b", "-a", "é", "a\n", "a" * 65],
)
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(names.InvalidName):
        names.checked(name)


@pytest.mark.parametrize("name", ["admin", "postmaster", "security"])
def test_a_name_that_speaks_for_the_domain_is_reserved(name: str) -> None:
    with pytest.raises(names.InvalidName, match="reserved"):
        names.checked(name)


# --- what is asked


def test_an_invoice_commits_to_the_metadata_that_was_shown() -> None:
    shown = TERMS.answer()["metadata"]
    ask = parse_ask(TERMS, asked())

    assert ask.amount_msat == AMOUNT_MSAT
    assert ask.description_hash == hash_of(str(shown))
    assert ["text/identifier", "alice@example.org"] in json.loads(str(shown))


def test_what_the_payer_says_of_himself_is_committed_to_byte_by_byte() -> None:
    raw = '{ "name":"Bob",  "email":"bob@example.org", "auth":{"k1":"00"} }'

    ask = parse_ask(TERMS, asked(payerdata=raw, comment="hello"))

    assert ask.description_hash == hash_of(TERMS.metadata + raw)
    assert json.loads(ask.metadata or "") == {
        "comment": "hello",
        "payer_data": {"name": "Bob", "email": "bob@example.org"},
    }


@pytest.mark.parametrize(
    "amount",
    ["", "0", "-1", "1.5", "1e4", " 21000", "٢١٠٠٠", "999", "1000001", "9" * 30],
)
def test_an_amount_that_is_not_offered_is_refused(amount: str) -> None:
    with pytest.raises(InvalidAsk, match="amount"):
        parse_ask(TERMS, {"amount": amount})


def test_no_amount_is_refused() -> None:
    with pytest.raises(InvalidAsk, match="amount"):
        parse_ask(TERMS, {})


def test_a_limit_beyond_all_bitcoin_lets_no_more_through() -> None:
    wide = Terms(
        **{f: getattr(TERMS, f) for f in TERMS.__slots__} | {"max_msat": Msat(2 * MAX_MSAT)}
    )

    with pytest.raises(InvalidAsk, match="amount"):
        parse_ask(wide, {"amount": str(MAX_MSAT + 1)})


def test_where_the_node_makes_whole_sats_only_others_are_refused() -> None:
    whole = Terms(**{f: getattr(TERMS, f) for f in TERMS.__slots__} | {"whole_sats": True})

    with pytest.raises(InvalidAsk, match="whole sats"):
        parse_ask(whole, {"amount": "1001"})


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ({"comment": "x" * (MAX_COMMENT_CHARACTERS + 1)}, "comment"),
        ({"payerdata": "[]"}, "payerdata"),
        ({"payerdata": '{"name": "a", "name": "b"}'}, "payerdata"),
        ({"payerdata": '{"name": 1}'}, "payerdata"),
        ({"payerdata": '{"pubkey": "zz"}'}, "payerdata"),
        ({"payerdata": '{"name": "' + "x" * 1000 + '"}'}, "payerdata"),
        ({"payerdata": "[" * 900}, "payerdata"),
        ({"nostr": "{}"}, "nostr"),
        ({"nostr": "x" * 6000}, "nostr"),
        ({"nostr": zap_request().to_json(), "payerdata": "{}"}, "only one"),
    ],
)
def test_what_is_malformed_is_refused(query: dict[str, str], says: str) -> None:
    with pytest.raises(InvalidAsk, match=says):
        parse_ask(TERMS, asked(**query))


# --- zaps


def test_an_invoice_of_a_zap_commits_to_its_request() -> None:
    raw = zap_request().to_json()

    ask = parse_ask(TERMS, asked(nostr=raw))

    assert ask.description_hash == hash_of(raw)
    assert ask.zap is not None
    assert ask.zap.relays == (RELAY,)
    assert json.loads(ask.metadata or "")["nostr"] == json.loads(raw)


@pytest.mark.parametrize(
    "event",
    [
        pytest.param(zap_request(kind=1), id="another-kind"),
        pytest.param(zap_request(without="p"), id="to-nobody"),
        pytest.param(zap_request(("p", RECIPIENT)), id="to-two"),
        pytest.param(zap_request(("p", "zz"), without="p"), id="to-no-key"),
        pytest.param(zap_request(("e", "aa" * 32), ("e", "bb" * 32)), id="two-events"),
        pytest.param(zap_request(("e", "zz")), id="no-event-id"),
        pytest.param(zap_request(("a", "nowhere")), id="no-coordinate"),
        pytest.param(zap_request(("P", RECIPIENT)), id="another-signer"),
        pytest.param(zap_request(without="relays"), id="no-relay"),
        pytest.param(zap_request(("relays", "http://a"), without="relays"), id="no-ws"),
        pytest.param(zap_request(("amount", "1"), without="amount"), id="another-amount"),
        pytest.param(zap_request(("amount",), without="amount"), id="no-amount-in-it"),
    ],
)
def test_a_zap_request_that_nip57_refuses_is_refused(event: Event) -> None:
    with pytest.raises(zap.InvalidZap):
        zap.parse_zap_request(
            event.to_json(), amount_msat=Msat(AMOUNT_MSAT), signer=SIGNER.public_key
        )


def test_a_zap_request_that_its_author_did_not_sign_is_refused() -> None:
    changed = zap_request().to_json().replace("thanks", "thankz")

    with pytest.raises(zap.InvalidZap, match="signature"):
        zap.parse_zap_request(changed, amount_msat=Msat(AMOUNT_MSAT), signer=SIGNER.public_key)


def test_a_receipt_goes_to_a_few_relays_and_to_each_once() -> None:
    named = [f"wss://r{number}.example.org" for number in range(20)]
    odd = ["wss://user@r.example.org", "wss://[", "ws://", "file:///etc", "wss://a b"]
    event = zap_request(("relays", *odd, named[0] + "/", *named), without="relays")

    found = zap.parse_zap_request(
        event.to_json(), amount_msat=Msat(AMOUNT_MSAT), signer=SIGNER.public_key
    )

    assert found.relays == tuple(named[: zap.MAX_RELAYS])


def test_a_receipt_proves_what_was_paid_and_for_whom() -> None:
    raw = zap_request(("e", "aa" * 32), ("a", f"30023:{RECIPIENT}:x"), ("k", "1")).to_json()

    def receipt(aux: bytes) -> Event:
        return zap.receipt(
            SIGNER, raw, invoice="lnbc1", preimage=Preimage("77" * 32), settled_at=9, aux=aux
        )

    made = receipt(AUX)
    assert is_authentic(made)
    assert (made.kind, made.pubkey, made.created_at, made.content) == (
        9735,
        SIGNER.public_key,
        9,
        "",
    )
    assert sorted(made.tags) == sorted(
        [
            ("p", RECIPIENT),
            ("e", "aa" * 32),
            ("a", f"30023:{RECIPIENT}:x"),
            ("k", "1"),
            ("P", PAYER.public_key),
            ("bolt11", "lnbc1"),
            ("description", raw),
            ("preimage", "77" * 32),
        ]
    )
    assert receipt(b"\x01" * 32).id == made.id
