"""What an episode counts, or many of them together."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from tests.chaos.clients import Asked
from tests.chaos.oracle import Verdict


@dataclass(slots=True)
class Score:
    """Of an episode, or of many."""

    kills: int = 0
    payments: int = 0
    requests: int = 0
    lost_msat: int = 0
    created_msat: int = 0
    unanswered: int = 0
    differing: int = 0
    seconds: float = 0.0
    restart_s: float = 0.0  # all of them, from the order to fork until it is ready
    restarts: int = 0
    repeated: int = 0  # answered requests that were delivered again
    problems: list[str] = field(default_factory=list)
    places: Counter[str] = field(default_factory=Counter)
    answers: Counter[str] = field(default_factory=Counter)

    @property
    def is_clean(self) -> bool:
        figures = self.lost_msat, self.created_msat, self.unanswered, self.differing
        return not any(figures) and not self.problems

    def count(self, verdict: Verdict, asked: Iterable[Asked]) -> None:
        """What came out of it in the end, and what the apps have heard."""
        for one in asked:
            self.requests += 1
            for payload in one.payloads.values():
                error = payload.get("error") or {"code": "OK", "message": ""}
                self.answers[f"{one.method} {error['code']} {error['message']}"] += 1
        self.lost_msat = verdict.lost_msat
        self.created_msat = verdict.created_msat
        self.unanswered = verdict.unanswered
        self.differing = verdict.differing
        self.problems += verdict.problems
