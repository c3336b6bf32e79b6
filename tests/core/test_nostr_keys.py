import copy
import csv
import pickle
from pathlib import Path

import coincurve
import nostr_sdk
import pynostr.key
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pynostr import bech32

from nwc_service.nostr.keys import (
    InvalidKey,
    Keypair,
    PublicKey,
    npub,
    parse_public_key,
    public_key_from_npub,
    verify,
)

CURVE_ORDER = int("fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141", 16)
GENERATOR_X = "79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798"

secrets = st.integers(1, CURVE_ORDER - 1).map(lambda number: number.to_bytes(32, "big"))


def bip340_rows() -> list[dict[str, str]]:
    path = Path(__file__).parent.parent / "vectors" / "bip340.csv"
    with path.open(newline="") as file:
        # Rows of other message lengths do not apply: Nostr signs 32-byte ids only.
        return [row for row in csv.DictReader(file) if len(row["message"]) == 64]


ROWS = bip340_rows()
SIGNING_ROWS = [row for row in ROWS if row["secret key"]]


def row_id(row: dict[str, str]) -> str:
    return f"row-{row['index']}"


def test_the_vector_file_is_read_whole() -> None:
    assert [int(row["index"]) for row in ROWS] == list(range(15))
    assert len(SIGNING_ROWS) == 4


@pytest.mark.parametrize("row", ROWS, ids=row_id)
def test_verify_gives_the_bip340_result(row: dict[str, str]) -> None:
    result = verify(
        PublicKey(row["public key"].lower()),
        bytes.fromhex(row["message"]),
        signature=bytes.fromhex(row["signature"]),
    )

    assert result is (row["verification result"] == "TRUE")


@pytest.mark.parametrize("row", SIGNING_ROWS, ids=row_id)
def test_sign_gives_the_bip340_signature(row: dict[str, str]) -> None:
    keypair = Keypair(bytes.fromhex(row["secret key"]))

    signature = keypair.sign(bytes.fromhex(row["message"]), aux=bytes.fromhex(row["aux_rand"]))

    assert signature.hex() == row["signature"].lower()
    assert keypair.public_key == row["public key"].lower()


@given(
    secret=secrets,
    message=st.binary(min_size=32, max_size=32),
    aux=st.binary(min_size=32, max_size=32),
)
def test_another_library_makes_the_same_signature(
    secret: bytes, message: bytes, aux: bytes
) -> None:
    keypair = Keypair(secret)

    signature = keypair.sign(message, aux=aux)

    assert signature == coincurve.PrivateKey(secret).sign_schnorr(message, aux)
    assert verify(keypair.public_key, message, signature=signature)


@given(secret=secrets)
def test_public_key_is_that_of_nostr_sdk(secret: bytes) -> None:
    keypair = Keypair(secret)

    assert keypair.public_key == nostr_sdk.Keys.parse(secret.hex()).public_key().to_hex()


@given(mine=secrets, theirs=secrets)
def test_shared_x_is_the_same_from_both_sides_and_for_pynostr(
    mine: bytes, theirs: bytes
) -> None:
    my_keypair, their_keypair = Keypair(mine), Keypair(theirs)

    shared_x = my_keypair.shared_x(their_keypair.public_key)

    assert shared_x == their_keypair.shared_x(my_keypair.public_key)
    assert shared_x == pynostr.key.PrivateKey(mine).compute_shared_secret(
        their_keypair.public_key
    )


@pytest.mark.parametrize(
    "secret",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\x01", id="short"),
        pytest.param(b"\x01" * 31, id="one-short"),
        pytest.param(b"\x01" * 33, id="one-long"),
        pytest.param(bytes(32), id="zero"),
        pytest.param(CURVE_ORDER.to_bytes(32, "big"), id="order"),
        pytest.param(b"\xff" * 32, id="above-order"),
    ],
)
def test_a_bad_secret_is_refused(secret: bytes) -> None:
    with pytest.raises(InvalidKey):
        Keypair(secret)


@pytest.mark.parametrize("number", [1, CURVE_ORDER - 1], ids=["one", "order-minus-one"])
def test_the_outermost_secrets_are_accepted(number: int) -> None:
    keypair = Keypair(number.to_bytes(32, "big"))

    assert keypair.public_key == GENERATOR_X


BAD_PUBLIC_KEYS = [
    pytest.param("", id="empty"),
    pytest.param(GENERATOR_X[:-1], id="63-digits"),
    pytest.param(GENERATOR_X + "0", id="65-digits"),
    pytest.param(GENERATOR_X[:-2], id="31-bytes"),
    pytest.param(GENERATOR_X.upper(), id="upper-case"),
    pytest.param(GENERATOR_X + "\n", id="newline"),
    pytest.param(" " + GENERATOR_X[1:], id="space"),
    pytest.param("٣" * 64, id="other-digits"),
    pytest.param("g" * 64, id="not-hex"),
    pytest.param("02" + GENERATOR_X, id="compressed"),
    pytest.param("0" * 64, id="zero"),
    pytest.param("f" * 64, id="above-the-field"),
    pytest.param("1234567890abcdef" * 4, id="not-on-the-curve"),
]


@pytest.mark.attack("A30")
@pytest.mark.parametrize("text", BAD_PUBLIC_KEYS)
def test_a_bad_public_key_is_refused_everywhere(text: str) -> None:
    keypair = Keypair(b"\x01" * 32)

    with pytest.raises(InvalidKey):
        parse_public_key(text)
    with pytest.raises(InvalidKey):
        keypair.shared_x(PublicKey(text))
    assert not verify(PublicKey(text), bytes(32), signature=bytes(64))


def test_a_good_public_key_is_returned_as_it_is() -> None:
    assert parse_public_key(GENERATOR_X) == GENERATOR_X


@pytest.mark.parametrize(
    ("message_size", "signature_size"), [(31, 64), (33, 64), (32, 63), (32, 65), (0, 0)]
)
def test_verify_is_false_for_wrong_lengths(message_size: int, signature_size: int) -> None:
    keypair = Keypair(b"\x01" * 32)
    message = bytes(32)
    signature = keypair.sign(message, aux=bytes(32))

    result = verify(
        keypair.public_key,
        message.ljust(message_size, b"\0")[:message_size],
        signature=signature.ljust(signature_size, b"\0")[:signature_size],
    )

    assert not result


@pytest.mark.parametrize(("message_size", "aux_size"), [(31, 32), (33, 32), (32, 31), (32, 0)])
def test_sign_refuses_wrong_lengths(message_size: int, aux_size: int) -> None:
    keypair = Keypair(b"\x01" * 32)

    with pytest.raises(ValueError, match="32 bytes"):
        keypair.sign(bytes(message_size), aux=bytes(aux_size))


@given(secret=secrets, position=st.integers(0, 32 + 64 - 1), flip=st.integers(1, 255))
def test_any_changed_byte_breaks_a_signature(secret: bytes, position: int, flip: int) -> None:
    keypair = Keypair(secret)
    message = bytes(range(32))
    both = bytearray(message + keypair.sign(message, aux=bytes(32)))

    both[position] ^= flip

    assert not verify(keypair.public_key, bytes(both[:32]), signature=bytes(both[32:]))


@pytest.mark.attack("A31")
def test_a_secret_is_never_shown_copied_or_pickled() -> None:
    secret = bytes(range(1, 33))
    keypair = Keypair(secret)

    shown = repr(keypair) + str(keypair)

    assert secret.hex() not in shown
    assert repr(secret) not in shown
    with pytest.raises(TypeError):
        copy.deepcopy(keypair)
    with pytest.raises(TypeError):
        pickle.dumps(keypair)


@given(secret=secrets)
def test_npub_is_that_of_nostr_sdk_and_reads_back(secret: bytes) -> None:
    public_key = Keypair(secret).public_key

    text = npub(public_key)

    assert text == nostr_sdk.PublicKey.parse(public_key).to_bech32()
    assert public_key_from_npub(text) == public_key


def test_npub_is_the_one_of_nip19() -> None:
    public_key = PublicKey("7e7e9c42a91bfef19fa929e5fda1b72e0ebc1a4c1141673e2794234d86addf4e")

    assert npub(public_key) == "npub10elfcs4fr0l0r8af98jlmgdh9c8tcxjvz9qkw038js35mp4dma8qzvjptg"


def nsec_of(secret: bytes) -> str:
    return str(nostr_sdk.Keys.parse(secret.hex()).secret_key().to_bech32())


A_NPUB = "npub10elfcs4fr0l0r8af98jlmgdh9c8tcxjvz9qkw038js35mp4dma8qzvjptg"


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param(nsec_of(b"\x01" * 32), id="nsec"),
        pytest.param(A_NPUB[:-1] + "q", id="checksum"),
        pytest.param(A_NPUB[:-1], id="cut"),
        pytest.param(A_NPUB + " ", id="space"),
        pytest.param(A_NPUB[:10].upper() + A_NPUB[10:], id="mixed-case"),
        pytest.param("npub1", id="only-prefix"),
        pytest.param(GENERATOR_X, id="hex"),
        pytest.param("ñ" * 63, id="not-ascii"),
        pytest.param("npub1" + "q" * 100_000, id="huge"),
    ],
)
def test_what_is_no_npub_is_refused(text: str) -> None:
    with pytest.raises(InvalidKey):
        public_key_from_npub(text)


def encoded(raw: bytes, *, bech32m: bool = False, padding_bits: int = 0) -> str:
    words = bech32.convertbits(raw, 8, 5)
    words[-1] |= padding_bits
    encoding = bech32.Encoding.BECH32M if bech32m else bech32.Encoding.BECH32
    return str(bech32.bech32_encode("npub", words, encoding))


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(encoded(bytes.fromhex(GENERATOR_X)[:31]), id="31-bytes"),
        pytest.param(encoded(bytes.fromhex(GENERATOR_X) + b"\0"), id="33-bytes"),
        pytest.param(encoded(b"\xff" * 32), id="off-curve"),
        pytest.param(encoded(bytes.fromhex(GENERATOR_X), bech32m=True), id="bech32m"),
        pytest.param(encoded(bytes.fromhex(GENERATOR_X), padding_bits=1), id="padding-bits"),
    ],
)
def test_an_npub_of_a_right_checksum_but_no_key_is_refused(text: str) -> None:
    assert public_key_from_npub(encoded(bytes.fromhex(GENERATOR_X))) == GENERATOR_X

    with pytest.raises(InvalidKey):
        public_key_from_npub(text)


@given(text=st.text())
def test_no_text_makes_the_key_parsers_fail_otherwise(text: str) -> None:
    for parse in (parse_public_key, public_key_from_npub):
        with pytest.raises(InvalidKey):
            parse(text)
