"""What Prometheus reads, and that the dashboard and the alert rules ask for nothing else."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from ruamel.yaml import YAML

from service.stage import stage, until
from slotsmith.clock import SystemClock
from slotsmith.model.foresight import Target
from slotsmith.model.launch_error import ErrorKind
from slotsmith.providers.base import ProviderError
from slotsmith.provisioner.searching import Searching
from slotsmith.service.metrics import Metrics
from waiting import PATIENCE

MONITORING = Path(__file__).parent.parent.parent / "monitoring"


def values(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_what_happens_is_counted() -> None:
    async def scenario() -> None:
        async with stage() as s:
            s.provider.launch_faults = [ProviderError(ErrorKind.THROTTLED, "slowly")]
            await s.push(tasks=[{"resources": {"slots": 2}, "count": 2}, {"resources": {"slots": 9}}])
            await until(lambda: len(s.pool.instances) == 2)
            await s.push(agents=[{"name": each.id, "idle": True} for each in s.pool.instances])
            pool = ("pool", "gpu")

            def of(name: str, *labels: tuple[str, str]) -> float:
                return found[name, tuple(sorted((pool, *labels)))]

            async with asyncio.timeout(PATIENCE):
                while True:
                    found = values((await s.client.get("/metrics")).text)
                    if of("slotsmith_agents", ("agent", "idle")) == 2:
                        break
                    await asyncio.sleep(0.02)
            assert of("slotsmith_pool_ready") == 1
            assert of("slotsmith_instances", ("state", "running")) == 2
            assert of("slotsmith_dollars_per_hour") == 2
            assert of("slotsmith_limit", ("limit", "max_instances")) == 4
            assert of("slotsmith_pushes_total", ("status", "new")) == 2
            assert of("slotsmith_provider_calls_total", ("call", "launch"), ("result", "throttled")) == 1
            assert of("slotsmith_provider_calls_total", ("call", "launch"), ("result", "ok")) == 1
            assert of("slotsmith_launches_total", ("result", "granted")) == 1
            assert of("slotsmith_instances_launched_total") == 2
            assert of("slotsmith_decisions_total", ("kind", "launch")) == 1
            assert of("slotsmith_push_to_launch_seconds_count") == 1
            assert of("slotsmith_launch_to_joined_seconds_count") == 2
            assert of("slotsmith_pass_seconds_count") >= 2

    asyncio.run(scenario())


def test_foresight_is_told() -> None:
    async def text(**limits: Any) -> str:
        async with stage(**limits) as s:
            await s.push()
            await until(lambda: s.service.summary_of("gpu"))
            return (await s.client.get("/metrics")).text

    pool = (("pool", "gpu"),)
    found = values(asyncio.run(text(foresight=Target())))
    told = {name: value for (name, labels), value in found.items() if "_foresight_" in name and labels == pool}
    assert told == {
        "slotsmith_foresight_headroom_slots": 0,
        "slotsmith_foresight_holds": 0,
        "slotsmith_foresight_used": 0,
        "slotsmith_foresight_saved_seconds": 0,
        "slotsmith_foresight_extra_instance_seconds": 0,
    }
    assert ("slotsmith_foresight_holds", pool) not in values(asyncio.run(text()))


def test_searches_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    outcomes = {"cheaper": 3, "none_cheaper": 2, "news": 1, "late": 0, "failed": 0}
    told = {"outcomes": outcomes, "saved_dollars_per_hour": 0.25, "waited_seconds": 4.5}

    async def text() -> str:
        async with stage() as s:
            await s.push()
            await until(lambda: s.service.summary_of("gpu"))
            return (await s.client.get("/metrics")).text

    assert not [name for name, _ in values(asyncio.run(text())) if "_search" in name]
    monkeypatch.setattr(Searching, "summary", lambda _: told)
    found = {key: value for key, value in values(asyncio.run(text())).items() if "_search" in key[0]}
    pool = ("pool", "gpu")
    assert found == {
        ("slotsmith_search_wait_seconds_total", (pool,)): 4.5,
        ("slotsmith_search_saved_dollars_per_hour_total", (pool,)): 0.25,
        **{("slotsmith_searches_total", (("outcome", each), pool)): count for each, count in outcomes.items()},
    }


def names() -> set[str]:
    """Every series that there can be."""
    found = set()
    metrics = Metrics(SystemClock())

    async def text() -> str:
        async with stage() as s:
            await s.push(tasks=[{"resources": {"slots": 9}}])
            await until(lambda: (s.service.summary_of("gpu") or {})["unmet"])
            return (await s.client.get("/metrics")).text

    for family in text_string_to_metric_families(asyncio.run(text())):
        found.add(family.name)
    for collector in list(metrics.registry._collector_to_names.values()):
        found.update(collector)
    return found


def asked(text: str) -> set[str]:
    return set(re.findall(r"slotsmith_[a-z_]+", text))


def test_the_dashboard_and_the_rules_ask_for_what_there_is() -> None:
    known = names()
    dashboard: dict[str, Any] = json.loads((MONITORING / "grafana.json").read_text())
    expressions = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    rules = YAML(typ="safe").load((MONITORING / "alerts.yml").read_text())
    alerts = [rule for group in rules["groups"] for rule in group["rules"]]
    expressions += [rule["expr"] for rule in alerts]
    for expression in expressions:
        for name in asked(expression):
            assert name in known or re.sub("_(total|bucket|sum|count)$", "", name) in known, expression
        assert expression.count("(") == expression.count(")")
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"]) == 10
    for rule in alerts:
        assert {"alert", "expr", "for", "labels", "annotations"} <= rule.keys()
        assert rule["annotations"].keys() == {"summary", "description"}
