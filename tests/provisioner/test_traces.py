"""What a collector of traces is told: a span for each pass and each call of the provider, and no secret."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

pytest.importorskip("opentelemetry.sdk", reason="the extra otel is not installed")

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from provisioner.world import World
from slotsmith.config import ConfigError, read_config
from slotsmith.config.assembly import Watch
from slotsmith.config.models import TracesSettings
from slotsmith.model.launch_error import ErrorKind
from slotsmith.providers.base import ProviderError
from slotsmith.provisioner import Provisioner
from slotsmith.tracing import Tracing, tracing_to


def traced(world: World, watch: Watch) -> Provisioner:
    """The world's pool, watched."""
    pool = world.provisioner()
    return Provisioner(
        "p",
        world.policy,
        provider=watch.provider("p", world.provider),
        scheduler=world.scheduler,
        store=world.store,
        run_store=pool._run_store,
        clock=world.clock,
        random=pool._random,
        new_id=world.new_id,
        telemetry=lambda event: None,
        around_pass=lambda number: watch.passing("p", number),
        on_pass=lambda seconds: watch.passed("p", seconds),
    )


async def one_launch(world: World, watch: Watch) -> None:
    """Passes of a running pool until one instance is there."""
    world.pool = traced(world, watch)
    running = asyncio.create_task(world.pool.run())
    async with asyncio.timeout(60):
        while world.pool.last_decision is None:
            await asyncio.sleep(0.001)
        world.push(desired=1)
        while not world.provider.instances:
            await asyncio.sleep(0.001)
    world.pool.stop()
    await running


def spans_of(world: World) -> list[ReadableSpan]:
    exporter = InMemorySpanExporter()
    tracing = Tracing(exporter)
    asyncio.run(one_launch(world, tracing))
    tracing.close()
    return list(exporter.get_finished_spans())


def test_a_pass_and_the_launch_it_leads_to_are_one_trace() -> None:
    spans = spans_of(World())
    (launch,) = [span for span in spans if span.name == "provider.launch"]
    passes = {span.context.span_id: span for span in spans if span.name == "pass"}
    assert launch.parent is not None
    its_pass = passes[launch.parent.span_id]
    assert its_pass.context.trace_id == launch.context.trace_id
    assert dict(launch.attributes or {}) == {
        "slotsmith.pool": "p",
        "slotsmith.offering": "test/on-demand",
        "slotsmith.count": 1,
        "slotsmith.token": "t1",
        "slotsmith.result": "ok",
    }
    assert (its_pass.attributes or {})["slotsmith.pool"] == "p"
    numbers = [(span.attributes or {})["slotsmith.pass"] for span in passes.values()]
    assert sorted(numbers) == list(range(1, len(numbers) + 1))
    assert {span.name for span in spans} >= {"provider.setup", "provider.list"}
    assert launch.resource.attributes["service.name"] == "slotsmith"


def test_a_call_that_fails_says_how_and_without_a_traceback() -> None:
    world = World()
    world.provider.launch_faults = [ProviderError(ErrorKind.THROTTLED, "slow down")]
    failed, *_ = [span for span in spans_of(world) if span.name == "provider.launch"]
    assert (failed.attributes or {})["slotsmith.result"] == "throttled"
    assert (failed.status.status_code, failed.events) == (StatusCode.ERROR, ())
    assert "slow down" in (failed.status.description or "")


def test_whoever_watched_before_is_told_as_well() -> None:
    class Inner(Watch):
        def __init__(self) -> None:
            self.seconds: list[float] = []

        def passed(self, pool: str, seconds: float) -> None:
            self.seconds.append(seconds)

    inner = Inner()
    exporter = InMemorySpanExporter()
    tracing = Tracing(exporter, inner=inner)
    asyncio.run(one_launch(World(), tracing))
    tracing.close()
    assert len(inner.seconds) == sum(span.name == "pass" for span in exporter.get_finished_spans())


def test_a_share_of_them_is_none_of_them() -> None:
    exporter = InMemorySpanExporter()
    tracing = Tracing(exporter, sample=0.0)
    asyncio.run(one_launch(World(), tracing))
    tracing.close()
    assert exporter.get_finished_spans() == ()


class Collector:
    """Takes OTLP over HTTP on this machine."""

    def __init__(self) -> None:
        self.spans: list[str] = []
        self.keys: list[str | None] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    import gzip

                    body = gzip.decompress(body)
                told = ExportTraceServiceRequest.FromString(body)
                collector.keys.append(self.headers.get("x-key"))
                collector.spans += [
                    span.name for one in told.resource_spans for scope in one.scope_spans for span in scope.spans
                ]
                self.send_response(200 if self.path == "/v1/traces" else 404)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()


@pytest.fixture
def collector() -> Iterator[Collector]:
    one = Collector()
    yield one
    one.server.shutdown()
    one.server.server_close()


def test_a_collector_is_sent_what_the_file_asks_for(collector: Collector) -> None:
    settings = TracesSettings.model_validate({"endpoint": collector.address, "headers": {"x-key": "s3cret"}})
    assert "s3cret" not in repr(settings)
    tracing = tracing_to(settings)
    assert tracing is not None
    asyncio.run(one_launch(World(), tracing))
    tracing.close()
    assert {"pass", "provider.launch", "provider.list"} <= set(collector.spans)
    assert set(collector.keys) == {"s3cret"}


def test_without_a_collector_nothing_is_imported() -> None:
    assert tracing_to(TracesSettings()) is None
    code = "import sys, slotsmith.tracing; sys.exit(any(name.startswith('opentelemetry') for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_an_endpoint_that_is_none_is_told(tmp_path: Path) -> None:
    pool = '{name: a, scheduler: {type: push}, provider: {type: local, command: "agent"}}'
    for wrong in ("127.0.0.1:4318", "http://", "http://me:word@here", "http://a b"):
        with pytest.raises(ConfigError, match=r"traces\.endpoint: expected the URL of a collector"):
            read_config(f"traces: {{endpoint: '{wrong}'}}\npools: [{pool}]", "slotsmith.yaml")
