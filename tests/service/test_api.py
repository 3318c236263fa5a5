"""The API: pushing a view, reading how things stand, and changing them, each on record with who and why."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from service.stage import JSON, Stage, stage, until
from slotsmith.schedulers.push import PushSettings

VIEW = "/api/v1/pools/gpu/scaling-info"


def run(scenario: Callable[[Stage], Awaitable[None]], **options: Any) -> None:
    async def whole() -> None:
        async with stage(**options) as the_stage:
            await scenario(the_stage)

    asyncio.run(whole())


async def fleet(s: Stage, count: int, *, busy: int = 0) -> list[str]:
    """So many instances with agents, the first of them busy."""
    await s.push(desired_new=count)
    await until(lambda: len(s.pool.instances) == count)
    ids = sorted(each.id for each in s.pool.instances)
    await s.push(agents=[{"name": name, "idle": n >= busy} for n, name in enumerate(ids)], desired_new=0)
    return ids


def test_a_push_launches_and_shows() -> None:
    async def scenario(s: Stage) -> None:
        answer = await s.push(sequence=1, tasks=[{"resources": {"slots": 1}, "count": 3}])
        told = {"status": "new", "sequence": 1, "drains": [], "reservations": []}
        assert (answer.status_code, answer.json()) == (200, told)
        await until(lambda: len(s.pool.instances) == 2)
        await until(lambda: (s.service.summary_of("gpu") or {})["counts"] == {"running": 2})
        (gpu, cpu) = (await s.client.get("/api/v1/pools")).json()["pools"]
        assert (gpu["pool"], gpu["ready"], gpu["slots_per_instance"], gpu["current_slot_count"]) == ("gpu", True, 2, 4)
        assert (gpu["dollars_per_hour"], gpu["pending_tasks"], gpu["instance_type"]) == (2.0, 3, "test")
        assert cpu["ready"] is False
        (decision,) = (await s.client.get("/api/v1/pools/gpu/decisions?kind=launch")).json()["decisions"]
        assert decision["sentence"] == "launch 2 x test/on-demand (pending tasks need 2 more instances)"
        assert "gpu: 2 instances (2 running)" in (await s.client.get("/api/v1/pools/gpu/explain")).json()["lines"][0]

    run(scenario)


def test_idle_agents_are_reserved_for_a_gang_that_waits_for_more() -> None:
    async def scenario(s: Stage) -> None:
        (first,) = await fleet(s, 1)
        view = {
            "agents": [{"name": first, "idle": True}],
            "tasks": [{"id": "g", "resources": {"slots": 4}, "spans": True}, {"id": "t", "resources": {"slots": 1}}],
        }
        await s.push(**view)
        await until(lambda: len(s.pool.instances) >= 2)
        expected = [{"task": "g", "agents": [first]}]
        assert (await s.client.get("/api/v1/pools/gpu/reservations")).json() == {"reservations": expected}
        assert (await s.push(**view)).json()["reservations"] == expected

    run(scenario)


def test_what_comes_twice_or_late_is_recognised() -> None:
    async def scenario(s: Stage) -> None:
        first = await s.push(run="a", sequence=5, desired_new=1)
        assert (await s.push(run="a", sequence=5, desired_new=1)).json()["status"] == "repeated"
        assert (await s.push(run="a", sequence=5, desired_new=2)).status_code == 409
        stale = await s.push(run="a", sequence=4, desired_new=0)
        assert (stale.status_code, "stale" in stale.json()["detail"]) == (409, True)
        assert (await s.push(run="a", sequence=6, desired_new=1)).json()["status"] == "unchanged"
        assert (await s.push(run="b", sequence=0, desired_new=2)).json()["status"] == "new"
        tag = first.headers["etag"]
        refused = await s.client.put(VIEW, json={"desired_new": 0}, headers={"If-Match": tag})
        assert refused.status_code == 412
        last = await s.client.get(VIEW)
        assert (last.json()["run"], last.json()["sequence"]) == ("b", 0)
        assert (await s.client.put(VIEW, json={}, headers={"If-Match": last.headers["etag"]})).status_code == 200

    run(scenario)


def test_a_million_tasks_as_columns_and_packed() -> None:
    async def scenario(s: Stage) -> None:
        body = gzip.compress(json.dumps({"columns": {"slots": [1] * 1_000_000}}).encode(), 1)
        answer = await s.client.put(VIEW, content=body, headers={**JSON, "Content-Encoding": "gzip"})
        assert answer.status_code == 200, answer.text
        assert (await s.client.get(VIEW)).json()["tasks"] == 1_000_000

    run(scenario, max_body=64 * 1024 * 1024)


@pytest.mark.parametrize(
    ("view", "path"),
    [
        ({"tasks": [{}, {"resources": {"slots": -1}}]}, "tasks[1].resources.slots"),
        ({"tasks": [{"resources": {"gpus": 1}}]}, "tasks[0].resources.gpus"),
        ({"agents": [{"name": "x"}]}, "agents[0].idle"),
        ({"columns": {"slots": [1, 2], "cpus": [1.0]}}, "columns"),
        ({"desired_new": "many"}, "desired_new"),
        ({"tasks": [{"resources": {"mem_gib": False}}]}, "tasks[0].resources.mem_gib"),
        ({"task": []}, "task"),
    ],
)
def test_what_is_wrong_is_told_with_its_path(view: dict[str, Any], path: str) -> None:
    async def scenario(s: Stage) -> None:
        answer = await s.push(**view)
        assert answer.status_code == 422
        assert answer.headers["content-type"] == "application/problem+json"
        assert path in [each["path"] for each in answer.json()["errors"]]
        assert s.pool.scaling_info is None

    run(scenario)


def test_bodies_that_cannot_be_read() -> None:
    async def scenario(s: Stage) -> None:
        async def put(content: bytes, **headers: str) -> int:
            named = {key.replace("_", "-").title(): value for key, value in headers.items()}
            return (await s.client.put(VIEW, content=content, headers={**JSON, **named})).status_code

        assert await put(b"{") == 400
        assert await put(b"[" * 100_000) == 400
        assert await put(b'{"agents": NaN}') in (400, 422)
        assert await put(b"x" * (1024 * 1024 + 1)) == 413
        assert await put(gzip.compress(b" " * 50_000_000), content_encoding="gzip") == 413
        assert await put(gzip.compress(b"{}")[:-4], content_encoding="gzip") == 400
        assert await put(b"no gzip", content_encoding="gzip") == 400
        assert await put(b"{}", content_encoding="br") == 415
        assert await put(b"{}", content_type="text/plain") == 415
        assert await put(b"{}", content_length="9" * 30) == 413
        assert s.pool.scaling_info is None

    run(scenario)


def test_pools_that_are_not_there_or_take_no_views() -> None:
    async def scenario(s: Stage) -> None:
        for path in ("", "/instances", "/decisions", "/explain", "/drains"):
            answer = await s.client.get(f"/api/v1/pools/none{path}")
            assert (answer.status_code, answer.json()["title"]) == (404, "Not Found"), path
        assert (await s.client.get("/api/v1/pools/..%2f..%2fetc")).status_code in (404, 422)
        assert (await s.client.put("/api/v1/pools/cpu/scaling-info", json={})).status_code == 409
        assert (await s.client.get("/nothing")).headers["content-type"] == "application/problem+json"

    run(scenario)


def test_planning_does_nothing() -> None:
    async def scenario(s: Stage) -> None:
        view = {"tasks": [{"resources": {"slots": 2}, "count": 9}]}
        answer = await s.client.post("/api/v1/pools/gpu/plan", json=view)
        assert answer.json()["launch"][0]["count"] == 4
        assert answer.json()["unmet"][0]["count"] == 5
        assert s.provider.made("launch") == []

    run(scenario)


def test_a_paused_pool_begins_nothing_and_says_so() -> None:
    async def scenario(s: Stage) -> None:
        assert (await s.act("pause", why=" maintenance  \n tonight ")).json() == {"done": True}
        assert (await s.act("pause")).status_code == 409
        await s.push(desired_new=2)
        await until(lambda: (s.service.summary_of("gpu") or {})["unmet"])
        summary = (await s.client.get("/api/v1/pools/gpu")).json()["summary"]
        assert summary["unmet"][0]["reason"] == "the pool is paused by somebody on this machine: maintenance tonight"
        assert s.provider.made("launch") == []
        assert (await s.act("resume")).status_code == 200
        await until(lambda: len(s.pool.instances) == 2)
        told = (await s.client.get("/api/v1/actions")).json()["actions"]
        said = [(each["what"], each["why"]) for each in told]
        assert said == [("resume", "a test"), ("pause", "maintenance tonight")]

    run(scenario)


def test_limits_by_hand_stand_over_those_of_the_file() -> None:
    async def scenario(s: Stage) -> None:
        assert (await s.act("limits", max_instances=1)).status_code == 200
        await s.push(desired_new=3)
        await until(lambda: len(s.pool.instances) == 1)
        assert (await s.client.get("/api/v1/pools/gpu")).json()["max_instances"] == 1
        assert (await s.act("limits", min_instances=2)).status_code == 409
        assert (await s.act("limits")).status_code == 422
        assert (await s.act("limits", max_instances=-1)).status_code == 422
        assert (await s.act("limits", max_instances=None)).status_code == 200
        await until(lambda: len(s.pool.instances) == 3)

    run(scenario)


def test_draining_keeping_and_terminating_one_instance() -> None:
    async def scenario(s: Stage) -> None:
        first, second, third = await fleet(s, 3, busy=2)
        assert (await s.act(f"instances/{first}:drain")).status_code == 200
        assert (await s.act(f"instances/{first}:drain")).status_code == 409
        await until(lambda: [each.agent for each in s.pool.drains] == [first])
        assert first in {each.id for each in s.pool.instances}
        assert (await s.act(f"instances/{first}:keep", period="1h")).status_code == 200
        await until(lambda: not s.pool.drains)
        assert (await s.act(f"instances/{second}:terminate")).status_code == 200
        await until(lambda: second not in s.provider.instances)
        assert (await s.act(f"instances/{third}:drain")).status_code == 200
        await until(lambda: third not in s.provider.instances)
        assert list(s.provider.instances) == [first]
        assert (await s.act("instances/none:drain")).status_code == 404
        # What is gone is on record a little later.
        await until(lambda: len(s.pool.instances) == 1)
        await until(lambda: (s.service.summary_of("gpu") or {})["counts"] == {"running": 1})
        (kept,) = (await s.client.get("/api/v1/pools/gpu/instances")).json()["instances"]
        assert (kept["kept"], kept["agent"], kept["next"]) == (True, "busy", "its agent works; kept by hand")
        moves = (await s.client.get(f"/api/v1/pools/gpu/instances/{third}/history")).json()["moves"]
        assert moves[-1]["note"] == "terminated: asked by an operator"

    run(scenario)


def test_a_scheduler_that_pushes_is_asked_for_its_agents_and_acknowledges() -> None:
    async def scenario(s: Stage) -> None:
        (agent,) = await fleet(s, 1)
        assert (await s.act(f"instances/{agent}:drain")).status_code == 200
        await until(lambda: s.pool.drains)
        answer = await s.push(agents=[{"name": agent, "idle": True}])
        assert [each["agent"] for each in answer.json()["drains"]] == [agent]
        assert agent in s.provider.instances
        said = await s.client.post("/api/v1/pools/gpu/drains", json={"released": [agent, "other"]})
        assert said.json() == {"unknown": ["other"]}
        await until(lambda: agent not in s.provider.instances)

    run(scenario, push=PushSettings(drain="acknowledge"))


@pytest.mark.parametrize(("then", "stays"), [("keep", True), ("terminate", False)])
def test_a_drain_that_is_never_acknowledged_has_a_deadline(then: str, stays: bool) -> None:
    async def scenario(s: Stage) -> None:
        (agent,) = await fleet(s, 1)
        await s.act(f"instances/{agent}:drain")
        await until(lambda: s.pool.drains)
        await until(lambda: agent not in s.pool._pool.books.terminations)
        assert (agent in s.provider.instances) is stays

    settings = {"drain": "acknowledge", "drain_deadline": "50ms", "after_drain_deadline": then}
    run(scenario, push=PushSettings.model_validate(settings))


def test_launch_errors_can_be_cleared() -> None:
    async def scenario(s: Stage) -> None:
        from slotsmith.model.launch_error import ErrorKind
        from slotsmith.providers.base import ProviderError

        s.provider.launch_faults = [ProviderError(ErrorKind.DENIED, "no permission")]
        await s.push(desired_new=1)
        await until(lambda: (s.service.summary_of("gpu") or {})["next_attempt_at"])
        assert s.provider.instances == {}
        assert (await s.act("launch-error:clear")).status_code == 200
        await until(lambda: len(s.provider.instances) == 1)

    run(scenario)


def test_what_was_set_by_hand_survives_a_restart() -> None:
    async def scenario(s: Stage) -> None:
        await s.act("pause", why="overnight")
        await s.act("limits", max_instances=2)
        kept = s.store.load("gpu").steering
        assert kept.pause is not None
        assert (kept.pause.why, dict(kept.limits)) == ("overnight", {"max_instances": 2})

    run(scenario)


def test_statistics_as_json_and_csv() -> None:
    async def scenario(s: Stage) -> None:
        await fleet(s, 2)
        (day,) = (await s.client.get("/api/v1/statistics?period=month&pool=gpu")).json()["periods"]
        assert (day["pool"], day["instances"]) == ("gpu", 2)
        assert day["dollars"] == pytest.approx(day["instance_seconds"] / 3600, abs=1e-5)
        table = (await s.client.get("/api/v1/statistics?period=month&format=csv")).text.splitlines()
        assert table[0] == "pool,start,end,instances,instance_seconds,slot_seconds,dollars,unpriced_seconds"
        assert len(table) == 3
        assert (await s.client.get("/api/v1/statistics?period=hour&start=0")).status_code == 422

    run(scenario)


def test_instances_and_decisions_come_in_pages() -> None:
    async def scenario(s: Stage) -> None:
        ids = await fleet(s, 3)
        seen, after = [], ""
        while True:
            page = (await s.client.get(f"/api/v1/pools/gpu/instances?limit=2{after}")).json()
            seen += [each["id"] for each in page["instances"]]
            if page["next"] is None:
                break
            after = f"&after={page['next']}"
        assert seen == ids
        for number in range(3):
            await s.act("limits", max_instances=number + 4)
            await s.push(tasks=[{"resources": {"slots": 50 + number}}])
            await until(lambda n=number: str(50 + n) in json.dumps((s.service.summary_of("gpu") or {})["unmet"]))
        newest = (await s.client.get("/api/v1/pools/gpu/decisions?limit=2")).json()
        older = (await s.client.get(f"/api/v1/pools/gpu/decisions?limit=50&before={newest['next']}")).json()
        numbers = [each["number"] for page in (newest, older) for each in page["decisions"]]
        assert numbers == sorted(numbers, reverse=True)
        assert len(set(numbers)) == len(numbers) >= 3
        assert older["next"] is None

    run(scenario)


def test_the_document_has_every_route_and_resolves() -> None:
    async def scenario(s: Stage) -> None:
        document = (await s.client.get("/api/v1/openapi.json")).json()
        names = set(document["components"]["schemas"])
        used = {part.split('"')[0] for part in json.dumps(document).split("#/components/schemas/")[1:]}
        assert used <= names
        assert "/api/v1/pools/{pool}/instances/{instance_id}:drain" in document["paths"]
        for path, operations in document["paths"].items():
            for operation in operations.values():
                assert operation.get("description"), path

    run(scenario)
