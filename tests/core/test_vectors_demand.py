"""The model of the reference's demand passes the reference's own cases, and those recorded from it."""

from typing import Any

from vector_files import pending_tasks, vector_cases

from slotsmith.core.reference import NO_MEMORY, desired_new_agents, pool_scaling_info, update_scaling_info
from slotsmith.model.agent import Agent
from slotsmith.model.resources import Resources
from slotsmith.model.scaling_info import ScalingInfo
from slotsmith.model.task import Group, TaskClass


def groups_of(raw: dict[str, int | None] | None) -> list[Group] | None:
    return None if raw is None else [Group(id_, max_slots) for id_, max_slots in raw.items()]


def test_desired_new_agents() -> None:
    checked = 0
    for case in vector_cases("desired_new_agents"):
        for check in case["checks"]:
            sizes = check["slots_per_agent"], check["max_zero_slot_tasks_per_agent"]
            found = desired_new_agents(pending_tasks(case["tasks"]), groups_of(case["groups"]), *sizes)
            assert found == check["expect"], (case["name"], check)
            checked += 1
    assert checked == 73


def test_golden_demand() -> None:
    cases = vector_cases("golden_demand")
    for case in cases:
        sizes = case["slots_per_agent"], case["max_zero_slot_tasks_per_agent"]
        found = desired_new_agents(pending_tasks(case["tasks"]), groups_of(case["groups"]), *sizes)
        assert found == case["expect"], case["name"]
    assert len(cases) == 120
    assert sum(case["expect"] > 0 for case in cases) > 60


def test_a_class_counts_as_its_tasks_and_a_missing_group_has_no_limit() -> None:
    tasks = [TaskClass(Resources(slots=3), count=4, group="gone"), TaskClass(Resources(slots=3), gang=2)]
    assert desired_new_agents(tasks, [Group("other", 0)], 4, 100) == 5  # 18 slots on agents of 4
    assert desired_new_agents(tasks, [Group("gone", 6)], 4, 100) == 3  # 12 slots on agents of 4


class Pool:
    """A resource pool as its test vector describes it: what runs where, and what waits."""

    def __init__(self, case: dict[str, Any]) -> None:
        self.used = {agent["name"]: 0 for agent in case["agents"]}
        self.zero_slot_tasks = dict.fromkeys(self.used, 0)
        self.pending = pending_tasks([{**task, "scheduled": task["on"] is not None} for task in case["tasks"]])
        for task in case["tasks"]:
            if task["on"] is not None:
                self.used[task["on"]] += task["slots"]
                self.zero_slot_tasks[task["on"]] += task["slots"] == 0

    def change(self, step: dict[str, Any]) -> None:
        match step["change"]:
            case "add agents":
                self.used |= {agent["name"]: agent["used"] for agent in step["agents"]}
            case "remove agent":
                del self.used[step["agent"]]
            case "container placed on a device":
                self.used[step["agent"]] += 1
            case other:
                assert other == "none"

    def info(self) -> ScalingInfo:
        agents = [
            # All are called idle, which for most is wrong: it is to be worked out from what is used.
            Agent(name, True, used=Resources(slots=used), zero_slot_tasks=self.zero_slot_tasks.get(name, 0))
            for name, used in self.used.items()
        ]
        return ScalingInfo(agents=tuple(agents), tasks=tuple(self.pending))


def test_resource_pool_scaling() -> None:
    checked = 0
    for case in vector_cases("resource_pool_scaling"):
        pool, sent, memory = Pool(case), None, NO_MEMORY
        sizes = case["slots_per_instance"], case["max_aux_containers_per_agent"]
        for step in case["steps"]:
            pool.change(step)
            info = pool_scaling_info(pool.info(), *sizes)
            memory, updated = update_scaling_info(memory, info)
            assert updated is (info != sent) is step["expect"]["updated"], step["change"]
            assert info.desired_new == step["expect"]["desired_new"], step["change"]
            assert {agent.name: agent.idle for agent in info.agents} == step["expect"]["idle"], step["change"]
            assert pool_scaling_info(pool.info(), *sizes) == info  # nothing changed, so nothing would be sent
            sent = info
            checked += 1
    assert checked == 4
