"""Work waiting to run, and the groups that limit it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from slotsmith.model.resources import Resources


@dataclass(frozen=True, slots=True)
class Constraints:
    """Where a task may run; an empty tuple allows everything."""

    instance_types: tuple[str, ...] = ()
    zones: tuple[str, ...] = ()
    markets: tuple[str, ...] = ()
    labels: tuple[tuple[str, str], ...] = ()


ANYWHERE = Constraints()


@dataclass(frozen=True, slots=True)
class Task:
    """One pending task, or one gang of them.

    `resources` are those of each member; `gang` members (1 = an ordinary task) must start together. A task that
    `spans` may ask for more slots than one agent has: it then takes several whole agents, all at once.
    """

    id: str
    resources: Resources
    gang: int = 1
    group: str | None = None
    spans: bool = False
    constraints: Constraints = ANYWHERE


@dataclass(frozen=True, slots=True)
class TaskClass:
    """`count` pending tasks that differ in nothing but their id; `example` is the id of one of them."""

    resources: Resources
    count: int = 1
    gang: int = 1
    group: str | None = None
    spans: bool = False
    constraints: Constraints = ANYWHERE
    example: str = ""

    def __post_init__(self) -> None:
        if self.count < 1 or self.gang < 1:
            raise ValueError(f"a task class has count {self.count} and gang {self.gang}, expected at least 1")

    def __str__(self) -> str:
        gang = f" x {self.gang} together" if self.gang > 1 else ""
        which = f" ({self.example})" if self.example and self.count == 1 else ""
        return f"{self.count} task{'s' if self.count != 1 else ''} of {self.resources}{gang}{which}"


@dataclass(frozen=True, slots=True)
class Group:
    """Tasks that share a maximum of slots. `used_slots` are those of its tasks that run now; no maximum = None."""

    id: str
    max_slots: int | None = None
    used_slots: int = 0


def classes_of(tasks: Iterable[Task]) -> tuple[TaskClass, ...]:
    """The tasks counted by what they ask for, in the order in which each kind is first seen."""
    # Keyed by plain values: hashing the frozen types themselves takes ten times as long, and there may be millions.
    kinds: dict[tuple[object, ...], list[int]] = {}
    firsts: list[Task] = []
    for task in tasks:
        asked, where = task.resources, task.constraints
        key = (
            asked.slots,
            asked.cpus,
            asked.mem_gib,
            asked.extras,
            task.gang,
            task.group,
            task.spans,
            None if where is ANYWHERE or where == ANYWHERE else where,
        )
        count = kinds.get(key)
        if count is None:
            kinds[key] = [1]
            firsts.append(task)
        else:
            count[0] += 1
    return tuple(
        TaskClass(task.resources, count, task.gang, task.group, task.spans, task.constraints, task.id)
        for task, [count] in zip(firsts, kinds.values(), strict=True)
    )
