#!/usr/bin/env python3
"""A write policy for strfry: a relay that carries NIP-47 and nothing else.

strfry asks about each event with one JSON line on standard input and reads the decision as one
on standard output. Only Python's standard library is needed. README.md tells how to use it.
"""

import argparse
import ipaddress
import json
import re
import sys
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DELETION = 5
INFO = 13194
REQUEST = 23194
RESPONSE = 23195
NOTIFICATION_NIP04 = 23196
NOTIFICATION = 23197

MAX_EVENT_BYTES = 65_536
MAX_TAGS = 20
MAX_TAG_VALUE_BYTES = 1024
MAX_DELETED = 10
REMEMBERED = 20_000  # keys and addresses whose rate is known

PASSED_ON = ("Import", "Stream", "Sync")  # by other relays, or by the operator
EXACTLY_ONE = {  # of these tags, with 64 hex digits
    REQUEST: "p",
    RESPONSE: "pe",
    NOTIFICATION_NIP04: "p",
    NOTIFICATION: "p",
}
OF_SERVICES = (INFO, RESPONSE, NOTIFICATION_NIP04, NOTIFICATION, DELETION)

_is_hex64 = re.compile(r"[0-9a-f]{64}").fullmatch

Event = dict[str, Any]


class Refused(Exception):
    """The message is what the client is told, with NIP-01's prefix."""


@dataclass(frozen=True)
class Rate:
    per_s: float
    burst: float


class Buckets:
    """A token bucket for each name; of names beyond REMEMBERED the longest unseen goes."""

    def __init__(self, rate: Rate, *, clock: Callable[[], float]) -> None:
        self._rate = rate
        self._clock = clock
        self._levels: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, name: str) -> bool:
        now = self._clock()
        level, seen_at = self._levels.pop(name, (self._rate.burst, now))
        level = min(self._rate.burst, level + (now - seen_at) * self._rate.per_s)
        taken = level >= 1
        self._levels[name] = (level - taken, now)
        if len(self._levels) > REMEMBERED:
            self._levels.popitem(last=False)
        return taken

    def __len__(self) -> int:
        return len(self._levels)


class ServiceKeys:
    """The service's public keys from a file, one a line; read again when it changes."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._changed_at = 0
        self._keys: frozenset[str] = frozenset()

    @property
    def is_limited(self) -> bool:
        return self._path is not None

    def __contains__(self, key: object) -> bool:
        if self._path is not None:
            changed_at = self._path.stat().st_mtime_ns
            if changed_at != self._changed_at:
                self._keys = frozenset(filter(_is_hex64, self._path.read_text().split()))
                self._changed_at = changed_at
        return key in self._keys


class Policy:
    def __init__(
        self,
        *,
        keys: ServiceKeys,
        trusted: Iterable[str] = (),
        per_key: Rate,
        per_source: Rate,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._keys = keys
        self._trusted = frozenset(trusted)
        self._of_keys = Buckets(per_key, clock=clock)
        self._of_sources = Buckets(per_source, clock=clock)

    def check(self, question: dict[str, Any]) -> None:
        """Raises Refused."""
        event = question["event"]
        _check_kind(event)
        _check_size(event)
        _check_tags(event)
        self._check_keys(event)
        self._check_rate(question, event)

    def _check_keys(self, event: Event) -> None:
        if not self._keys.is_limited:
            return
        if event["kind"] in OF_SERVICES and event["pubkey"] not in self._keys:
            raise Refused("blocked: only the wallet service of this relay may send this")
        if event["kind"] == REQUEST and _values(event, "p")[0] not in self._keys:
            raise Refused("blocked: there is no such wallet here")

    def _check_rate(self, question: dict[str, Any], event: Event) -> None:
        """The service answers for everybody, so neither its keys nor its address count."""
        source = str(question.get("sourceInfo", ""))
        if question.get("sourceType") in PASSED_ON or source in self._trusted:
            return
        if event["pubkey"] in self._keys:
            return
        if not self._of_sources.take(_network(source)):
            raise Refused("rate-limited: too many events from this address")
        if not self._of_keys.take(event["pubkey"]):
            raise Refused("rate-limited: too many events of this key")


def _check_kind(event: Event) -> None:
    # Kind 22242 is for AUTH messages, which strfry takes by itself; NIP-42 says that a relay
    # must never pass one on.
    if event["kind"] not in (*EXACTLY_ONE, INFO, DELETION):
        raise Refused("blocked: this relay carries NIP-47 only")


def _check_size(event: Event) -> None:
    text = json.dumps(event, ensure_ascii=False, separators=(",", ":"))
    if len(text.encode(errors="surrogatepass")) > MAX_EVENT_BYTES:
        raise Refused("invalid: the event is larger than 64 KiB")
    if len(event["tags"]) > MAX_TAGS:
        raise Refused(f"invalid: more than {MAX_TAGS} tags")
    values = (value for tag in event["tags"] for value in tag)
    if any(len(value.encode(errors="surrogatepass")) > MAX_TAG_VALUE_BYTES for value in values):
        raise Refused(f"invalid: a tag has more than {MAX_TAG_VALUE_BYTES} bytes")


def _check_tags(event: Event) -> None:
    for name in EXACTLY_ONE.get(event["kind"], ""):
        values = _values(event, name)
        if len(values) != 1 or not _is_hex64(values[0]):
            raise Refused(f"invalid: exactly one {name} tag is wanted, with 64 hex digits")
    if event["kind"] == DELETION:
        _check_deletion(event)


def _check_deletion(event: Event) -> None:
    """NIP-09: of its author's own events, by id or by address; here of info events only."""
    ids, addresses = _values(event, "e"), _values(event, "a")
    own = f"{INFO}:{event['pubkey']}:"
    if not 1 <= len(ids) + len(addresses) <= MAX_DELETED:
        raise Refused(f"invalid: a deletion names 1 to {MAX_DELETED} events")
    if not all(map(_is_hex64, ids)) or any(address != own for address in addresses):
        raise Refused("invalid: only one's own info events can be deleted")


def _values(event: Event, name: str) -> list[str]:
    return [tag[1] for tag in event["tags"] if len(tag) > 1 and tag[0] == name]


def _network(source: str) -> str:
    """Whoever has one IPv6 address has all 2^64 beside it."""
    try:
        address = ipaddress.ip_address(source)
    except ValueError:
        return source
    if address.version == 4:
        return source
    return str(ipaddress.ip_network((address, 64), strict=False))


def decide(policy: Policy, line: str) -> dict[str, str]:
    """The decision on one line of strfry's."""
    event_id = ""
    try:
        question = json.loads(line)
        event_id = str(question["event"]["id"])
        if question["type"] != "new":
            raise Refused("error: the write policy does not know this question")
        policy.check(question)
    except Refused as refusal:
        return {"id": event_id, "action": "reject", "msg": str(refusal)}
    except (
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        OSError,
        RecursionError,
    ) as problem:
        # Nothing is let through unseen, and nothing ends the program.
        print(f"write policy: {type(problem).__name__}", file=sys.stderr)  # noqa: T201
        return {"id": event_id, "action": "reject", "msg": "error: cannot be judged"}
    return {"id": event_id, "action": "accept"}


def options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="A strfry write policy for NIP-47.")
    parser.add_argument(
        "--service-keys", type=Path, help="file of the service's public keys, one a line"
    )
    parser.add_argument(
        "--trust", action="append", default=[], help="address without a rate; may be repeated"
    )
    parser.add_argument("--per-key", type=float, default=5, help="events per second of a key")
    parser.add_argument("--per-key-burst", type=float, default=100)
    parser.add_argument(
        "--per-source", type=float, default=50, help="events per second of an address"
    )
    parser.add_argument("--per-source-burst", type=float, default=500)
    return parser.parse_args(arguments)


def main() -> None:
    chosen = options()
    policy = Policy(
        keys=ServiceKeys(chosen.service_keys),
        trusted=chosen.trust,
        per_key=Rate(chosen.per_key, chosen.per_key_burst),
        per_source=Rate(chosen.per_source, chosen.per_source_burst),
    )
    for line in sys.stdin:
        sys.stdout.write(json.dumps(decide(policy, line), separators=(",", ":")) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
