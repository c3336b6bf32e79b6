"""The world of tests/flow, for the attacks on it."""

from tests.flow.conftest import alice, backend, bob, clock, plain_tracebacks, start, world

__all__ = ["alice", "backend", "bob", "clock", "plain_tracebacks", "start", "world"]
