"""A mutant: one money bug as a unified diff, with a header that names what must kill it."""

from dataclasses import dataclass
from pathlib import Path

PATCHES = Path(__file__).with_name("patches")


@dataclass(frozen=True, slots=True)
class Mutant:
    """`attacks` are those of the threat list that the bug opens again, `killers` the tests
    that must fail with it, as pytest's node ids."""

    number: str
    name: str
    attacks: tuple[str, ...]
    bug: str
    killers: tuple[str, ...]
    patch: Path


def mutants() -> list[Mutant]:
    return [_read(path) for path in sorted(PATCHES.glob("*.patch"))]


def _read(path: Path) -> Mutant:
    """Raises ValueError for a header without one of its lines."""
    header, _, _ = path.read_text().partition("\ndiff ")
    lines = [line.partition(": ") for line in header.splitlines()]
    told = {key: value for key, _, value in lines}
    killers = tuple(value for key, _, value in lines if key == "Killed by")
    if not killers or not {"Attack", "Bug"} <= told.keys():
        raise ValueError(f"{path.name}: its header lacks Attack, Bug or Killed by")
    number, _, name = path.stem.partition("-")
    return Mutant(
        number=number,
        name=name.replace("-", " "),
        attacks=tuple(told["Attack"].split(", ")),
        bug=told["Bug"],
        killers=killers,
        patch=path,
    )
