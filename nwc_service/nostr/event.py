"""Events of NIP-01: parse, identify, sign, verify."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

import orjson

from nwc_service.nostr.keys import Keypair, PublicKey, is_hex64, verify

__all__ = ["Event", "InvalidEvent", "event_id", "is_authentic", "parse_event", "sign_event"]

MAX_KIND = 65_535
MAX_TAGS = 2_000  # as strfry
# The largest span of whole numbers that every JSON implementation reads exactly.
MAX_CREATED_AT = 2**53

_is_hex128 = re.compile(r"[0-9a-f]{128}").fullmatch

Tags = tuple[tuple[str, ...], ...]


class InvalidEvent(ValueError):
    """Not an event. The message names the field that is wrong, never its value."""


@dataclass(frozen=True, slots=True)
class Event:
    """Well formed, but authentic only if `is_authentic` says so."""

    id: str
    pubkey: PublicKey
    created_at: int
    kind: int
    tags: Tags
    content: str
    sig: str

    def tag_value(self, name: str) -> str | None:
        """The value of the first tag of this name that has one."""
        return next((tag[1] for tag in self.tags if tag[0] == name and len(tag) > 1), None)

    def tag_values(self, name: str) -> list[str]:
        """The first value of every tag of this name."""
        return [tag[1] for tag in self.tags if tag[0] == name and len(tag) > 1]

    def to_dict(self) -> dict[str, object]:
        return {
            "id": self.id,
            "pubkey": self.pubkey,
            "created_at": self.created_at,
            "kind": self.kind,
            "tags": [list(tag) for tag in self.tags],
            "content": self.content,
            "sig": self.sig,
        }

    def to_json(self) -> str:
        return _json(self.to_dict()).decode()


def parse_event(raw: object) -> Event:
    """An event from decoded JSON, without verifying it; other keys are ignored.

    Raises InvalidEvent.
    """
    if not isinstance(raw, dict):
        raise InvalidEvent("not an object")
    return Event(
        id=_hex(raw, "id"),
        pubkey=PublicKey(_hex(raw, "pubkey")),
        created_at=_whole(raw, "created_at", maximum=MAX_CREATED_AT),
        kind=_whole(raw, "kind", maximum=MAX_KIND),
        tags=_tags(raw.get("tags")),
        content=_content(raw.get("content")),
        sig=_signature(raw.get("sig")),
    )


def event_id(
    pubkey: PublicKey,
    *,
    created_at: int,
    kind: int,
    tags: Sequence[Sequence[str]],
    content: str,
) -> str:
    """SHA-256 of the NIP-01 serialisation. Raises InvalidEvent for text that is not Unicode."""
    return sha256(_json([0, pubkey, created_at, kind, tags, content])).hexdigest()


def is_authentic(event: Event) -> bool:
    """Whether the id is the event's own and the signature its author's."""
    try:
        expected_id = event_id(
            event.pubkey,
            created_at=event.created_at,
            kind=event.kind,
            tags=event.tags,
            content=event.content,
        )
    except InvalidEvent:
        return False
    if event.id != expected_id:
        return False
    return verify(event.pubkey, bytes.fromhex(expected_id), signature=bytes.fromhex(event.sig))


def sign_event(
    keypair: Keypair,
    *,
    kind: int,
    content: str,
    tags: Sequence[Sequence[str]],
    created_at: int,
    aux: bytes,
) -> Event:
    """A new authentic event. `aux` is 32 fresh random bytes."""
    frozen_tags = tuple(map(tuple, tags))
    new_id = event_id(
        keypair.public_key, created_at=created_at, kind=kind, tags=frozen_tags, content=content
    )
    return Event(
        id=new_id,
        pubkey=keypair.public_key,
        created_at=created_at,
        kind=kind,
        tags=frozen_tags,
        content=content,
        sig=keypair.sign(bytes.fromhex(new_id), aux=aux).hex(),
    )


def _json(value: object) -> bytes:
    # NIP-01: "UTF-8 should be used for encoding", no whitespace, and only \n " \ \r \t \b \f
    # have short escapes: this is what orjson writes.
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError:
        raise InvalidEvent("not valid Unicode or not a 64-bit number") from None


def _hex(raw: dict[str, object], key: str) -> str:
    value = raw.get(key)
    if not isinstance(value, str) or not is_hex64(value):
        raise InvalidEvent(f"{key} is not 64 lowercase hex digits")
    return value


def _signature(value: object) -> str:
    if not isinstance(value, str) or not _is_hex128(value):
        raise InvalidEvent("sig is not 128 lowercase hex digits")
    return value


def _whole(raw: dict[str, object], key: str, *, maximum: int) -> int:
    value = raw.get(key)
    # bool is a kind of int in Python, but not in JSON.
    if type(value) is not int or not 0 <= value <= maximum:
        raise InvalidEvent(f"{key} is not a whole number from 0 to {maximum}")
    return value


def _content(value: object) -> str:
    if not isinstance(value, str):
        raise InvalidEvent("content is not a string")
    return value


def _tags(value: object) -> Tags:
    if not isinstance(value, list):
        raise InvalidEvent("tags is not a list")
    if len(value) > MAX_TAGS:
        raise InvalidEvent(f"there are more than {MAX_TAGS} tags")
    return tuple(map(_tag, value))


def _tag(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not value:
        raise InvalidEvent("a tag is not a non-empty list")
    for item in value:
        if not isinstance(item, str):
            raise InvalidEvent("a tag holds something other than a string")
    return tuple(value)
