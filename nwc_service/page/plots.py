"""Plots as SVG, drawn on the server; a table beside each says the same in numbers."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from markupsafe import Markup

WIDTH, HEIGHT, EDGE = 640, 140, 4


@dataclass(frozen=True, slots=True)
class Line:
    """One value a step; None where nothing is known."""

    name: str
    values: Sequence[float | None]


def plot(title: str, lines: Sequence[Line], *, at: Sequence[int], step_s: int) -> Markup:
    """One line each, from nothing to the highest; `at` is when each step began."""
    top = max((v for line in lines for v in line.values if v is not None), default=0)
    drawn = Markup("").join(
        _drawn(number, _points(line.values, top=top)) for number, line in enumerate(lines)
    )
    return Markup(
        '<svg viewBox="0 0 {} {}" role="img" aria-label="{}"><line class="axis" x1="{}" x2="{}"'
        ' y1="{}" y2="{}"/>{}</svg><p class="ends"><span>{}</span><span>highest {}</span>'
        "<span>{}</span></p>"
    ).format(
        WIDTH,
        HEIGHT,
        f"{title}; the table below has its numbers",
        EDGE,
        WIDTH - EDGE,
        HEIGHT - EDGE,
        HEIGHT - EDGE,
        drawn,
        _date(at[0], step_s=step_s),
        f"{top:,.6g}" if top < 10 else f"{top:,.0f}",
        _date(at[-1], step_s=step_s),
    )


def _drawn(number: int, points: list[str]) -> Markup:
    """A line; one place alone is a dot."""
    if len(points) == 1:
        x, y = points[0].split(",")
        return Markup('<circle class="line-{}" cx="{}" cy="{}" r="3"/>').format(number, x, y)
    return Markup('<polyline class="line-{}" points="{}"/>').format(number, " ".join(points))


def _points(values: Sequence[float | None], *, top: float) -> list[str]:
    room, step = HEIGHT - 2 * EDGE, (WIDTH - 2 * EDGE) / max(1, len(values) - 1)
    return [
        f"{EDGE + i * step:.1f},{HEIGHT - EDGE - (room * v / top if top else 0):.1f}"
        for i, v in enumerate(values)
        if v is not None
    ]


def _date(at: int, *, step_s: int) -> str:
    shape = "%m-%d %H:%M" if step_s < 86_400 else "%Y-%m-%d"
    return datetime.fromtimestamp(at, UTC).strftime(shape)
