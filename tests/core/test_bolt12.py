"""BOLT12 offers: the vectors of the specification, and what they leave open."""

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nwc_service.wallet import bech32, bolt12
from nwc_service.wallet.bolt12 import InvalidOffer, Offer
from nwc_service.wallet.tlv import InvalidTlv, read_tlv, truncated_int, write_tlv
from nwc_service.wallet.units import MAX_MSAT, Msat

VECTORS = Path(__file__).parents[1] / "vectors"
OFFERS = json.loads((VECTORS / "bolt12-offers.json").read_text())
STRINGS = json.loads((VECTORS / "bolt12-format-string.json").read_text())
VALID = [vector for vector in OFFERS if vector["valid"]]
INVALID = [vector for vector in OFFERS if not vector["valid"]]

ISSUER_ID = "02eec7245d6b7d2ccb30380bfbe2a3648cd7a942653f5aa340edcea1f283686619"
POINT = bytes.fromhex(ISSUER_ID)
PATH = POINT + POINT + b"\1" + POINT + b"\0\2" + b"ab"

Vector = dict[str, Any]


def offer_of(*fields: tuple[int, bytes]) -> str:
    return text_of(write_tlv(fields))


def text_of(data: bytes) -> str:
    return "lno1" + bech32.chars_from_digits(bech32.digits_from_bytes(data))


def by_name(vectors: list[Vector]) -> list[Any]:
    return [pytest.param(vector, id=vector["description"]) for vector in vectors]


@pytest.mark.parametrize("vector", by_name(VALID))
def test_every_valid_offer_of_the_spec_is_read_field_by_field(vector: Vector) -> None:
    offer = bolt12.decode(vector["bolt12"])

    assert {
        field["type"]: field["hex"]
        for field in vector["fields"]
        if field["type"] not in (2, 12) and field["type"] < 24
    } == read_back(offer)


def read_back(offer: Offer) -> dict[int, str]:
    """What was read, as bytes again. `offer_chains` and `offer_features` are tested apart."""
    numbers = {8: offer.amount, 14: offer.expires_at, 20: offer.quantity_max}
    texts = {6: offer.currency, 10: offer.description, 18: offer.issuer}
    others = {4: offer.metadata, 16: offer.paths}
    found = {type_: text.encode() for type_, text in texts.items() if text is not None}
    found |= {
        type_: number.to_bytes(-(-number.bit_length() // 8), "big")
        for type_, number in numbers.items()
        if number is not None
    }
    found |= {type_: value for type_, value in others.items() if value is not None}
    if offer.issuer_id is not None:
        found[22] = bytes.fromhex(offer.issuer_id)
    return {type_: value.hex() for type_, value in found.items()}


@pytest.mark.parametrize("vector", by_name(INVALID))
def test_every_invalid_offer_of_the_spec_is_refused(vector: Vector) -> None:
    with pytest.raises(InvalidOffer):
        bolt12.decode(vector["bolt12"])


@pytest.mark.parametrize("number", range(len(STRINGS)))
def test_the_format_strings_of_the_spec(number: int) -> None:
    vector = STRINGS[number]
    if vector["valid"]:
        assert bolt12.decode(vector["string"]).offer == STRINGS[0]["string"]
    else:
        with pytest.raises(InvalidOffer):
            bolt12.decode(vector["string"])


@pytest.mark.parametrize(
    ("name", "networks"),
    [
        pytest.param("Minimal bolt12 offer", {"mainnet"}, id="none-named"),
        pytest.param("for testnet", {"testnet"}, id="testnet"),
        pytest.param("for bitcoin (redundant)", {"mainnet"}, id="mainnet"),
        pytest.param("for bitcoin or liquidv1", {"mainnet"}, id="one-of-two-unknown"),
    ],
)
def test_the_networks_of_an_offer(name: str, networks: set[str]) -> None:
    [vector] = [vector for vector in VALID if vector["description"] == name]

    assert bolt12.decode(vector["bolt12"]).networks == networks


def test_an_offer_for_an_unknown_chain_alone_is_on_no_network_of_ours() -> None:
    assert bolt12.decode(offer_of((2, b"\1" * 32), (22, POINT))).networks == frozenset()


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param([(2, b""), (22, POINT)], id="no-chain"),
        pytest.param([(6, b"usd"), (8, b"\1"), (10, b""), (22, POINT)], id="lower-currency"),
        pytest.param([(6, b"US"), (8, b"\1"), (10, b""), (22, POINT)], id="short-currency"),
        pytest.param([(8, b""), (10, b"tea"), (22, POINT)], id="amount-of-nothing"),
        pytest.param([(8, b"\0\1"), (10, b"tea"), (22, POINT)], id="amount-with-a-zero"),
        pytest.param([(8, b"\1" * 9), (10, b"tea"), (22, POINT)], id="amount-of-72-bits"),
        pytest.param([(8, b"\xff" * 8), (10, b"tea"), (22, POINT)], id="amount-of-all-bits"),
        pytest.param([(14, b"\0"), (22, POINT)], id="expiry-with-a-zero"),
        pytest.param([(12, b"\1"), (22, POINT)], id="feature-0"),
        pytest.param([(12, b"\x04"), (22, POINT)], id="feature-2"),
        pytest.param([(16, b""), (22, POINT)], id="no-path"),
        pytest.param([(16, PATH + b"\2"), (22, POINT)], id="a-path-cut-off"),
        pytest.param([(16, PATH[:-1]), (22, POINT)], id="a-hop-cut-off"),
        pytest.param([(22, POINT[:-1])], id="short-key"),
        pytest.param([(22, b"\4" + POINT[1:] + POINT[1:])], id="key-of-65-bytes"),
        pytest.param([(22, POINT), (22, POINT)], id="a-field-twice"),
        pytest.param([(0, b""), (22, POINT)], id="type-0"),
        pytest.param([(22, POINT), (80, b"")], id="type-80"),
        pytest.param([(22, POINT), (999_999_999, b"")], id="below-the-experimental"),
        pytest.param([(22, POINT), (24, b"")], id="unknown-even"),
    ],
)
def test_what_an_offer_may_not_hold(fields: list[tuple[int, bytes]]) -> None:
    with pytest.raises(InvalidOffer):
        bolt12.decode(offer_of(*fields))


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="nothing"),
        pytest.param("lno", id="no-separator"),
        pytest.param("lni1pg", id="another-prefix"),
        pytest.param(offer_of((22, POINT)) + "q", id="a-digit-too-many"),
        pytest.param(offer_of((22, POINT)) + "qq", id="bytes-of-type-0"),
        pytest.param(offer_of((22, POINT)) + "\n", id="newline-after"),
        pytest.param("L" + offer_of((22, POINT))[1:], id="mixed-case"),
        pytest.param("lno1" + "b" * 30, id="not-of-the-alphabet"),
        pytest.param("lno1\u0661", id="arabic-digit"),
        pytest.param("\ud800", id="lone-surrogate"),
        pytest.param("lno1" + "q" * bolt12.MAX_OFFER_LENGTH, id="too-long"),
        pytest.param(text_of(b"\xfd\x00\x16\x21" + POINT), id="type-not-minimal"),
        pytest.param(text_of(b"\x16\xfd\x00\x21" + POINT), id="length-not-minimal"),
        pytest.param(text_of(b"\x16\xff" + b"\xff" * 8 + POINT), id="length-of-64-bits"),
    ],
)
def test_text_that_is_no_offer_is_refused(text: str) -> None:
    with pytest.raises(InvalidOffer):
        bolt12.decode(text)


def test_an_amount_of_another_currency_is_no_msat() -> None:
    offer = bolt12.decode(offer_of((6, b"USD"), (8, b"\x64"), (10, b"tea"), (22, POINT)))

    assert (offer.currency, offer.amount, offer.amount_msat) == ("USD", 100, None)


@given(
    network=st.sampled_from(["mainnet", "testnet", "signet", "regtest"]),
    amount_msat=st.none() | st.integers(1, MAX_MSAT).map(Msat),
    description=st.text(max_size=40),
    expires_at=st.none() | st.integers(0, 2**64 - 1),
    quantity_max=st.none() | st.integers(0, 2**64 - 1),
    issuer=st.none() | st.text(max_size=40),
    metadata=st.none() | st.binary(max_size=300),
)
def test_what_is_written_is_read(network: Any, amount_msat: Msat | None, **fields: Any) -> None:
    text = bolt12.encode(
        network=network, amount_msat=amount_msat, paths=PATH, issuer_id=ISSUER_ID, **fields
    )

    offer = bolt12.decode(text)
    read = {name: getattr(offer, name) for name in fields}
    assert read == fields
    assert (list(offer.networks), offer.amount_msat) == ([network], amount_msat)
    assert (offer.offer, offer.paths, offer.issuer_id) == (text, PATH, ISSUER_ID)


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({}, id="nobody-to-ask"),
        pytest.param({"amount_msat": 1, "issuer_id": ISSUER_ID}, id="amount-for-nothing"),
        pytest.param({"issuer_id": "xx"}, id="key-not-hex"),
        pytest.param({"issuer_id": ISSUER_ID, "expires_at": -1}, id="negative"),
        pytest.param({"issuer_id": ISSUER_ID, "quantity_max": 2**64}, id="65-bits"),
        pytest.param({"issuer_id": ISSUER_ID, "description": "\ud800"}, id="no-utf-8"),
    ],
)
def test_what_could_not_be_read_is_not_written(fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidOffer):
        bolt12.encode(network="mainnet", **fields)


@pytest.mark.parametrize(
    ("stream", "root"),
    [
        ("010203e8", "b013756c8fee86503a0b4abdab4cddeb1af5d344ca6fc2fa8b6c08938caa6f93"),
        (
            "010203e802080000010000020003",
            "c3774abbf4815aa54ccaa026bff6581f01f3be5fe814c620a252534f434bc0d1",
        ),
        (
            (
                "010203e80208000001000002000303310266e4598d1d3c415f572a8488830b60f7e744ed9235eb"
                "0b1ba93283b315c0351800000000000000010000000000000002"
            ),
            "ab2e79b1283b0b31e0b035258de23782df6b89a38cfa7237bde69aed1a658c5d",
        ),
        (
            (
                "0008000000000000000006035553440801640a1741204d617468656d61746963616c2054726561"
                "74697365162102eec7245d6b7d2ccb30380bfbe2a3648cd7a942653f5aa340edcea1f283686619"
                "58210324653eac434488002cc06bbfb7f10fe18991e35f9fe4302dbea6d2353dc0ab1c"
            ),
            "608407c18ad9a94d9ea2bcdbe170b6c20c462a7833a197621c916f78cf18e624",
        ),
    ],
    ids=["one", "two", "three", "six"],
)
def test_the_merkle_roots_of_the_spec(stream: str, root: str) -> None:
    """bolt12/signature-test.json."""
    assert bolt12.merkle_root(read_tlv(bytes.fromhex(stream))).hex() == root


def test_the_id_does_not_go_by_how_the_offer_is_written() -> None:
    text = STRINGS[0]["string"]

    assert bolt12.offer_id(bolt12.decode(text)) == bolt12.offer_id(bolt12.decode(text.upper()))
    assert bolt12.offer_id(bolt12.decode(text)) != bolt12.offer_id(
        bolt12.decode(VALID[0]["bolt12"])
    )


@given(st.binary(max_size=300))
def test_any_bytes_are_an_offer_or_refused(data: bytes) -> None:
    with contextlib.suppress(InvalidOffer):
        assert bolt12.decode(text_of(data)).offer == text_of(data)


@given(st.text())
def test_any_text_is_an_offer_or_refused(text: str) -> None:
    with contextlib.suppress(InvalidOffer):
        bolt12.decode(text)


@given(st.dictionaries(st.integers(0, 2**64 - 1), st.binary(max_size=300), max_size=5))
def test_a_stream_that_is_written_is_read(fields: dict[int, bytes]) -> None:
    ordered = sorted(fields.items())

    assert [(r.type, r.value) for r in read_tlv(write_tlv(ordered))] == ordered


@given(st.binary(max_size=100))
def test_a_stream_has_one_form_only(data: bytes) -> None:
    with contextlib.suppress(InvalidTlv):
        assert write_tlv((r.type, r.value) for r in read_tlv(data)) == data


@pytest.mark.parametrize("value", [b"\0", b"\0\1", b"\1" * 9])
def test_a_number_has_one_form_only(value: bytes) -> None:
    with pytest.raises(InvalidTlv):
        truncated_int(value)
