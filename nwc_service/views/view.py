"""What all views have in common."""

from nwc_service.store.database import Row

View = dict[str, object]
MAX_PAGE = 1000


def rows(found: list[Row]) -> list[View]:
    return [dict(row) for row in found]
