"""Opaque words for where a page of a list ends."""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Any

from nwc_service.store.history import Place
from nwc_service.wallet.errors import Refused

MAX_LENGTH = 200
SIDES = ("in", "out")


def after(place: Place) -> str:
    return _word(place.created_at, place.side, place.id)


def place_of(cursor: str) -> Place:
    """Raises Refused for what is no cursor of ours."""
    created_at, side, id_ = _parts(cursor, int, str, str)
    if side not in SIDES:
        raise _bad()
    return Place(created_at, side, id_)


def after_row(created_at: int, name: str) -> str:
    """Of a list in the order of what was made first, and then of its ids."""
    return _word(created_at, name)


def row_of(cursor: str | None) -> tuple[int, str]:
    """Raises Refused; the very first place without a cursor."""
    if cursor is None:
        return -1, ""
    created_at, name = _parts(cursor, int, str)
    return created_at, name


def _word(*parts: int | str) -> str:
    return urlsafe_b64encode(json.dumps(parts).encode()).decode().rstrip("=")


def _parts(cursor: str, *kinds: type) -> tuple[Any, ...]:
    try:
        padded = cursor[:MAX_LENGTH] + "=" * (-len(cursor) % 4)
        found = json.loads(urlsafe_b64decode(padded))
    except ValueError:
        raise _bad() from None
    is_ours = isinstance(found, list) and [type(part) for part in found] == list(kinds)
    if not is_ours or len(cursor) > MAX_LENGTH or not 0 <= found[0] < 2**53:
        raise _bad()
    return tuple(found)


def _bad() -> Refused:
    return Refused("cursor: not one of a page")
