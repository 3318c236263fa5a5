"""Spans of passes and of calls of providers, for OpenTelemetry (extra `otel`).

A span of a pass is the parent of the launches that it begins. What it costs is paid only where the file asks for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Final

from slotsmith import __version__
from slotsmith.config.assembly import UNWATCHED, Watch
from slotsmith.providers.base import Provider
from slotsmith.providers.watched import Watched, outcome
from slotsmith.text import one_line

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Span

    from slotsmith.config.models import TracesSettings

MISSING: Final = 'traces need more packages: pip install "slotsmith[otel]"'
EXPORT_DEADLINE: Final = 5
"""Seconds for handing spans to a collector; a slower one loses them, and delays nothing else."""


class Tracing(Watch):
    """Tells a collector of all that the pools do, and `inner` as well. `close` hands over the last spans."""

    def __init__(self, exporter: SpanExporter, *, sample: float = 1.0, inner: Watch = UNWATCHED) -> None:
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased

        resource = Resource.create({"service.name": "slotsmith", "service.version": __version__})
        # Our own, not the process's: a program that embeds a pool has its own.
        self._spans = TracerProvider(
            resource=resource, sampler=ParentBased(TraceIdRatioBased(sample)), shutdown_on_exit=False
        )
        self._spans.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._spans.get_tracer("slotsmith", __version__)
        self._inner = inner

    def provider(self, pool: str, provider: Provider) -> Provider:
        def around(call: str, known: Mapping[str, str | int]) -> AbstractContextManager[None]:
            return self._call(pool, call, known)

        return Watched(self._inner.provider(pool, provider), around)

    def passed(self, pool: str, seconds: float) -> None:
        self._inner.passed(pool, seconds)

    @contextmanager
    def passing(self, pool: str, number: int) -> Iterator[None]:
        with self._span("pass", {"slotsmith.pool": pool, "slotsmith.pass": number}), self._inner.passing(pool, number):
            yield

    @contextmanager
    def _call(self, pool: str, call: str, known: Mapping[str, str | int]) -> Iterator[None]:
        told = {f"slotsmith.{name}": value for name, value in known.items()}
        with self._span(f"provider.{call}", {"slotsmith.pool": pool, **told}):
            yield

    @contextmanager
    def _span(self, name: str, attributes: Mapping[str, str | int]) -> Iterator[None]:
        # A traceback may name what is in variables, so an error is told by its text alone.
        with self._tracer.start_as_current_span(
            name, attributes=attributes, record_exception=False, set_status_on_exception=False
        ) as span:
            try:
                yield
            except BaseException as error:
                _failed(span, error)
                raise
            span.set_attribute("slotsmith.result", outcome(None))

    def close(self) -> None:
        """Hand over what has not been handed over yet, and stop."""
        self._spans.shutdown()


def _failed(span: Span, error: BaseException) -> None:
    from opentelemetry.trace import Status, StatusCode

    span.set_attribute("slotsmith.result", outcome(error))
    span.set_status(Status(StatusCode.ERROR, one_line(f"{type(error).__name__}: {error}", 200)))


def tracing_to(settings: TracesSettings, inner: Watch = UNWATCHED) -> Tracing | None:
    """What tells the collector that the file names; None = it names none.

    Raises:
        ModuleNotFoundError: the extra is not installed.
    """
    if settings.endpoint is None:
        return None
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    headers = {name: value.get_secret_value() for name, value in settings.headers.items()}
    exporter = OTLPSpanExporter(
        endpoint=f"{settings.endpoint.rstrip('/')}/v1/traces", headers=headers, timeout=EXPORT_DEADLINE
    )
    return Tracing(exporter, sample=settings.sample, inner=inner)
