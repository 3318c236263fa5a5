"""Work waiting to run, and the groups that limit it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace

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
    counts: Counter[TaskClass] = Counter()
    examples: dict[TaskClass, str] = {}
    for task in tasks:
        kind = TaskClass(task.resources, 1, task.gang, task.group, task.spans, task.constraints)
        counts[kind] += 1
        examples.setdefault(kind, task.id)
    return tuple(replace(kind, count=count, example=examples[kind]) for kind, count in counts.items())
