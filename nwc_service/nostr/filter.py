"""Filters of NIP-01: what a subscription asks for."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from nwc_service.nostr.event import MAX_CREATED_AT, MAX_KIND, Event
from nwc_service.nostr.keys import is_hex64

__all__ = ["Filter", "InvalidFilter", "parse_filter"]

Value = TypeVar("Value", int, str)

_is_tag_key = re.compile(r"#[a-zA-Z]").fullmatch

_PLAIN_KEYS = frozenset({"ids", "authors", "kinds", "since", "until", "limit"})


class InvalidFilter(ValueError):
    """Not a filter. The message names the key that is wrong, never its value."""


@dataclass(frozen=True, slots=True)
class Filter:
    """None asks for anything, an empty set for nothing. `since` and `until` are inclusive.

    `tags` goes by the single letter, without the #.
    """

    ids: frozenset[str] | None = None
    authors: frozenset[str] | None = None
    kinds: frozenset[int] | None = None
    tags: Mapping[str, frozenset[str]] = field(default_factory=dict)
    since: int | None = None
    until: int | None = None
    limit: int | None = None

    def matches(self, event: Event) -> bool:
        """Whether the event is asked for. `limit` is for the stored ones, so not looked at."""
        return (
            (self.kinds is None or event.kind in self.kinds)
            and (self.authors is None or event.pubkey in self.authors)
            and (self.ids is None or event.id in self.ids)
            and (self.since is None or event.created_at >= self.since)
            and (self.until is None or event.created_at <= self.until)
            and all(
                not values.isdisjoint(event.tag_values(letter))
                for letter, values in self.tags.items()
            )
        )

    def to_dict(self) -> dict[str, object]:
        """The wire form; sorted, so that the same filter is always the same text."""
        values: dict[str, object] = {
            "ids": _sorted(self.ids),
            "authors": _sorted(self.authors),
            "kinds": None if self.kinds is None else sorted(self.kinds),
            "since": self.since,
            "until": self.until,
            "limit": self.limit,
        }
        wire = {key: value for key, value in values.items() if value is not None}
        return wire | {f"#{letter}": sorted(self.tags[letter]) for letter in sorted(self.tags)}


def parse_filter(raw: object) -> Filter:
    """A filter from decoded JSON. Raises InvalidFilter, also for a key that is not known:
    leaving a condition out would answer more than was asked."""
    if not isinstance(raw, dict):
        raise InvalidFilter("not an object")
    tag_keys = raw.keys() - _PLAIN_KEYS
    if not all(isinstance(key, str) and _is_tag_key(key) for key in tag_keys):
        raise InvalidFilter("unknown key")
    return Filter(
        ids=_hex_set(raw, "ids"),
        authors=_hex_set(raw, "authors"),
        kinds=_kinds(raw),
        tags={key[1]: _tag_values(raw, key) for key in tag_keys},
        since=_whole(raw, "since"),
        until=_whole(raw, "until"),
        limit=_whole(raw, "limit"),
    )


def _kinds(raw: dict[str, object]) -> frozenset[int] | None:
    if "kinds" not in raw:
        return None
    kinds = _set(raw, "kinds", of=int)
    if kinds and (min(kinds) < 0 or max(kinds) > MAX_KIND):
        raise InvalidFilter("kinds holds a wrong value")
    return kinds


def _hex_set(raw: dict[str, object], key: str) -> frozenset[str] | None:
    return _strings(raw, key, only_hex=True) if key in raw else None


def _tag_values(raw: dict[str, object], key: str) -> frozenset[str]:
    # NIP-01: the values of ids, authors, #e and #p "MUST contain exact 64-character lowercase
    # hex values".
    return _strings(raw, key, only_hex=key in ("#e", "#p"))


def _strings(raw: dict[str, object], key: str, *, only_hex: bool) -> frozenset[str]:
    strings = _set(raw, key, of=str)
    if only_hex and not all(map(is_hex64, strings)):
        raise InvalidFilter(f"{key} holds a wrong value")
    return strings


def _set(raw: dict[str, object], key: str, *, of: type[Value]) -> frozenset[Value]:
    """Of exactly this type: bool is a kind of int in Python, but not in JSON."""
    values = raw[key]
    if not isinstance(values, list):
        raise InvalidFilter(f"{key} is not a list")
    # As a whole and not one by one: a frame holds tens of thousands of them.
    if set(map(type, values)) - {of}:
        raise InvalidFilter(f"{key} holds a wrong value")
    return frozenset(values)


def _whole(raw: dict[str, object], key: str) -> int | None:
    if key not in raw:
        return None
    value = raw[key]
    if type(value) is not int or not 0 <= value <= MAX_CREATED_AT:
        raise InvalidFilter(f"{key} is not a whole number from 0 to {MAX_CREATED_AT}")
    return value


def _sorted(values: Iterable[str] | None) -> list[str] | None:
    return None if values is None else sorted(values)
