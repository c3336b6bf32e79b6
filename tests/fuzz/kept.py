"""The inputs that are kept: seeds, what reached a new line, and all that ever failed."""

from hashlib import sha256
from pathlib import Path

CORPUS = Path(__file__).parent / "corpus"


def inputs(target: str) -> dict[str, bytes]:
    """By the names of their files."""
    return {path.name: path.read_bytes() for path in sorted((CORPUS / target).iterdir())}


def keep(target: str, data: bytes, *, why: str) -> Path:
    """`why` is the first word of the file's name."""
    path = CORPUS / target / f"{why}-{sha256(data).hexdigest()[:12]}"
    path.write_bytes(data)
    return path
