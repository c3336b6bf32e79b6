"""OpenTelemetry traces of a request, for those who ask for them; else nothing at all.

`pip install nwc-service[otel]`, and OTEL_EXPORTER_OTLP_ENDPOINT says where they go. A span has
a name, a method and ids of the log in it; what an exception says is never recorded.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from importlib import import_module
from inspect import iscoroutinefunction
from typing import Any, TypeVar

import structlog

__all__ = ["annotate", "exporting", "traced"]

log = structlog.get_logger()

ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")

F = TypeVar("F", bound=Callable[..., Any])


def _api() -> Any:
    """None where nobody wants traces, or it is not installed. Asked once, so that a function
    that is not traced costs nothing."""
    if not any(map(os.environ.get, ENDPOINTS)):
        return None
    try:
        return import_module("opentelemetry.trace")
    except ImportError:
        log.warning("tracing.not_installed", missing="nwc-service[otel]")
        return None


_trace = _api()


def traced(name: str, *, begins: bool = False) -> Callable[[F], F]:
    """A span around each call; the function itself where nobody wants traces.

    One that `begins` a trace is within no other, whatever brought its task about: a socket may
    have been opened by the request that made its first connection.
    """

    def decorate(function: F) -> F:
        return function if _trace is None else _within_span(function, name, begins=begins)

    return decorate


def annotate(**attributes: str) -> None:
    """Of the current span."""
    if _trace is not None:
        span = _trace.get_current_span()
        for key, value in attributes.items():
            span.set_attribute(f"nwc.{key}", value)


@contextmanager
def exporting() -> Iterator[None]:
    """While inside, spans are sent where the environment says."""
    provider = None if _trace is None else _provider()
    if provider is None:
        yield
        return
    _trace.set_tracer_provider(provider)
    try:
        yield
    finally:
        provider.shutdown()


def _provider() -> Any:
    """None where only a part of it is installed."""
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import SERVICE_NAME, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        log.warning("tracing.not_installed", missing="nwc-service[otel]")
        return None
    provider = TracerProvider(resource=Resource.create({SERVICE_NAME: "nwc-service"}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider


def _within_span(function: F, name: str, *, begins: bool) -> F:
    tracer = _trace.get_tracer("nwc-service")
    # No words of an exception: they may hold what no log may.
    options: dict[str, Any] = {"record_exception": False, "set_status_on_exception": False}
    if begins:
        options["context"] = import_module("opentelemetry.context").Context()
    if iscoroutinefunction(function):

        @wraps(function)
        async def call_async(*arguments: Any, **named: Any) -> Any:
            with tracer.start_as_current_span(name, **options):
                return await function(*arguments, **named)

        return call_async  # type: ignore[return-value]

    @wraps(function)
    def call(*arguments: Any, **named: Any) -> Any:
        with tracer.start_as_current_span(name, **options):
            return function(*arguments, **named)

    return call  # type: ignore[return-value]
