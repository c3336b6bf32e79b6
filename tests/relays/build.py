"""`python -m tests.relays.build` builds the relay of this folder into .tools, with Go."""

from pathlib import Path

from tests.go_build import TOOLS, GoModule

BINARY = TOOLS / "khatru-relay"

RELAY = GoModule(folder=Path(__file__).parent, programs={".": BINARY}, timeout_s=900)
built = RELAY.built

if __name__ == "__main__":
    raise SystemExit(RELAY.main())
