"""Traces are an extra: without it nothing is there, with it one request is one trace."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from nwc_service import tracing

PACKAGE = "opentelemetry"

FAKE = '''
"""As much of the API of OpenTelemetry as is used, which writes down what happens."""
import json, os
from contextlib import contextmanager
from contextvars import ContextVar

_current = ContextVar("span", default=None)

class Span:
    def __init__(self, name, parent):
        self.name, self.parent, self.attributes = name, parent, {}
    def set_attribute(self, key, value):
        self.attributes[key] = value

class Tracer:
    @contextmanager
    def start_as_current_span(
        self, name, *, record_exception, set_status_on_exception, context=None
    ):
        assert not record_exception and not set_status_on_exception
        span = Span(name, _current.get() if context is None else None)
        token = _current.set(span)
        try:
            yield span
        finally:
            _current.reset(token)
            with open(os.environ["SPANS"], "a") as file:
                chain, each = [], span
                while each is not None:
                    chain.insert(0, each.name)
                    each = each.parent
                file.write(json.dumps({"chain": chain, "attributes": span.attributes}) + "\\n")

def get_tracer(_name):
    return Tracer()

def get_current_span():
    return _current.get() or Span("none", None)
'''

PAY = """
import asyncio, sys
from opentelemetry.trace import get_tracer
from pathlib import Path
from tests.doubles.scripted_backend import ScriptedBackend, outside_invoice
from tests.flow.parties import Clock
from tests.flow.world import open_world

async def main():
    backend, clock = ScriptedBackend(), Clock()
    path = Path(sys.argv[1]) / "nwc.sqlite"
    async with open_world(path, backend=backend, clock=clock) as world:
        await world.account("alice", credit_msat=1_000_000)
        alice = await world.connect("alice")
        backend.expect(1)
        invoice = outside_invoice(1, 100_000, created_at=clock())
        answer = await world.call(alice, "pay_invoice", {"invoice": invoice})
        assert "result" in answer, answer
        silent = {"record_exception": False, "set_status_on_exception": False}
        with get_tracer("test").start_as_current_span("whatever was before", **silent):
            await world.call(alice, "pay_invoice", {"invoice": "c4nary"})

asyncio.run(main())
"""


def test_where_nobody_wants_traces_a_function_is_the_same_function() -> None:
    def function() -> None: ...

    assert tracing._trace is None

    assert tracing.traced("nwc.x")(function) is function
    with tracing.exporting():
        tracing.annotate(method="x")


def spans(tmp_path: Path) -> list[dict[str, Any]]:
    """Of a payment, and of one that is refused, in a process with a fake of the extra."""
    package = tmp_path / "with-fake" / PACKAGE
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "trace.py").write_text(FAKE)
    (package / "context.py").write_text("class Context(dict): ...\n")
    file = tmp_path / "spans"
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(package.parent), str(Path(__file__).parents[2])]),
        "SPANS": str(file),
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1",
    }
    subprocess.run(
        [sys.executable, "-c", PAY, str(tmp_path)], env=environment, check=True, timeout=60
    )
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_one_payment_is_one_trace_from_the_request_to_the_answer(tmp_path: Path) -> None:
    told = spans(tmp_path)

    chains = [tuple(span["chain"]) for span in told]
    under = ("nwc.request", "nwc.method", "nwc.tx_a")
    for chain in (
        ("nwc.request",),
        ("nwc.request", "nwc.open"),
        under,
        (*under, "nwc.tx_b"),
        (*under, "nwc.send"),
        (*under, "nwc.tx_c"),
        (*under, "nwc.tx_c", "nwc.publish"),
    ):
        assert chain in chains
    requests = [span for span in told if span["chain"] == ["nwc.request"]]
    assert [span["attributes"]["nwc.method"] for span in requests] == ["pay_invoice"] * 2
    assert "c4nary" not in json.dumps(told)
