"""Pending tasks call for as many instances as under the reference, except where the table below says how and why not.

As in `test_rules_differ`: `Between` with no line of the table is the reference, with all of them the default. Cases
hold tasks that ask for slots only; agents are as large as what is launched.
"""

import random
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from slotsmith.core.replay import ReplayCase, ReplayTick, run_case
from slotsmith.model.agent import Agent
from slotsmith.model.instance import Instance, InstanceState
from slotsmith.model.offering import Offering
from slotsmith.model.policy import Policy
from slotsmith.model.resources import Resources
from slotsmith.model.scaling_info import ScalingInfo
from slotsmith.model.task import Group, TaskClass

DIFFERENCES = {
    "W34": "A task that is larger than an agent spans several only if it says that it may; any other is told to be "
    "unschedulable.",
    "W32": "Slots that a group uses already count toward its maximum, and its tasks are served whole or not at all.",
    "W33": "Tasks are packed, first on what existing agents have free, then on new ones; the reference divides a "
    "sum of slots, and of what exists it heeds only the number of starting instances (W25).",
}


@dataclass
class Room:
    """What one agent has left."""

    slots: int
    zero_slot_tasks: int
    whole: bool = False


class Between:
    """The number of instances to launch, with some of the changes."""

    def __init__(self, case: ReplayCase, changes: Iterable[str]) -> None:
        self.changes = frozenset(changes)
        self.each = case.offering.capacity.slots
        self.zero_each = case.policy.max_zero_slot_tasks_per_agent
        (tick,) = case.ticks
        assert tick.info is not None
        self.info = tick.info
        self.starting = sum(instance.state is InstanceState.STARTING for instance in tick.instances)

    def launch(self) -> int:
        tasks = [task for task in self.info.tasks for _ in range(task.count)]
        slots = [task for task in tasks if task.resources.slots and self.can_run(task)]
        zero_slot_tasks = len([task for task in tasks if not task.resources.slots])
        if "W33" not in self.changes:
            desired = max(-(-self.total(slots) // self.each), self.agents_for(zero_slot_tasks))
            return max(0, desired - self.starting)
        connected = [
            Room(self.each - agent.used.slots, max(0, self.zero_each - agent.zero_slot_tasks), agent.idle)
            for agent in self.info.agents
            if agent.used is not None
        ]
        return self.pack(self.admitted(slots), zero_slot_tasks, connected)

    def can_run(self, task: TaskClass) -> bool:
        slots = task.resources.slots
        if slots <= self.each:
            return True
        return slots % self.each == 0 and (task.spans or "W34" not in self.changes)

    def agents_for(self, zero_slot_tasks: int) -> int:
        return -(-zero_slot_tasks // self.zero_each) if self.zero_each else 0

    def total(self, tasks: list[TaskClass]) -> int:
        if "W32" in self.changes:
            return sum(self.admitted(tasks))
        sums = Counter[str | None]()
        for task in tasks:
            sums[task.group] += task.resources.slots
        limits = {group.id: group.max_slots for group in self.info.groups if group.max_slots is not None}
        return sum(min(limits.get(group or "", slots), slots) for group, slots in sums.items())

    def admitted(self, tasks: list[TaskClass]) -> list[int]:
        """The sizes of the tasks that their groups have room for, largest first."""
        room = {
            group.id: max(0, group.max_slots - group.used_slots)
            for group in self.info.groups
            if group.max_slots is not None
        }
        sizes = []
        for task in sorted(tasks, key=lambda task: -task.resources.slots):
            slots = task.resources.slots
            if task.group is None or task.group not in room:
                sizes.append(slots)
            elif slots <= room[task.group]:
                room[task.group] -= slots
                sizes.append(slots)
        return sizes

    def pack(self, sizes: list[int], zero_slot_tasks: int, connected: list[Room]) -> int:
        """How many new agents hold these tasks: each goes on the first that has room, existing ones first."""
        existing = self.in_order(connected, zero_slot_tasks)
        existing += [Room(self.each, self.zero_each, whole=True) for _ in range(self.starting)]
        spanning_new, new = 0, list[Room]()
        for size in sizes:
            if size > self.each:
                whole = [room for room in existing if room.whole][: size // self.each]
                existing = [room for room in existing if not any(room is taken for taken in whole)]
                spanning_new += size // self.each - len(whole)
                continue
            room = next((room for room in (*existing, *new) if room.slots >= size), None)
            if room is None:
                room = Room(self.each, self.zero_each)
                new.append(room)
            room.slots, room.whole = room.slots - size, False
        left = zero_slot_tasks - sum(room.zero_slot_tasks for room in (*existing, *new))
        return spanning_new + len(new) + self.agents_for(max(0, left))

    def in_order(self, rooms: list[Room], zero_slot_tasks: int) -> list[Room]:
        """Agents at work before whole ones, fullest first, and those that are alike side by side."""

        def free(room: Room) -> float:
            zero = room.zero_slot_tasks / self.zero_each if self.zero_each and zero_slot_tasks else 0
            return room.slots / self.each + zero

        return sorted(rooms, key=lambda room: (room.whole, free(room), rooms.index(room)))


def random_case(rng: random.Random) -> ReplayCase:
    """Some tasks, some agents at work, some instances on their way."""
    slots, zero = rng.choice([1, 2, 3, 4, 8]), rng.choice([0, 1, 2, 100])
    groups = tuple(Group(f"g{number}", rng.choice([None, 0, 3, 8, 20]), rng.randint(0, 6)) for number in range(3))
    tasks = tuple(
        TaskClass(
            Resources(slots=rng.choice([0, 1, 1, 2, 3, 4, 5, 8, 12, 16])),
            count=rng.randint(1, 5),
            group=rng.choice([None, None, "g0", "g1", "g2", "gone"]),
            spans=rng.random() < 0.5,
        )
        for _ in range(rng.randint(0, 6))
    )
    instances, agents = [], []
    for number in range(rng.randint(0, 4)):
        used, zero_used = rng.choice([0, rng.randint(0, slots)]), rng.choice([0, 0, 1, 2])
        instances.append(Instance(f"i{number}", InstanceState.RUNNING, 0, f"i{number}"))
        idle = not used and not zero_used
        agents.append(Agent(f"i{number}", idle, Resources(slots), Resources(used), zero_slot_tasks=zero_used))
    instances += [
        Instance(f"s{number}", InstanceState.STARTING, 0, f"s{number}") for number in range(rng.choice([0, 0, 1, 3]))
    ]
    policy = Policy(max_instances=1000, max_zero_slot_tasks_per_agent=zero)
    tick = ReplayTick(1.0, tuple(instances), ScalingInfo(tuple(agents), tasks, groups))
    return ReplayCase("tasks", policy, Offering("instance", Resources(slots)), (tick,))


def explained(case: ReplayCase) -> Counter[str]:
    """Check that both ends are what they should be; count the lines of the table that make a difference."""
    (theirs,), (ours,) = run_case(case, "reference"), run_case(case, "slotsmith")
    assert ours.terminations == theirs.terminations == ()
    names = tuple(DIFFERENCES)
    steps = [Between(case, names[:number]).launch() for number in range(len(names) + 1)]
    assert steps[0] == theirs.launch
    assert steps[-1] == ours.launch, "a difference that no line explains"
    lines = Counter(name for name, one, other in zip(names, steps, steps[1:], strict=False) if one != other)
    lines["the same"] += theirs.launch == ours.launch
    return lines


@settings(deadline=None)
@given(st.randoms(use_true_random=False))
def test_no_difference_is_without_an_explanation(rng: random.Random) -> None:
    explained(random_case(rng))


def test_every_line_explains_something() -> None:
    lines = Counter[str]()
    for seed in range(500):
        lines += explained(random_case(random.Random(seed)))
    assert min(lines[name] for name in (*DIFFERENCES, "the same")) >= 20, lines
