"""The tour as plain lines of text; what is not as it should be ends it."""

from collections.abc import Set as AbstractSet

from rich.console import Console


class Mismatch(Exception):
    """Something is not as it should be; the message says what."""


class PrintedStory:
    def __init__(self) -> None:
        # As wide as the text is: a file or a pipe has no width.
        self._console = Console(highlight=False, soft_wrap=True)
        self._chapters = 0
        self.checks = 0

    def chapter(self, title: str) -> None:
        self._chapters += 1
        self.say(f"\n{self._chapters}. {title}", style="bold")

    def say(self, text: str, *, style: str = "") -> None:
        self._console.print(text, style=style, markup=False)

    def check(self, what: str, found: object, *, expected: object) -> None:
        """Raises Mismatch."""
        if found != expected:
            raise Mismatch(f"{what}: {_shown(found)}; it should be {_shown(expected)}")
        self.checks += 1
        self.say(f"   ok  {what:<36} {_shown(found)}")


def _shown(value: object) -> str:
    match value:
        case bool():
            return "yes" if value else "no"
        case AbstractSet():
            return " ".join(sorted(map(str, value)))
        case tuple():
            return " ".join(map(_shown, value))
        case list():
            return ", ".join(map(_shown, value)) or "none"
        case _:
            return str(value)
