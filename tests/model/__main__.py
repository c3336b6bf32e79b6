"""Every variant with what was found, and with `-v` the shortest way to what is broken."""

import sys
from typing import Any

from tests.model.hold_rules import HOLD_RULES
from tests.model.holds import HoldModel
from tests.model.incoming import INTAKES, IncomingModel
from tests.model.payments import PaymentModel
from tests.model.rules import RULES
from tests.model.search import Model, Result, explore

LINE = "{:11} {:45} {:>4} {:>8} {:>9} {:>8}  {}"


def main() -> int:
    shows_traces = "-v" in sys.argv[1:]
    print(LINE.format("variant", "result", "in", "states", "steps", "seconds", "what it does"))
    as_expected = True
    for variant, model in variants():
        result = explore(model, wanted=variant.expected)
        show(variant.name, variant.words, result=result, shows_trace=shows_traces)
        as_expected &= result.verdict == variant.expected
    print("all as expected" if as_expected else "NOT AS EXPECTED")
    return 0 if as_expected else 1


def variants() -> list[tuple[Any, Model[Any]]]:
    outgoing: list[tuple[Any, Model[Any]]] = [(rule, PaymentModel(rule)) for rule in RULES]
    incoming: list[tuple[Any, Model[Any]]] = [(one, IncomingModel(one)) for one in INTAKES]
    return outgoing + incoming + [(rule, HoldModel(rule)) for rule in HOLD_RULES]


def show(name: str, words: str, *, result: Result, shows_trace: bool) -> None:
    length = len(result.trace) or ""
    verdict = result.verdict or "safe"
    figures = (f"{result.states:,}", f"{result.steps:,}", f"{result.seconds:.1f}")
    print(LINE.format(name, verdict, length, *figures, words), flush=True)
    if result.at_bound:
        print(f"{'':11} ({result.at_bound:,} states are stuck in the last epoch of the model)")
    if shows_trace:
        for number, step in enumerate(result.trace, 1):
            print(f"{number:15}. {step}")


if __name__ == "__main__":
    sys.exit(main())
