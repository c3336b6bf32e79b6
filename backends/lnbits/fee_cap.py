"""The most that LNbits may take for a payment, as its operator declares it."""

import math
import re
from dataclasses import dataclass
from fractions import Fraction

from nwc_service.wallet.units import MAX_MSAT, MSAT_PER_SAT, Msat

MAX_TEXT_LENGTH = 200

GRAMMAR = (
    'write one or several of "N%" and "N msat" or "N sat", as in "2000, 1%" or'
    ' "max(2 sat, 1%)": the largest counts, and "+" adds, as in "2000, 1% + 0.5%"'
)

_WRAPPED = re.compile(r"max\s*\((.*)\)")
_TERM = re.compile(r"([0-9]{1,19}(?:\.[0-9]{1,9})?)(%|msats?|sats?|)")


@dataclass(frozen=True, slots=True)
class _Part:
    fixed_msat: int
    share: Fraction  # of the amount

    def of(self, amount_msat: int) -> int:
        return self.fixed_msat + math.ceil(amount_msat * self.share)


@dataclass(frozen=True, slots=True)
class FeeCap:
    """The largest of its parts."""

    parts: tuple[_Part, ...]

    @classmethod
    def parse(cls, value: object) -> "FeeCap":
        """From text, or an integer of msat. Raises ValueError telling the grammar."""
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise ValueError(GRAMMAR)
        text = str(value).strip().lower().replace("_", "")
        if len(text) > MAX_TEXT_LENGTH:
            raise ValueError(GRAMMAR)
        wrapped = _WRAPPED.fullmatch(text)
        parts = _split((wrapped.group(1) if wrapped else text).strip())
        return cls(tuple(_parse_part(part) for part in parts))

    def msat(self, amount_msat: Msat) -> Msat:
        """Rounded up."""
        return Msat(max(part.of(amount_msat) for part in self.parts))


def _split(text: str) -> list[str]:
    glued = re.sub(r"\s+(?=%|m?sat)", "", re.sub(r"\s*\+\s*", "+", text))
    return re.split(r"\s*,\s*|\s+", glued)


def _parse_part(text: str) -> _Part:
    terms = [_parse_term(term) for term in text.split("+")]
    fixed_msat = sum(term.fixed_msat for term in terms)
    return _Part(fixed_msat, sum((term.share for term in terms), Fraction(0)))


def _parse_term(text: str) -> _Part:
    match = _TERM.fullmatch(text)
    if match is None:
        raise ValueError(GRAMMAR)
    figure, unit = Fraction(match.group(1)), match.group(2)
    if unit == "%":
        if figure > 100:
            raise ValueError("a fee of more than 100% is not meant")
        return _Part(0, figure / 100)
    if "." in match.group(1):
        raise ValueError(GRAMMAR)
    fixed_msat = int(figure) * (MSAT_PER_SAT if unit.startswith("sat") else 1)
    if fixed_msat > MAX_MSAT:
        raise ValueError("a fee of more than all bitcoin is not meant")
    return _Part(fixed_msat, Fraction(0))
