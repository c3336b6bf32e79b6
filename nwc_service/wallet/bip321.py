"""`bitcoin:` URIs with any number of payment instructions, read strictly (BIP-321).

https://github.com/bitcoin/bips/blob/master/bip-0321.mediawiki
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote

from nwc_service.wallet import address as addresses
from nwc_service.wallet import bolt11, bolt12
from nwc_service.wallet.address import InvalidAddress
from nwc_service.wallet.bolt11 import Bolt11, InvalidInvoice, Network
from nwc_service.wallet.bolt12 import InvalidOffer, Offer
from nwc_service.wallet.units import MAX_MSAT, Msat
from nwc_service.wallet.uri_query import InvalidQuery, parameters

MAX_URI_LENGTH = 8192  # room for the longest invoice; checked before anything else
MAX_INSTRUCTIONS = 16

_SCHEME = "bitcoin:"
_ONCHAIN = "onchain"
# Payment instructions that BIP-321 lists, but that are not paid here.
_OTHERS = frozenset({"pay", "sp"})
_SEGWIT_KEYS = frozenset({"bc", "tb", "bcrt"})
# "Multiple query parameters with the same key MUST NOT be included for keys 'label',
# 'message', or 'pop'", nor for the amount, as its examples show.
_SINGLE = frozenset({"amount", "label", "message", "pop"})

_MSAT_DIGITS = 11  # of a bitcoin, behind the point
_AMOUNT = re.compile(r"(?P<whole>[0-9]{0,16})(?:\.(?P<fraction>[0-9]{0,16}))?")


class InvalidUri(ValueError):
    """Not a URI of BIP-321. The message names the parameter and is safe to show."""


@dataclass(frozen=True, slots=True)
class Unsupported:
    """An instruction that BIP-321 knows of and that is not paid here.

    `key` is `onchain` for an address; `networks` is None where it is not looked into.
    """

    key: str
    text: str
    networks: frozenset[Network] | None = None


Instruction = Bolt11 | Offer | Unsupported


@dataclass(frozen=True, slots=True)
class PaymentUri:
    """`amount_msat` agrees with every invoice and is enough for every offer.

    `instructions` come in the order of the URI, an address of its body first. They may be none
    where only keys are there that nobody here knows: one of those may be an instruction.
    """

    amount_msat: Msat | None
    label: str | None
    message: str | None
    instructions: tuple[Instruction, ...]

    def on(self, network: Network) -> tuple[Bolt11 | Offer, ...]:
        """The instructions that can be paid on this network."""
        return tuple(
            instruction
            for instruction in self.instructions
            if not isinstance(instruction, Unsupported) and network in networks_of(instruction)
        )


def networks_of(instruction: Bolt11 | Offer) -> frozenset[Network]:
    if isinstance(instruction, Bolt11):
        return frozenset({instruction.network})
    return instruction.networks


def parse(text: str) -> PaymentUri:
    """Raises InvalidUri, also for any required parameter.

    `req-pop` is among those: "If a wallet will not open the pop scheme ... the wallet MUST NOT
    initiate payment", and this service opens none.
    """
    body, found = _split(text)
    single = _single(found)
    amount_msat = _amount(single["amount"]) if "amount" in single else None
    instructions = tuple(_instructions(body, found))
    if not instructions and not (found.keys() - _SINGLE):
        raise InvalidUri("the URI has no payment instruction")
    for instruction in instructions:
        _check_amount(amount_msat, instruction)
    return PaymentUri(amount_msat, single.get("label"), single.get("message"), instructions)


def build(
    *,
    lightning: Sequence[str] = (),
    lno: Sequence[str] = (),
    amount_msat: Msat | None = None,
    label: str | None = None,
    message: str | None = None,
) -> str:
    """Raises InvalidUri for what `parse` would refuse."""
    pairs = [("lightning", invoice) for invoice in lightning]
    pairs += [("lno", offer) for offer in lno]
    if amount_msat is not None:
        pairs.append(("amount", _amount_text(amount_msat)))
    pairs += [(key, text) for key, text in (("label", label), ("message", message)) if text]
    try:
        query = "&".join(f"{key}={quote(value, safe='')}" for key, value in pairs)
    except UnicodeEncodeError:
        raise InvalidUri("a text is not UTF-8") from None
    uri = f"{_SCHEME}?{query}"
    parse(uri)
    return uri


def _split(text: str) -> tuple[str, dict[str, list[str]]]:
    """The body, and the parameters by their keys in lower case."""
    if len(text) > MAX_URI_LENGTH:
        raise InvalidUri(f"the URI is longer than {MAX_URI_LENGTH} characters")
    if text[: len(_SCHEME)].lower() != _SCHEME:
        raise InvalidUri("the scheme is not bitcoin:")
    body, _, query = text[len(_SCHEME) :].partition("?")
    found: dict[str, list[str]] = {}
    try:
        for key, values in parameters(query).items():
            found.setdefault(key.lower(), []).extend(values)
    except InvalidQuery as error:
        raise InvalidUri(str(error)) from None
    return body, found


def _single(found: dict[str, list[str]]) -> dict[str, str]:
    for key in found:
        if key.startswith("req-"):
            raise InvalidUri(f"the parameter {key!a:.64} is required and not supported")
    for key in _SINGLE & found.keys():
        if len(found[key]) > 1:
            raise InvalidUri(f"{key} stands there twice")
    return {key: found[key][0] for key in _SINGLE & found.keys()}


def _instructions(body: str, found: dict[str, list[str]]) -> list[Instruction]:
    texts = [(_ONCHAIN, body)] if body else []
    texts += [(key, text) for key, values in found.items() for text in values if _is_known(key)]
    if len(texts) > MAX_INSTRUCTIONS:
        raise InvalidUri(f"the URI has more than {MAX_INSTRUCTIONS} payment instructions")
    return [_instruction(key, text) for key, text in texts]


def _is_known(key: str) -> bool:
    return key in ("lightning", "lno") or key in _OTHERS or key in _SEGWIT_KEYS


def _instruction(key: str, text: str) -> Instruction:
    try:
        if key == "lightning":
            return bolt11.decode(text)
        if key == "lno":
            return bolt12.decode(text)
        if key in _OTHERS:
            return Unsupported(key, text)
        return _onchain(key, text)
    except (InvalidInvoice, InvalidOffer, InvalidAddress) as error:
        raise InvalidUri(f"{key}: {error}") from None


def _onchain(key: str, text: str) -> Unsupported:
    """A segwit address stands under its own human-readable part, or in the body."""
    networks = addresses.networks(text)
    if key in _SEGWIT_KEYS and addresses.segwit_prefix(text) != key:
        raise InvalidAddress("not an address of this key")
    return Unsupported(_ONCHAIN, text, networks)


def _amount(text: str) -> Msat:
    """Decimal BTC, as exact as a msat."""
    match = _AMOUNT.fullmatch(text)
    digits = (match["fraction"] or "").rstrip("0") if match else ""
    if match is None or not (match["whole"] or match["fraction"]) or len(digits) > _MSAT_DIGITS:
        raise InvalidUri("amount is not one in BTC, at most as exact as a msat")
    amount_msat = int((match["whole"] or "0") + digits.ljust(_MSAT_DIGITS, "0"))
    if not 1 <= amount_msat <= MAX_MSAT:
        raise InvalidUri("amount is not one that bitcoin has")
    return Msat(amount_msat)


def _amount_text(amount_msat: Msat) -> str:
    whole, rest = divmod(amount_msat, 10**_MSAT_DIGITS)
    fraction = f"{rest:0{_MSAT_DIGITS}d}".rstrip("0")
    return f"{whole}.{fraction}" if fraction else str(whole)


def _check_amount(amount_msat: Msat | None, instruction: Instruction) -> None:
    """NWC-321: "The wallet service MUST reject conflicting or invalid amounts"."""
    if amount_msat is None or isinstance(instruction, Unsupported):
        return
    asked_msat = instruction.amount_msat
    if asked_msat is None:
        return
    # An offer's amount is the least, of one item.
    is_offer = isinstance(instruction, Offer)
    if amount_msat < asked_msat or (amount_msat != asked_msat and not is_offer):
        raise InvalidUri("amount is not what the payment instruction asks for")
