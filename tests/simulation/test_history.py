"""Tasks read from a pool's record are those that its scheduler had."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from slotsmith.model.resources import Resources
from slotsmith.schedulers.simulated import Job
from slotsmith.schedulers.simulated.placement import Placement
from slotsmith.simulation.history import history_of

START = 1_700_000_000.0
CONFIG = {"capacity": {"slots": 4, "cpus": 8.0}}


def tick(at: float, used: Mapping[str, int], tasks: Iterable[Mapping[str, Any]] = (), **more: Any) -> dict[str, Any]:
    """A view: slots in use by agent, of four each, and what waits."""
    agents = [
        {"name": name, "idle": not slots, "capacity": {"slots": 4}, "used": {"slots": slots} if slots else {}}
        for name, slots in used.items()
    ]
    info = {"agents": agents, "tasks": list(tasks)} | more.pop("info", {})
    return {"at": START + at, "instances": [], "scaling_info": info, **more}


def read(*ticks: dict[str, Any], config: Mapping[str, Any] = CONFIG) -> Any:
    return history_of([{"name": "p", "config": config, "ticks": list(ticks)}])


def test_a_task_that_waits_runs_and_ends() -> None:
    history = read(
        tick(0, {}),
        tick(10, {}, [{"id": "a", "slots": 2, "cpus": 3.0, "count": 1}]),
        tick(200, {"i": 2}),
        tick(500, {"i": 0}),
    )
    assert history.jobs == (Job("task-1", 10.0, 300.0, Resources(2, 3.0)),)
    assert (history.seconds, history.unseen) == (500.0, False)
    assert history.offerings[0].capacity == Resources(4, 8.0)


def test_a_gang_lies_on_several_agents_and_ends_with_the_last() -> None:
    history = read(
        tick(0, {"i": 0, "j": 0}, [{"id": "g", "slots": 4, "gang": 2, "count": 1}]),
        tick(5, {"i": 4, "j": 4}),
        tick(65, {"i": 0, "j": 4}),
        tick(66.0, {"i": 0, "j": 0}),
    )
    (gang,) = history.jobs
    assert (gang.resources.slots, gang.spans, gang.duration_s) == (8, True, 61.0)


def test_what_was_never_seen_waiting_came_when_it_was_seen() -> None:
    history = read(tick(0, {"i": 0}), tick(30, {"i": 3}), tick(90, {}))
    assert history.jobs == (Job("task-1", 30.0, 60.0, Resources(3)),)


def test_one_takes_over_from_another_of_its_size() -> None:
    waiting = {"id": "b", "slots": 4, "count": 1}
    history = read(
        tick(0, {"i": 0}),
        tick(1, {"i": 4}),
        tick(2, {"i": 4}, [waiting]),
        tick(50, {"i": 4}),
        tick(70, {"i": 0}),
    )
    assert [(job.submit_s, job.duration_s) for job in history.jobs] == [(1.0, 49.0), (2.0, 20.0)]


def test_a_task_without_slots_is_counted_by_its_agent() -> None:
    running = tick(10, {"i": 0})
    running["scaling_info"]["agents"][0] |= {"idle": False, "zero_slot_tasks": 1}
    history = read(tick(0, {"i": 0}, [{"id": "z", "count": 1, "cpus": 1.0}]), running, tick(40, {"i": 0}))
    assert history.jobs == (Job("task-1", 0.0, 30.0, Resources(0, 1.0)),)


def test_what_has_not_started_is_taken_to_run_as_long_as_others() -> None:
    history = read(
        tick(0, {"i": 0}),
        tick(1, {"i": 2}),
        tick(101, {"i": 0}),
        tick(150, {"i": 0}, [{"id": "w", "slots": 1, "count": 2}]),
    )
    assert [(job.submit_s, job.duration_s) for job in history.jobs] == [(1.0, 100.0), (150.0, 100.0), (150.0, 100.0)]


def test_how_long_instances_take_to_join() -> None:
    instances = [{"id": name, "agent": name, "launch": START + at} for name, at in (("old", -50), ("a", 10), ("b", 20))]
    first, second, third = tick(0, {"old": 0}), tick(200, {"old": 0, "a": 0}), tick(230, {"old": 0, "a": 0, "b": 0})
    for each in (first, second, third):
        each["instances"] = instances
    assert read(first, second, third).starting_s == 200.0
    assert read(first).starting_s is None


def test_a_scheduler_that_counts_instances_itself_is_told_of() -> None:
    assert read(tick(0, {}, info={"desired_new": 3})).unseen


def test_what_is_on_offer_at_the_end() -> None:
    told = {"offerings": [{"type": "g", "zone": "z", "market": "spot", "price": 1.5, "capacity": {"slots": 2}}]}
    (offering,) = read(tick(0, {}), config=told).offerings
    assert (offering.name, offering.price, offering.capacity) == ("g/z/spot", 1.5, Resources(2))


JOBS = st.lists(
    st.tuples(st.integers(0, 400), st.integers(1, 300), st.integers(1, 4), st.booleans()), min_size=1, max_size=25
)


@settings(max_examples=60, deadline=None)
@example([(0, 1, 1, False), (0, 1, 2, False), (0, 1, 3, False)], 2)
@given(JOBS, st.integers(1, 3))
def test_no_task_is_lost_and_all_work_is_counted(drawn: list[tuple[int, int, int, bool]], agents: int) -> None:
    """Of a cluster that is there all the time, seen at each change."""
    jobs = [
        Job(str(number), float(at), float(lasts), Resources(4 * agents if wide and agents > 1 else slots), wide)
        for number, (at, lasts, slots, wide) in enumerate(sorted(drawn))
    ]
    jobs = [job if job.resources.slots > 4 else job._replace(spans=False) for job in jobs]
    ticks, runs = _played(jobs, agents)
    history = read(*ticks)
    assert Counter(job.submit_s for job in history.jobs) == Counter(job.submit_s for job in jobs)
    assert Counter(job.resources.slots for job in history.jobs) == Counter(job.resources.slots for job in jobs)
    work = sum(job.resources.slots * job.duration_s for job in history.jobs)
    assert work == pytest.approx(sum(job.resources.slots * (until - since) for job, since, until in runs))


def _played(jobs: list[Job], agents: int) -> tuple[list[dict[str, Any]], list[tuple[Job, float, float]]]:
    """Views at each change, and the runs of the jobs; first come, first served."""
    placement = Placement(None)
    for number in range(agents):
        placement.join(f"agent-{number}", Resources(4))
    coming, running, runs, ticks = list(jobs), [], [], [tick(0, {f"agent-{n}": 0 for n in range(agents)})]
    waiting: list[Any] = []
    while coming or running:
        at = min([job.submit_s for job in coming[:1]] + [end for end, _ in running])
        for end, state in [each for each in running if each[0] == at]:
            placement.finish(state)
            running.remove((end, state))
            _seen(ticks, at, placement, waiting)
        while coming and coming[0].submit_s == at:
            waiting.append(placement.submit(coming.pop(0), at))
            _seen(ticks, at, placement, waiting)
        for state in placement.place():
            waiting.remove(state)
            running.append((at + state.job.duration_s, state))
            runs.append((state.job, at, at + state.job.duration_s))
        _seen(ticks, at, placement, waiting)
    return ticks, runs


def _seen(ticks: list[dict[str, Any]], at: float, placement: Placement, waiting: list[Any]) -> None:
    used = {name: 4 - agent.free_slots for name, agent in sorted(placement.agents.items())}
    kinds = Counter((state.job.resources.slots, state.job.spans) for state in waiting)
    tasks = [{"id": "t", "slots": slots, "spans": spans, "count": n} for (slots, spans), n in kinds.items()]
    ticks.append(tick(at, used, tasks))
