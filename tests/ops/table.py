"""The table of all metrics in docs/monitoring.md, from their definitions."""

from pathlib import Path

from nwc_service.metrics.instruments import FAMILIES

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "monitoring.md"
MARK = "<!-- from here on written by `python -m tests.ops`; a test compares it -->\n"

_TAIL = """
Besides them `process_*` and `python_gc_*`, as every Python process has them.
"""


def written() -> str:
    """The whole page: what is above the mark as it is, and the table."""
    head, mark, _ = PAGE.read_text().partition(MARK)
    if not mark:
        raise ValueError(f"{PAGE} has lost its mark")
    rows = [
        f"| `{each.name}` | {each.kind} | {' '.join(each.labels)} | {each.help_text} |\n"
        for each in FAMILIES.values()
    ]
    return (
        f"{head}{mark}\n| name | kind | labels | what it is |\n|---|---|---|---|\n"
        + "".join(rows)
        + _TAIL
    )
