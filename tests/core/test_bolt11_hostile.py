"""BOLT11: what two readers could understand differently is refused, with one kind of error."""

import contextlib
import time
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nwc_service.wallet import bolt11
from nwc_service.wallet.bolt11 import InvalidInvoice
from nwc_service.wallet.units import MAX_MSAT
from tests.core.bolt11_forge import (
    CHARSET,
    GOOD,
    HASH,
    PAYEE,
    YEAR_S,
    D,
    Field,
    H,
    N,
    P,
    S,
    Words,
    invoice_of,
    number,
    sealed,
    words,
)


def with_last_bit_set(field: Field) -> Field:
    tag, content = field
    return tag, [*content[:-1], content[-1] | 1]


@pytest.mark.attack("A5")
@pytest.mark.parametrize(
    ("prefix", "amount_msat"),
    [
        pytest.param("lnbcrt", None, id="no-amount"),
        pytest.param("lnbcrt1", 100_000_000_000, id="bitcoin"),
        pytest.param("lnbcrt1m", 100_000_000, id="milli"),
        pytest.param("lnbcrt1u", 100_000, id="micro"),
        pytest.param("lnbcrt1n", 100, id="nano"),
        pytest.param("lnbcrt10p", 1, id="pico"),
        pytest.param("lnbcrt21000000", MAX_MSAT, id="all-bitcoin"),
    ],
)
def test_amounts(prefix: str, amount_msat: int | None) -> None:
    assert bolt11.decode(invoice_of(GOOD, prefix=prefix)).amount_msat == amount_msat


@pytest.mark.attack("A5")
@pytest.mark.parametrize(
    "prefix",
    [
        pytest.param("lnbcrt1p", id="a-tenth-of-a-millisatoshi"),
        pytest.param("lnbcrt15p", id="one-and-a-half-millisatoshi"),
        pytest.param("lnbcrt0u", id="zero"),
        pytest.param("lnbcrt0", id="zero-bitcoin"),
        pytest.param("lnbcrt010u", id="leading-zero"),
        pytest.param("lnbcrt10u-9", id="garbage-after-the-amount"),
        pytest.param("lnbcrt10uu", id="two-units"),
        pytest.param("lnbcrt-1u", id="negative"),
        pytest.param("lnbcrt1.5u", id="fraction"),
        pytest.param("lnbcrt1_0u", id="underscore"),
        pytest.param("lnbcrt10k", id="unknown-unit"),
        pytest.param("lnbcrtu", id="unit-without-amount"),
        pytest.param("lnbcrt" + "1" * 20 + "p", id="twenty-digits"),
        pytest.param("lnbcrt" + "1" * 40, id="forty-digits"),
        pytest.param("lnbcrt21000001", id="more-than-all-bitcoin"),
        pytest.param("lnbcrt184467440738m", id="overflows-64-bits-in-millisatoshis"),
        pytest.param("lnsb10u", id="unknown-network"),
        pytest.param("lnbcr10u", id="cut-network"),
        pytest.param("xlnbcrt10u", id="something-before"),
        pytest.param("lightning:lnbcrt10u", id="uri"),
        pytest.param("", id="empty"),
    ],
)
def test_a_prefix_that_two_readers_could_read_differently_is_refused(prefix: str) -> None:
    with pytest.raises(InvalidInvoice):
        bolt11.decode(invoice_of(GOOD, prefix=prefix))


@pytest.mark.parametrize(
    ("prefix", "network"),
    [
        ("lnbc", "mainnet"),
        ("lntb", "testnet"),
        ("lntbs", "signet"),
        ("lnbcrt", "regtest"),
    ],
)
def test_the_prefix_names_the_network(prefix: str, network: str) -> None:
    assert bolt11.decode(invoice_of(GOOD, prefix=prefix + "10u")).network == network


@pytest.mark.attack("A5")
@pytest.mark.parametrize(
    "fields",
    [
        pytest.param((*GOOD, P), id="two-p"),
        pytest.param((*GOOD, S), id="two-s"),
        pytest.param((*GOOD, D), id="two-d"),
        pytest.param((P, S, H, H), id="two-h"),
        pytest.param((*GOOD, N, N), id="two-n"),
        pytest.param((*GOOD, ("x", [1]), ("x", [1])), id="two-x"),
        pytest.param((*GOOD, ("c", [9]), ("c", [9])), id="two-c"),
        pytest.param((*GOOD, ("9", [0]), ("9", [0])), id="two-9"),
        pytest.param((*GOOD, ("m", []), ("m", [])), id="two-m"),
        pytest.param((("p", P[1][:51]), *GOOD), id="short-p-before-p"),
        pytest.param((*GOOD, ("p", [*P[1], 0])), id="long-p-after-p"),
        pytest.param((("p", P[1][:51]), S, D), id="short-p"),
        pytest.param((("p", [*P[1], 0]), S, D), id="long-p"),
        pytest.param((P, ("s", S[1][:51]), D), id="short-s"),
        pytest.param((P, ("s", []), D), id="empty-s"),
        pytest.param((P, S, ("h", [*H[1], 0])), id="long-h"),
        pytest.param((*GOOD, ("n", N[1][:52])), id="short-n"),
        pytest.param((S, D), id="no-p"),
        pytest.param((P, D), id="no-s"),
        pytest.param((P, S), id="neither-d-nor-h"),
        pytest.param((P, S, D, H), id="both-d-and-h"),
        pytest.param((), id="no-field"),
        pytest.param((with_last_bit_set(P), S, D), id="padding-of-p"),
        pytest.param((P, with_last_bit_set(S), D), id="padding-of-s"),
        pytest.param((P, S, with_last_bit_set(H)), id="padding-of-h"),
        pytest.param((*GOOD, with_last_bit_set(N)), id="padding-of-n"),
        pytest.param((P, S, with_last_bit_set(D)), id="padding-of-d"),
        pytest.param((P, S, ("d", [*words(b"a"), 0])), id="a-word-too-many-in-d"),
        pytest.param((P, S, ("d", [0])), id="less-than-a-byte-in-d"),
        pytest.param((*GOOD, ("m", [1])), id="less-than-a-byte-in-m"),
        pytest.param((P, S, ("d", words(b"\xff\xfe"))), id="description-not-utf-8"),
        pytest.param((P, S, ("d", words(b"\xed\xa0\x80"))), id="lone-surrogate"),
        pytest.param((P, S, ("d", words(b"\xc0\xaf"))), id="overlong-utf-8"),
        pytest.param((*GOOD, ("x", number(YEAR_S + 1))), id="expiry-beyond-a-year"),
        pytest.param((*GOOD, ("x", [31] * 12)), id="expiry-of-60-bits"),
        pytest.param((*GOOD, ("x", [31] * 1023)), id="expiry-of-5115-bits"),
        pytest.param((*GOOD, ("c", [31] * 12)), id="final-cltv-of-60-bits"),
        pytest.param((*GOOD, ("9", number(1 << 100))), id="unknown-even-feature"),
        pytest.param((*GOOD, ("9", number(1))), id="even-feature-zero"),
        pytest.param((*GOOD, ("n", words(b"\x02" + b"\x11" * 32))), id="foreign-n"),
    ],
)
def test_fields_that_two_readers_could_read_differently_are_refused(
    fields: Sequence[Field],
) -> None:
    with pytest.raises(InvalidInvoice):
        bolt11.decode(invoice_of(fields))


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param((*GOOD, N), id="n-that-matches"),
        pytest.param((*GOOD, ("x", number(YEAR_S))), id="expiry-of-a-year"),
        pytest.param((*GOOD, ("x", [])), id="empty-expiry"),
        pytest.param((*GOOD, ("x", [0, 0, 1])), id="expiry-with-leading-zeros"),
        pytest.param((*GOOD, ("9", number(1 << 101 | 1 << 14 | 1 << 8))), id="odd-feature"),
        pytest.param((*GOOD, ("9", [])), id="no-feature"),
        pytest.param((*GOOD, ("r", [1]), ("r", []), ("f", [17])), id="fields-for-the-node"),
        pytest.param((*GOOD, ("q", [3]), ("q", []), ("l", [31])), id="unknown-fields"),
        pytest.param((P, S, ("d", [])), id="empty-description"),
        pytest.param((P, S, ("d", words(b"a\0\x1b\n"))), id="control-characters"),
        pytest.param((*GOOD, ("m", words(b"\xff\0"))), id="metadata"),
    ],
)
def test_what_only_one_meaning_has_is_read(fields: Sequence[Field]) -> None:
    decoded = bolt11.decode(invoice_of(fields))

    assert (decoded.payment_hash, decoded.payee) == (HASH, PAYEE.hex())


def test_a_field_longer_than_the_invoice_is_refused() -> None:
    data = [0] * 7 + [CHARSET.index("d"), 31, 31, 1, 2, 3]

    with pytest.raises(InvalidInvoice, match="longer than the invoice"):
        bolt11.decode(sealed("lnbcrt", data))


@pytest.mark.parametrize("rest", [[1], [1, 0]])
def test_a_field_without_its_whole_header_is_refused(rest: Words) -> None:
    whole = [word for tag, content in GOOD for word in [CHARSET.index(tag), 1, 20, *content]]

    with pytest.raises(InvalidInvoice, match="longer than the invoice"):
        bolt11.decode(sealed("lnbcrt", [0] * 7 + whole[:110] + rest))


@pytest.mark.attack("A5")
def test_the_other_signature_that_anybody_can_make_of_one_is_refused() -> None:
    good = invoice_of(GOOD)
    data = [CHARSET.index(char) for char in good.rpartition("1")[2]]
    bits = "".join(f"{word:05b}" for word in data[-110:-6])
    signature = int(bits, 2).to_bytes(65, "big")
    order = 0xFFFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFE_BAAEDCE6_AF48A03B_BFD25E8C_D0364141
    flipped = (order - int.from_bytes(signature[32:64], "big")).to_bytes(32, "big")
    malleated = signature[:32] + flipped + bytes([signature[64] ^ 1])
    forged = sealed("lnbcrt10u", data[:-110], signature=malleated)

    with pytest.raises(InvalidInvoice, match="canonical"):
        bolt11.decode(forged)


@pytest.mark.parametrize(
    "signature",
    [
        pytest.param(b"\0" * 65, id="zero"),
        pytest.param(b"\x11" * 64 + b"\4", id="recovery-id-4"),
        pytest.param(b"\x11" * 64 + b"\xff", id="recovery-id-255"),
        pytest.param(b"\xff" * 32 + b"\x11" * 32 + b"\0", id="r-beyond-the-order"),
        pytest.param(b"\x11" * 64 + b"\2", id="r-beyond-the-field"),
    ],
)
def test_a_signature_that_nobody_made_is_refused(signature: bytes) -> None:
    unsigned = [CHARSET.index(char) for char in invoice_of(GOOD).rpartition("1")[2]][:-110]

    with pytest.raises(InvalidInvoice, match="signature"):
        bolt11.decode(sealed("lnbcrt10u", unsigned, signature=signature))


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("1", id="separator-only"),
        pytest.param("lnbcrt", id="no-separator"),
        pytest.param("lnbcrt1", id="nothing-after-the-separator"),
        pytest.param(invoice_of(GOOD) + "\n", id="newline-after"),
        pytest.param(" " + invoice_of(GOOD), id="space-before"),
        pytest.param(invoice_of(GOOD).replace("q", "Q", 1), id="one-upper-case-letter"),
        pytest.param(invoice_of(GOOD).replace("lnbcrt10u", "LNBCRT10U"), id="upper-prefix"),
        pytest.param(invoice_of(GOOD).upper().replace("K", "\u212a", 1), id="kelvin-sign"),
        pytest.param("lnbcrt\u0661\u0660u1" + "q" * 200, id="arabic-digits"),
        pytest.param("\ud800", id="lone-surrogate"),
        pytest.param("lnbcrt1" + "_" * 200, id="underscores"),
        pytest.param("lnbcrt1" + "q" * 7083, id="longer-than-the-cap"),
    ],
)
def test_text_that_is_no_bech32_of_one_case_is_refused(text: str) -> None:
    with pytest.raises(InvalidInvoice):
        bolt11.decode(text)


@pytest.mark.attack("A5")
def test_the_length_is_capped_before_anything_else() -> None:
    with pytest.raises(InvalidInvoice, match="too long"):
        bolt11.decode("\u212a" * (bolt11.MAX_INVOICE_LENGTH + 1))


def test_an_invoice_of_the_greatest_length_is_read() -> None:
    filler: list[Field] = [("q", [0] * 1000)] * 6
    room = bolt11.MAX_INVOICE_LENGTH - len(invoice_of([*GOOD, *filler]))
    text = invoice_of([*GOOD, *filler, ("q", [0] * (room - 3))])

    assert len(text) == bolt11.MAX_INVOICE_LENGTH
    assert bolt11.decode(text).payment_hash == HASH


@pytest.mark.attack("A5")
@pytest.mark.parametrize(
    "text",
    [
        pytest.param(invoice_of([*GOOD, *[("q", [])] * 2200]), id="many-fields"),
        pytest.param(invoice_of([*GOOD, *[("q", [31] * 1023)] * 6]), id="long-fields"),
        pytest.param("ln" + "1" * 7000, id="many-separators"),
        pytest.param("lnbcrt1" + "q" * 7000, id="wrong-checksum"),
    ],
)
def test_the_longest_input_costs_little_time(text: str) -> None:
    def seconds() -> float:
        start = time.perf_counter()
        with contextlib.suppress(InvalidInvoice):
            bolt11.decode(text)
        return time.perf_counter() - start

    assert min(seconds() for _ in range(20)) < 0.005


def decodes_or_refuses(text: str) -> None:
    with contextlib.suppress(InvalidInvoice):
        assert bolt11.decode(text).invoice == text.lower()


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    decodes_or_refuses(text)


prefixes = st.from_regex(r"ln(bc|tb|tbs|bcrt)[0-9]{0,22}[munp]?", fullmatch=True)
fields = st.lists(
    st.sampled_from([P, S, D, H, N])
    | st.tuples(st.sampled_from(CHARSET), st.lists(st.integers(0, 31), max_size=60)),
    max_size=8,
)


@given(prefix=prefixes, rest=st.text(CHARSET, max_size=400))
def test_any_bech32_text_is_read_or_refused(prefix: str, rest: str) -> None:
    decodes_or_refuses(f"{prefix}1{rest}")


@given(prefix=prefixes, fields=fields)
def test_any_fields_signed_well_are_read_or_refused(prefix: str, fields: list[Field]) -> None:
    decodes_or_refuses(invoice_of(fields, prefix=prefix))


@pytest.mark.attack("A5")
@given(prefix=prefixes, data=st.lists(st.integers(0, 31), min_size=1, max_size=300))
def test_any_words_signed_well_are_read_or_refused(prefix: str, data: Words) -> None:
    decodes_or_refuses(sealed(prefix, data))
