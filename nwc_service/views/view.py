"""What all views have in common."""

from collections.abc import Callable

from nwc_service.store.database import Row

View = dict[str, object]
MAX_PAGE = 1000


def page(items: list[View], *, limit: int, cursor: Callable[[], str]) -> View:
    """Of one more than `limit`, if there are so many; `cursor` is behind the last one shown."""
    is_last = len(items) <= limit
    return {"items": items[:limit], "next_cursor": None if is_last else cursor()}


def rows(found: list[Row]) -> list[View]:
    return [dict(row) for row in found]
