"""`bitcoin:` URIs: the examples of BIP-321, and what it leaves open."""

import contextlib
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nwc_service.wallet import address as addresses
from nwc_service.wallet import bip321, bolt11, bolt12
from nwc_service.wallet.address import InvalidAddress
from nwc_service.wallet.bip321 import InvalidUri, PaymentUri, Unsupported
from nwc_service.wallet.bolt11 import Network
from nwc_service.wallet.units import MAX_MSAT, Msat, PaymentHash
from tests.core.bolt11_forge import HASH, SECRET

LEGACY = "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa"
SEGWIT = "bc1qufgy354j3kmvuch987xe4s40836x3h0lg8f5n2"
TAPROOT = "bc1p5swkugezn97763tl0yty6556856uug0q6jflljvep9m4p7339x5qzyrh4g"
TEST_SEGWIT = "tb1qghfhmd4zh7ncpmxl3qzhmq566jk8ckq4gafnmg"
ISSUER_ID = "02eec7245d6b7d2ccb30380bfbe2a3648cd7a942653f5aa340edcea1f283686619"


def an_invoice(*, network: Network = "mainnet", amount_msat: int | None = None) -> str:
    return bolt11.encode(
        network=network,
        amount_msat=None if amount_msat is None else Msat(amount_msat),
        payment_hash=PaymentHash(HASH),
        payment_secret=SECRET,
        description="tea",
        created_at=1_700_000_000,
        expiry_s=3600,
        secret_key=b"\7" * 32,
    )


def an_offer(**fields: Any) -> str:
    return bolt12.encode(
        **{"network": "mainnet", "issuer_id": ISSUER_ID, "description": "tea"} | fields
    )


INVOICE = an_invoice()
OFFER = an_offer()


def kinds(uri: PaymentUri) -> list[str]:
    return [
        instruction.key if isinstance(instruction, Unsupported) else type(instruction).__name__
        for instruction in uri.instructions
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(f"bitcoin:{LEGACY}", ["onchain"], id="just-the-address"),
        pytest.param(f"bitcoin:{LEGACY}?label=Luke-Jr", ["onchain"], id="with-a-label"),
        pytest.param(
            f"bitcoin:{LEGACY}?lightning={INVOICE}", ["onchain", "Bolt11"], id="fallback"
        ),
        pytest.param(f"bitcoin:?lightning={INVOICE}", ["Bolt11"], id="no-fallback"),
        pytest.param(f"bitcoin:?lno={OFFER}", ["Offer"], id="an-offer"),
        pytest.param(f"bitcoin:?lno={OFFER}&sp=sp1q", ["Offer", "sp"], id="silent-payments"),
        pytest.param("bitcoin:?sp=sp1qsilentpayment", ["sp"], id="silent-payment-alone"),
        pytest.param(
            f"bitcoin:{LEGACY}?somethingyoudontunderstand=50&somethingelseyoudontget=999",
            ["onchain"],
            id="not-understood-and-not-required",
        ),
        pytest.param(f"bitcoin:?bc={SEGWIT}&bc={TAPROOT}", ["onchain"] * 2, id="two-addresses"),
        pytest.param(
            f"BITCOIN:{SEGWIT.upper()}?BC={TAPROOT.upper()}", ["onchain"] * 2, id="upper-case"
        ),
        pytest.param(
            f"BITCOIN:?BC={SEGWIT.upper()}&BC={TAPROOT.upper()}",
            ["onchain"] * 2,
            id="upper-case-without-a-body",
        ),
        pytest.param(f"bitcoin:?tb={TEST_SEGWIT}", ["onchain"], id="testnet"),
        pytest.param(f"BitCoin:?LightNing={INVOICE.upper()}", ["Bolt11"], id="any-case"),
        pytest.param(
            f"bitcoin:?lightning={INVOICE}&lno={OFFER}&lightning={INVOICE}",
            ["Bolt11", "Bolt11", "Offer"],
            id="one-key-several-times",
        ),
        pytest.param(f"bitcoin:?&&lno={OFFER}&", ["Offer"], id="empty-parameters"),
        pytest.param(f"bitcoin:?lno={quote('+ '.join(OFFER))}", ["Offer"], id="in-pieces"),
        pytest.param("bitcoin:?newkind=1", [], id="a-key-of-the-future-alone"),
    ],
)
def test_instructions(text: str, expected: list[str]) -> None:
    """BIP-321: "Multiple query parameters with the same key MAY be included for query
    parameters representing payment instructions"; "The query parameter keys are also
    case-insensitive"; "Any other query parameters which are not implemented, but which are not
    prefixed with a req-, can be safely ignored." """
    assert kinds(bip321.parse(text)) == expected


@pytest.mark.parametrize(
    ("query", "word"),
    [
        pytest.param("req-somethingyoudontunderstand=50", "required", id="required"),
        pytest.param("REQ-Thing", "required", id="required-in-upper-case"),
        pytest.param("%72eq-thing=1", "required", id="required-in-disguise"),
        pytest.param("req-lightning=x", "required", id="a-known-one-required"),
        pytest.param("label=Luke-Jr&label=Matt", "label", id="two-labels"),
        pytest.param("message=a&MESSAGE=a", "message", id="two-messages"),
        pytest.param("amount=42&amount=10", "amount", id="two-amounts"),
        pytest.param("amount=42&amount=42", "amount", id="two-equal-amounts"),
        pytest.param("pop=callback%3a&pop=callback%3a", "pop", id="two-pops"),
        pytest.param("pop=callback%3a&req-pop=callback%3a", "pop", id="two-pops-one-required"),
        pytest.param("req-pop=https%3aevilwebsite.com", "pop", id="required-web-pop"),
        pytest.param("req-pop=app%3a", "pop", id="required-pop"),
        pytest.param(f"bc={TEST_SEGWIT}", "bc", id="testnet-address-under-bc"),
        pytest.param(f"tb={SEGWIT}", "tb", id="mainnet-address-under-tb"),
        pytest.param(f"bc={LEGACY}", "bc", id="legacy-address-under-bc"),
        pytest.param("lightning=lnbc420bogusinvoice", "lightning", id="no-invoice"),
        pytest.param("lightning", "lightning", id="an-invoice-of-nothing"),
        pytest.param("lno=lno1bogusoffer", "lno", id="no-offer"),
        pytest.param(f"lno={INVOICE}", "lno", id="an-invoice-for-an-offer"),
        pytest.param("label=%zz", "%", id="a-bad-percent"),
        pytest.param("label=50%", "%", id="a-percent-at-the-end"),
        pytest.param("label=%ff", "UTF-8", id="not-utf-8"),
        pytest.param("label=a b", "character", id="a-space"),
        pytest.param("label=tée", "character", id="not-ascii"),
        pytest.param("label=a#b", "character", id="a-fragment"),
        pytest.param("label=\ud800", "character", id="a-lone-surrogate"),
    ],
)
def test_what_makes_a_uri_invalid(query: str, word: str) -> None:
    """BIP-321: "Multiple query parameters with the same key MUST NOT be included for keys
    "label", "message", or "pop""; "If a client does not implement handling a query parameter
    which has a key prefixed with req-, it MUST consider the entire URI invalid"; a required pop
    that is not opened: "the wallet MUST NOT initiate payment"."""
    with pytest.raises(InvalidUri, match=word):
        bip321.parse(f"bitcoin:{LEGACY}?lightning={INVOICE}&{query}")


@pytest.mark.parametrize("pop", ["https%3aiwantyouripaddress.com", "app%3a%3f", ""])
def test_a_pop_that_is_not_required_is_left_alone(pop: str) -> None:
    """BIP-321: "the wallet should make a payment as it normally would but MUST NOT interact
    with iwantyouripaddress.com". NWC-321: "The wallet service MUST apply the BIP-321 rules for
    `pop` and `req-pop`"."""
    assert kinds(bip321.parse(f"bitcoin:?lightning={INVOICE}&pop={pop}")) == ["Bolt11"]


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="nothing"),
        pytest.param("bitcoin", id="no-colon"),
        pytest.param("bitcoin:", id="no-instruction"),
        pytest.param("bitcoin:?amount=1&label=x&pop=a", id="nobody-to-pay"),
        pytest.param(f"bitcoin://{LEGACY}", id="slashes"),
        pytest.param(f"bitcoin:{LEGACY[:-1]}b", id="a-wrong-address"),
        pytest.param(f" bitcoin:{LEGACY}", id="space-before"),
        pytest.param(f"lightning:{INVOICE}", id="another-scheme"),
        pytest.param(INVOICE, id="a-bare-invoice"),
        pytest.param(f"bitcoin:?label={'a' * 8192}", id="too-long"),
        pytest.param("bitcoin:?" + "&".join(["sp=x"] * 17), id="too-many"),
    ],
)
def test_what_is_no_uri(text: str) -> None:
    """NWC-321: "The wallet service MUST parse the URI according to BIP-321"."""
    with pytest.raises(InvalidUri):
        bip321.parse(text)


@pytest.mark.parametrize(
    ("amount", "amount_msat"),
    [
        ("20.3", 2_030_000_000_000),
        ("50", 5_000_000_000_000),
        ("50.00", 5_000_000_000_000),
        ("0.00000001", 1_000),
        ("0.00000000001", 1),
        ("0.0000000000100", 1),
        (".5", 50_000_000_000),
        ("5.", 500_000_000_000),
        ("21000000", MAX_MSAT),
        ("0000021000000.0000", MAX_MSAT),
    ],
)
def test_amounts_are_decimal_btc(amount: str, amount_msat: int) -> None:
    """BIP-321: "amount=50.00 or amount=50 is treated as 50 BTC"."""
    assert bip321.parse(f"bitcoin:?lno={OFFER}&amount={amount}").amount_msat == amount_msat


@pytest.mark.parametrize(
    "amount",
    ["", ".", "0", "0.0", "-1", "%2B1", "1e3", "50,000.00", "0x1", "1.2.3", "٣", "NaN", " 1",
     "0.000000000001", "21000000.00000000001", "9" * 16, "1" + "0" * 60],
)  # fmt: skip
def test_amounts_that_are_none(amount: str) -> None:
    """BIP-321: "amount=50,000.00 is invalid"."""
    with pytest.raises(InvalidUri):
        bip321.parse(f"bitcoin:?lno={OFFER}&amount={quote(amount, safe='%')}")


@pytest.mark.parametrize(
    ("instruction", "amount", "agrees"),
    [
        (f"lightning={an_invoice(amount_msat=1000)}", "0.00000001", True),
        (f"lightning={an_invoice(amount_msat=1000)}", "0.00000002", False),
        (f"lightning={an_invoice(amount_msat=1001)}", "0.00000001", False),
        (f"lightning={INVOICE}", "0.00000001", True),
        (f"lightning={INVOICE}&lightning={an_invoice(amount_msat=1)}", "0.00000001", False),
        (f"lno={an_offer(amount_msat=1000)}", "0.00000001", True),
        (f"lno={an_offer(amount_msat=1000)}", "0.00000002", True),
        (f"lno={an_offer(amount_msat=1001)}", "0.00000001", False),
    ],
)
def test_the_amount_agrees_with_the_instructions(
    instruction: str, amount: str, agrees: bool
) -> None:
    """NWC-321: "The wallet service MUST reject conflicting or invalid amounts before
    payment"."""
    text = f"bitcoin:?{instruction}&amount={amount}"
    if agrees:
        assert bip321.parse(text).amount_msat is not None
    else:
        with pytest.raises(InvalidUri, match="amount"):
            bip321.parse(text)


def test_only_what_is_on_our_network_can_be_paid() -> None:
    """NWC-321: "The wallet service MUST make sure that the Bitcoin network matches before
    payment"."""
    on_test = an_invoice(network="regtest")
    offer = an_offer(network="regtest")
    uri = bip321.parse(
        f"bitcoin:{SEGWIT}?lightning={INVOICE}&lightning={on_test}&lno={OFFER}&lno={offer}"
    )

    assert uri.on("mainnet") == (bolt11.decode(INVOICE), bolt12.decode(OFFER))
    assert uri.on("regtest") == (bolt11.decode(on_test), bolt12.decode(offer))
    assert uri.on("signet") == ()


@given(
    invoices=st.lists(st.sampled_from([INVOICE, an_invoice(network="signet")]), max_size=3),
    offers=st.lists(st.just(OFFER), min_size=1, max_size=3),
    amount_msat=st.none() | st.integers(1, MAX_MSAT).map(Msat),
    label=st.none() | st.text(min_size=1, max_size=20),
    message=st.none() | st.text(min_size=1, max_size=20),
)
def test_what_is_built_is_read(
    invoices: list[str], offers: list[str], **others: Msat | str | None
) -> None:
    arguments: dict[str, Any] = others
    uri = bip321.parse(bip321.build(lightning=invoices, lno=offers, **arguments))

    assert (uri.amount_msat, uri.label, uri.message) == tuple(others.values())
    assert list(uri.instructions) == [
        *map(bolt11.decode, invoices),
        *map(bolt12.decode, offers),
    ]


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param({}, id="nobody-to-pay"),
        pytest.param({"lno": ["lno1"]}, id="no-offer"),
        pytest.param({"lno": [OFFER], "amount_msat": 0}, id="nothing-to-pay"),
        pytest.param({"lno": [OFFER], "label": "\ud800"}, id="no-utf-8"),
    ],
)
def test_what_could_not_be_read_is_not_built(arguments: dict[str, Any]) -> None:
    with pytest.raises(InvalidUri):
        bip321.build(**arguments)


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    for uri in (text, f"bitcoin:{text}", f"bitcoin:?{text}"):
        with contextlib.suppress(InvalidUri):
            bip321.parse(uri)


@pytest.mark.parametrize(
    ("address", "networks"),
    [
        pytest.param(LEGACY, {"mainnet"}, id="p2pkh"),
        pytest.param("3P14159f73E4gFr7JterCCQh9QjiTjiZrG", {"mainnet"}, id="p2sh"),
        pytest.param(
            "mipcBbFg9gMiCh81Kj8tqqdgoZub1ZJRfn",
            {"testnet", "signet", "regtest"},
            id="p2pkh-of-testnet",
        ),
        pytest.param(SEGWIT, {"mainnet"}, id="version-0"),
        pytest.param(TAPROOT, {"mainnet"}, id="version-1"),
        pytest.param(TEST_SEGWIT, {"testnet", "signet"}, id="testnet"),
    ],
)
def test_addresses_and_their_networks(address: str, networks: set[str]) -> None:
    assert addresses.networks(address) == networks


@pytest.mark.parametrize(
    "address",
    [
        pytest.param("", id="nothing"),
        pytest.param(LEGACY[:-1] + "b", id="wrong-base58-checksum"),
        pytest.param(LEGACY[:-1], id="short"),
        pytest.param("0" * 34, id="not-base58"),
        pytest.param("1" * 34, id="ones"),
        pytest.param("1" * 91, id="too-long"),
        pytest.param(SEGWIT[:-1] + "q", id="wrong-bech32-checksum"),
        pytest.param("B" + SEGWIT[1:], id="mixed-case"),
        # BIP 350: version 1 with the checksum of bech32, and version 0 with bech32m's.
        pytest.param("bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqh2y7hd", id="v1"),
        pytest.param("bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kemeawh", id="v0"),
        pytest.param("bc1gmk9yu", id="no-program"),
        pytest.param("bc1", id="nothing-behind-the-one"),
        pytest.param("bc1\u0661", id="not-ascii"),
    ],
)
def test_what_is_no_address(address: str) -> None:
    with pytest.raises(InvalidAddress):
        addresses.networks(address)
