"""BOLT11: the vectors of the spec, and that what is written is read again."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from coincurve import PrivateKey, PublicKey
from hypothesis import given
from hypothesis import strategies as st

from nwc_service.wallet import bolt11
from nwc_service.wallet.bolt11 import InvalidInvoice
from nwc_service.wallet.units import MAX_MSAT, Msat, PaymentHash
from tests.core.bolt11_forge import (
    CHARSET,
    CREATED_AT,
    HASH,
    KEY,
    PAYEE,
    SECRET,
    YEAR_S,
    D,
    P,
    S,
    invoice_of,
    number,
)

VECTORS = json.loads(
    (Path(__file__).parents[1] / "vectors" / "bolt11.json").read_text(encoding="utf-8")
)
SPEC_PAYEE = "03e7156ae33b0a208d0744199163177e909e80176e55d97a2f221ede0f934dd9ad"
SPEC_HASH = PaymentHash("0001020304050607080900010203040506070809000102030405060708090102")


@pytest.mark.parametrize("vector", [pytest.param(v, id=v["case"]) for v in VECTORS["valid"]])
def test_every_valid_example_of_the_spec_is_read(vector: dict[str, str]) -> None:
    decoded = bolt11.decode(vector["invoice"])

    assert decoded.payee == SPEC_PAYEE
    assert decoded.payment_secret == "11" * 32
    assert decoded.invoice == vector["invoice"].lower()
    assert decoded.created_at in (1_496_314_658, 1_572_468_703)


@pytest.mark.attack("A5")
@pytest.mark.parametrize(
    "vector",
    [pytest.param(v, id=v["case"]) for v in VECTORS["invalid"]],
)
def test_every_invalid_example_of_the_spec_is_refused(vector: dict[str, str]) -> None:
    with pytest.raises(InvalidInvoice):
        bolt11.decode(vector["invoice"])


@pytest.mark.parametrize(
    ("index", "expected"),
    [
        pytest.param(0, (None, SPEC_HASH, 3600, 18), id="donation"),
        pytest.param(1, (250_000_000, SPEC_HASH, 60, 18), id="coffee"),
        pytest.param(3, (2_000_000_000, SPEC_HASH, 3600, 18), id="hashed-description"),
        pytest.param(
            10,
            (
                967_878_534,
                "462264ede7e14047e9b249da94fefc47f41f7d02ee9b091815a5506bc8abf75f",
                604_800,
                10,
            ),
            id="pico-bitcoin",
        ),
    ],
)
def test_the_fields_of_the_examples_have_the_values_of_the_spec(
    index: int, expected: tuple[int | None, str, int, int]
) -> None:
    decoded = bolt11.decode(VECTORS["valid"][index]["invoice"])

    assert expected == (
        decoded.amount_msat,
        decoded.payment_hash,
        decoded.expiry_s,
        decoded.min_final_cltv_delta,
    )


def test_a_description_or_its_hash_is_read() -> None:
    plain = bolt11.decode(VECTORS["valid"][2]["invoice"])
    hashed = bolt11.decode(VECTORS["valid"][3]["invoice"])

    assert (plain.description, plain.description_hash) == ("ナンセンス 1杯", None)
    assert (hashed.description, hashed.description_hash) == (
        None,
        "3925b6f67e2c340036ed12093dd44e0368df1b6ea26c53dbe4811f58fd5db8c1",
    )


def encoded(
    *,
    amount_msat: int | None = 1000,
    payment_hash: str = HASH,
    payment_secret: str = SECRET,
    description: str | None = "tea",
    description_hash: str | None = None,
    created_at: int = CREATED_AT,
    expiry_s: int = 3600,
    min_final_cltv_delta: int = 18,
) -> str:
    return bolt11.encode(
        network="regtest",
        amount_msat=None if amount_msat is None else Msat(amount_msat),
        payment_hash=PaymentHash(payment_hash),
        payment_secret=payment_secret,
        description=description,
        description_hash=description_hash,
        created_at=created_at,
        expiry_s=expiry_s,
        min_final_cltv_delta=min_final_cltv_delta,
        secret_key=KEY.secret,
    )


def test_the_same_arguments_give_the_same_invoice() -> None:
    assert encoded() == encoded()


@pytest.mark.attack("A5")
def test_the_checksum_and_the_signature_are_those_of_an_independent_writer() -> None:
    features = number(1 << 14 | 1 << 8)
    fields = [S, P, D, ("x", number(3600)), ("c", number(18)), ("9", features)]

    assert encoded() == invoice_of(fields, prefix="lnbcrt10n")


@pytest.mark.parametrize(
    ("amount_msat", "prefix"),
    [
        (None, "lnbcrt1p"),
        (1, "lnbcrt10p1p"),
        (100, "lnbcrt1n1p"),
        (101, "lnbcrt1010p1p"),
        (250_000_000, "lnbcrt2500u1p"),
        (2_000_000_000, "lnbcrt20m1p"),
        (MAX_MSAT, "lnbcrt210000001p"),
    ],
)
def test_an_amount_is_written_in_its_shortest_form(
    amount_msat: int | None, prefix: str
) -> None:
    assert encoded(amount_msat=amount_msat).startswith(prefix)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"amount_msat": 0}, id="no-money"),
        pytest.param({"amount_msat": -1}, id="negative"),
        pytest.param({"amount_msat": MAX_MSAT + 1}, id="more-than-all-bitcoin"),
        pytest.param({"amount_msat": MAX_MSAT - 1}, id="twenty-digits-needed"),
        pytest.param({"payment_hash": "ab" * 31}, id="short-hash"),
        pytest.param({"payment_hash": "zz" * 32}, id="hash-not-hex"),
        pytest.param({"payment_secret": ""}, id="no-secret"),
        pytest.param({"description": None}, id="neither-description-nor-hash"),
        pytest.param({"description_hash": "11" * 32}, id="both-description-and-hash"),
        pytest.param({"description": "x" * 640}, id="long-description"),
        pytest.param({"description": "é" * 320}, id="long-description-in-bytes"),
        pytest.param({"description": "\ud800"}, id="lone-surrogate"),
        pytest.param({"created_at": 1 << 35}, id="time-of-36-bits"),
        pytest.param({"created_at": -1}, id="time-before-1970"),
        pytest.param({"expiry_s": YEAR_S + 1}, id="expiry-beyond-a-year"),
        pytest.param({"expiry_s": -1}, id="negative-expiry"),
        pytest.param({"min_final_cltv_delta": 1 << 20}, id="final-cltv"),
    ],
)
def test_what_an_invoice_cannot_hold_is_not_written(change: dict[str, object]) -> None:
    with pytest.raises(InvalidInvoice):
        encoded(**change)  # type: ignore[arg-type]


hashes = st.binary(min_size=32, max_size=32).map(bytes.hex)
descriptions = st.text(st.characters(codec="utf-8"), max_size=159)


@given(
    amount_msat=st.none() | st.integers(1, 10**18 - 1),
    payment_hash=hashes,
    payment_secret=hashes,
    description=st.none() | descriptions,
    created_at=st.integers(0, (1 << 35) - 1),
    expiry_s=st.integers(0, YEAR_S),
    min_final_cltv_delta=st.integers(0, bolt11.MAX_FINAL_CLTV_DELTA),
)
def test_what_is_written_is_read_again(
    amount_msat: int | None,
    payment_hash: str,
    payment_secret: str,
    description: str | None,
    created_at: int,
    expiry_s: int,
    min_final_cltv_delta: int,
) -> None:
    expected = bolt11.Bolt11(
        invoice="",
        network="regtest",
        amount_msat=None if amount_msat is None else Msat(amount_msat),
        payment_hash=PaymentHash(payment_hash),
        payment_secret=payment_secret,
        payee=PAYEE.hex(),
        description=description,
        description_hash="22" * 32 if description is None else None,
        created_at=created_at,
        expiry_s=expiry_s,
        min_final_cltv_delta=min_final_cltv_delta,
    )

    text = encoded(
        amount_msat=amount_msat,
        payment_hash=payment_hash,
        payment_secret=payment_secret,
        description=description,
        description_hash=expected.description_hash,
        created_at=created_at,
        expiry_s=expiry_s,
        min_final_cltv_delta=min_final_cltv_delta,
    )

    assert bolt11.decode(text) == bolt11.decode(text.upper()) == replace(expected, invoice=text)
    assert expected.expires_at == created_at + expiry_s


@given(st.data())
def test_one_changed_character_is_noticed(data: st.DataObject) -> None:
    text = encoded()
    position = data.draw(st.integers(0, len(text) - 1))
    char = data.draw(st.sampled_from(CHARSET).filter(lambda char: char != text[position]))

    with pytest.raises(InvalidInvoice):
        bolt11.decode(text[:position] + char + text[position + 1 :])


def test_the_payee_is_who_signed() -> None:
    other = PrivateKey(b"\x08" * 32)

    text = bolt11.encode(
        network="mainnet",
        amount_msat=None,
        payment_hash=HASH,
        payment_secret=SECRET,
        description="",
        created_at=CREATED_AT,
        expiry_s=60,
        secret_key=other.secret,
    )

    assert PublicKey(bytes.fromhex(bolt11.decode(text).payee)) == other.public_key
