"""Templates, and how amounts, times and long words are shown."""

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

HERE = Path(__file__).parent


def sat(amount_msat: object) -> str:
    """`12,345.678`: msat as sat, with the part of a sat only where there is one."""
    if not isinstance(amount_msat, int):
        return "–"
    whole, rest = divmod(abs(amount_msat), 1000)
    sign = "−" if amount_msat < 0 else ""
    part = f".{rest:03}".rstrip("0") if rest else ""
    return f"{sign}{whole:,}{part}"


def when(seconds: object) -> Markup:
    if not isinstance(seconds, int):
        return Markup("–")
    moment = datetime.fromtimestamp(seconds, UTC)
    return Markup('<time datetime="{}">{}</time>').format(
        moment.isoformat(), moment.strftime("%Y-%m-%d %H:%M:%S")
    )


def short(word: object) -> Markup:
    """The begin of an id; the whole of it on demand and for whoever copies."""
    text = "" if word is None else str(word)
    if len(text) <= 16:
        return escape(text or "–")
    return Markup('<code title="{}">{}…</code>').format(text, text[:10])


def printable(text: object) -> str:
    """What an app or a node wrote: no letter that turns the others around."""
    return "".join(
        each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in str(text)
    )


def pairs(words: Iterable[str]) -> list[tuple[str, str]]:
    """Choices that are shown as they are sent."""
    return [(word, word) for word in words]


_templates = Environment(
    loader=FileSystemLoader(HERE / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_templates.filters |= {
    "sat": sat,
    "when": when,
    "short": short,
    "printable": printable,
    "pairs": pairs,
}


def render(template: str, **values: object) -> str:
    return _templates.get_template(template).render(**values)
