"""Real parts that a machine may lack: node, LNbits, a browser."""

import os

import pytest


def real_parts_required() -> bool:
    """CI must not pass because a part is missing."""
    return bool(os.environ.get("CI") or os.environ.get("NWC_REQUIRE_REAL"))


def require_real(part: str, ok: bool) -> None:
    """Skip the test where the part is missing, or fail it where real parts are required."""
    if ok:
        return
    if real_parts_required():
        pytest.fail(f"{part} is missing, and CI or NWC_REQUIRE_REAL is set", pytrace=False)
    pytest.skip(f"{part} is missing")
