"""Opaque words for where a page of a list ends."""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode

from nwc_service.store.history import Place
from nwc_service.wallet.errors import Refused

MAX_LENGTH = 200
SIDES = ("in", "out")


def after(place: Place) -> str:
    text = json.dumps([place.created_at, place.side, place.id])
    return urlsafe_b64encode(text.encode()).decode().rstrip("=")


def place_of(cursor: str) -> Place:
    """Raises Refused for what is no cursor of ours."""
    try:
        padded = cursor[:MAX_LENGTH] + "=" * (-len(cursor) % 4)
        created_at, side, id_ = json.loads(urlsafe_b64decode(padded))
    except (ValueError, TypeError):
        raise Refused("cursor: not one of a page") from None
    is_place = isinstance(created_at, int) and isinstance(id_, str) and side in SIDES
    if not is_place or len(cursor) > MAX_LENGTH or not 0 <= created_at < 2**53:
        raise Refused("cursor: not one of a page")
    return Place(created_at, side, id_)
