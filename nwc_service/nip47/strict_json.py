"""JSON read so that no two readers can understand it differently, and no depth can hurt."""

import json
import math
import re
from collections.abc import Iterable

MAX_DEPTH = 32
MAX_BRACKETS = 4096
"""Of objects and arrays, and in texts too: as many as any request needs, and soon read."""

_may_have_surrogates = re.compile(r"\\u[dD]").search


class NotStrictJson(ValueError):
    """Not JSON, or JSON with duplicate keys, NaN, an endless number, half a surrogate pair, or
    too much or too deep a nesting."""


def loads(text: str) -> object:
    """Raises NotStrictJson. Whole numbers of any size come as int, and others as float."""
    brackets = text.count("[") + text.count("{")
    if brackets > MAX_BRACKETS:
        raise NotStrictJson(f"there are more than {MAX_BRACKETS} objects and arrays")
    try:
        value = json.loads(
            text,
            object_pairs_hook=_unique_object,
            parse_constant=_refuse_constant,
            parse_float=_finite,
        )
    except (ValueError, RecursionError) as error:
        raise NotStrictJson("this is no strict JSON") from error
    if brackets > MAX_DEPTH:
        _check_depth(value)
    if _may_have_surrogates(text):
        _check_unicode(value)
    return value


def _check_depth(value: object) -> None:
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        level = [inner for outer in level for inner in _items(outer)]
        if not level:
            return
    raise NotStrictJson(f"the nesting is deeper than {MAX_DEPTH}")


def _check_unicode(value: object) -> None:
    """Half a surrogate pair, which only an escape can write, is no text to any encoder."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise NotStrictJson("a text is not Unicode") from None


def _items(value: object) -> Iterable[object]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _unique_object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("duplicate key")
    return result


def _refuse_constant(name: str) -> object:
    raise ValueError(name)


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError("a number is too large")
    return number
