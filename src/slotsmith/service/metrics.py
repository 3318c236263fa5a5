"""What Prometheus reads: gauges from the last summaries, and counts and times of what happens."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import lru_cache
from typing import Any, Final

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from slotsmith.clock import Clock
from slotsmith.config.assembly import Watch
from slotsmith.model.instance import InstanceState
from slotsmith.model.launch import IntentState
from slotsmith.providers.base import Provider
from slotsmith.providers.watched import Watched, outcome
from slotsmith.service.context import Service
from slotsmith.store.base import Changes

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
# When each series began would be as many series again, and nobody asks for them.
disable_created_metrics()  # type: ignore[no-untyped-call]

_SECONDS: Final = (0.005, 0.02, 0.1, 0.5, 2, 5, 15, 30, 60, 120, 300, 600, 1200)
_PASS_SECONDS: Final = (0.001, 0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2, 5)
_CHILDREN: Final = 4096

_FORESIGHT: Final = {
    "foresight_headroom_slots": "Slots that foresight keeps free",
    "foresight_holds": "1 while foresight holds spare, 0 when it has withdrawn or is still learning",
    "foresight_used": "How often work found room that would not have been there without foresight (an estimate)",
    "foresight_saved_seconds": "Waiting that foresight has saved, in seconds (an estimate)",
    "foresight_extra_instance_seconds": "What foresight has cost, in instance-seconds (an estimate)",
}


class Metrics(Watch):
    """Everything that is counted. `follow` connects it with the service that it counts for."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._service: Service | None = None
        self._open: dict[str, float] = {}
        self._joined: set[str] = set()
        self._began = clock.now()
        self.registry = CollectorRegistry(auto_describe=False)

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"slotsmith_{name}", text, ("pool", *labels), registry=self.registry)

        def histogram(name: str, text: str, buckets: Sequence[float], *labels: str) -> Histogram:
            return Histogram(f"slotsmith_{name}", text, ("pool", *labels), registry=self.registry, buckets=buckets)

        self._pushes = counter("pushes", "Views that were pushed, by what became of them", "status")
        self._decisions = counter("decisions", "Decisions on record that launch, terminate or leave unmet", "kind")
        self._launches = counter("launches", "Launch intents that were answered", "result")
        self._launched = counter("instances_launched", "Instances that were granted")
        self._terminated = counter("instances_terminated", "Instances that were chosen to go, by reason", "reason")
        self._calls = counter("provider_calls", "Calls of the provider", "call", "result")
        self._call_seconds = histogram("provider_call_seconds", "Time that calls took", _SECONDS, "call")
        self._passes = histogram("pass_seconds", "Time that passes took", _PASS_SECONDS)
        # These two come so often that finding the child by its labels would be most of the work.
        self._pushes_of = lru_cache(_CHILDREN)(self._pushes.labels)
        self._passes_of = lru_cache(_CHILDREN)(self._passes.labels)
        self._push_to_launch = histogram("push_to_launch_seconds", "From a push to the launch it led to", _SECONDS)
        self._launch_to_joined = histogram(
            "launch_to_joined_seconds", "From a launch to its agent's first sign of life", _SECONDS
        )
        self.registry.register(_Summaries(self))

    def follow(self, service: Service) -> None:
        """Count for this service from now on."""
        self._service = service
        service.hub.on_changes.append(self._committed)

    @property
    def service(self) -> Service | None:
        """What is counted for."""
        return self._service

    def text(self) -> bytes:
        """What Prometheus reads."""
        return generate_latest(self.registry)

    def pushed(self, pool: str, status: str) -> None:
        """A view was pushed."""
        self._pushes_of(pool, status).inc()

    def provider(self, pool: str, provider: Provider) -> Provider:
        def around(call: str, _known: Mapping[str, str | int]) -> AbstractContextManager[None]:
            return self._counting(pool, call)

        return Watched(provider, around)

    def passed(self, pool: str, seconds: float) -> None:
        self._passes_of(pool).observe(seconds)

    @contextmanager
    def _counting(self, pool: str, call: str) -> Iterator[None]:
        began, error = self._clock.now(), None
        try:
            yield
        except BaseException as caught:
            error = caught
            raise
        finally:
            self._calls.labels(pool, call, outcome(error)).inc()
            self._call_seconds.labels(pool, call).observe(self._clock.now() - began)

    def _committed(self, changes: Changes) -> None:
        pool, decision = changes.pool, changes.decision
        if decision is not None:
            kinds = {
                "launch": decision.launches,
                "terminate": decision.terminations,
                "unmet": decision.unmet,
            }
            for kind, found in kinds.items():
                if found:
                    self._decisions.labels(pool, kind).inc()
            for each in decision.terminations:
                self._terminated.labels(pool, each.reason.value).inc()
        self._count_intents(changes)
        self._count_joins(changes)

    def _count_intents(self, changes: Changes) -> None:
        place = self._service.desk.places.get(changes.pool) if self._service else None
        for intent in changes.intents:
            if intent.state is IntentState.OPEN and not intent.attempts and intent.token not in self._open:
                self._open[intent.token] = intent.created_at
                if place is not None and place.pushed_at is not None:
                    self._push_to_launch.labels(changes.pool).observe(max(0.0, intent.created_at - place.pushed_at))
            elif intent.state in (IntentState.GRANTED, IntentState.REFUSED) and intent.token in self._open:
                del self._open[intent.token]
                self._launches.labels(changes.pool, intent.state.value).inc()
                self._launched.labels(changes.pool).inc(intent.granted or 0)

    def _count_joins(self, changes: Changes) -> None:
        for record in changes.instances:
            key = f"{changes.pool}/{record.instance.id}"
            if record.gone_at is not None:
                self._joined.discard(key)
            elif record.joined_at is not None and record.joined_at >= self._began and key not in self._joined:
                self._joined.add(key)
                seconds = max(0.0, record.joined_at - record.instance.launched_at)
                self._launch_to_joined.labels(changes.pool).observe(seconds)


class _Summaries:
    """Gauges, made when they are read."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        service = self._metrics.service
        if service is None:
            return
        leads = GaugeMetricFamily("slotsmith_leads", "1 when the pools run in this process, 0 when it is a standby")
        leads.add_metric([], float(service.leads))
        yield leads
        if not service.leads:
            # The leader tells, and whoever adds up the replicas must not find everything twice.
            return
        plain = {
            "pending_tasks": "Tasks that wait",
            "pending_slots": "Slots that waiting tasks ask for",
            "in_flight": "Instances asked for and not listed yet",
            "dollars_per_hour": "What the instances that are paid for cost, in dollars per hour",
            "dollars_this_month": "What the pool has cost since the month began (UTC), in dollars",
        }
        gauges = {key: GaugeMetricFamily(f"slotsmith_{key}", text, labels=["pool"]) for key, text in plain.items()}

        def gauge(name: str, text: str, *labels: str) -> GaugeMetricFamily:
            found = GaugeMetricFamily(f"slotsmith_{name}", text, labels=["pool", *labels])
            gauges[name] = found
            return found

        ready = gauge("pool_ready", "1 when the pool's provider and scheduler answer")
        paused = gauge("pool_paused", "1 when somebody has paused the pool")
        error = gauge("launch_error", "1 while launches fail")
        strays = gauge("strays", "Instances that the store does not know")
        states = gauge("instances", "Instances by state", "state")
        agents = gauge("agents", "Instances by what their agents do", "agent")
        limits = gauge("limit", "The limits in force", "limit")
        unmet = gauge("unmet", "Demand that is not served, by reason", "reason")
        spare = {name: gauge(name, text) for name, text in _FORESIGHT.items()}
        searches = _Searches()
        idle = gauge("idle_seconds", "Sum of how long idle agents have been idle, of the first thousand instances")
        for pool, trail in service.hub.trails.items():
            ready.add_metric([pool], float(service.ready(pool)))
            summary = trail.summary
            if summary is None:
                continue
            for key in plain:
                gauges[key].add_metric([pool], summary.get(key, 0.0))
            paused.add_metric([pool], float(bool(summary.get("paused"))))
            error.add_metric([pool], float(bool(summary["launch_error"])))
            strays.add_metric([pool], len(summary["strays"]))
            _by_state(pool, summary, states, agents, idle)
            _foresight(pool, summary.get("foresight"), spare)
            searches.add(pool, summary.get("searches"))
            for name, value in summary["policy"].items():
                if name.startswith(("max_", "min_")) and isinstance(value, (int, float)) and "period" not in name:
                    limits.add_metric([pool, name], value)
            for reason, count in _unmet(summary).items():
                unmet.add_metric([pool, reason], count)
        yield from gauges.values()
        yield from searches.counters


class _Searches:
    """What came of the searches for cheaper launches, of all pools."""

    def __init__(self) -> None:
        def counter(name: str, text: str, *labels: str) -> CounterMetricFamily:
            return CounterMetricFamily(f"slotsmith_{name}", text, labels=["pool", *labels])

        self._made = counter("searches", "Searches for cheaper launches, by what came of them", "outcome")
        self._waited = counter("search_wait_seconds", "Seconds that launches have waited for cheaper ones")
        self._saved = counter(
            "search_saved_dollars_per_hour", "What searches have made launches cheaper, in dollars per hour"
        )
        self.counters = (self._made, self._waited, self._saved)

    def add(self, pool: str, told: Mapping[str, Any] | None) -> None:
        if told is None:
            return
        for kind, count in told["outcomes"].items():
            self._made.add_metric([pool, kind], count)
        self._waited.add_metric([pool], told["waited_seconds"])
        self._saved.add_metric([pool], told["saved_dollars_per_hour"])


def _by_state(
    pool: str,
    summary: Mapping[str, Any],
    states: GaugeMetricFamily,
    agents: GaugeMetricFamily,
    idle: GaugeMetricFamily,
) -> None:
    for state in InstanceState:
        states.add_metric([pool, state.value], summary["counts"].get(state.value, 0))
    found: dict[str, int] = dict.fromkeys(("idle", "busy", "disconnected", "starting", "none"), 0)
    for each in summary["instances"]:
        found[each["agent"]] += 1
    for agent, count in found.items():
        agents.add_metric([pool, agent], count)
    since = [each["idle_since"] for each in summary["instances"] if each["agent"] == "idle"]
    idle.add_metric([pool], sum(summary["at"] - at for at in since if at is not None))


def _foresight(pool: str, told: Mapping[str, Any] | None, gauges: Mapping[str, GaugeMetricFamily]) -> None:
    if told is None:
        return
    values = (
        *(told["headroom_slots"], float(told["holds"]), told["used"]),
        *(told["saved_seconds"], told["extra_instance_seconds"]),
    )
    for name, value in zip(_FORESIGHT, values, strict=True):
        gauges[name].add_metric([pool], value)


def _unmet(summary: Mapping[str, Any]) -> dict[str, int]:
    """By reason, without the numbers in it: each would be a series of its own."""
    found: dict[str, int] = {}
    for each in summary["unmet"]:
        reason = "".join("#" if letter.isdigit() else letter for letter in each["reason"])[:120]
        while "##" in reason:
            reason = reason.replace("##", "#")
        found[reason] = found.get(reason, 0) + each["count"]
    return found
