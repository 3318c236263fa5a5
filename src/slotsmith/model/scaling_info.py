"""An immutable view of a scheduler's tasks and agents."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from slotsmith.model.agent import Agent
from slotsmith.model.task import Group, Task, TaskClass, classes_of


@dataclass(frozen=True, slots=True)
class ScalingInfo:
    """What is waiting and which agents are connected.

    Demand comes in one of two forms: `tasks` (then the number of new instances is computed here, from what is free),
    or `desired_new`, a number of new instances that the scheduler has computed itself. Two infos are equal when
    nothing that could change a decision differs; the order of agents matters only to that comparison.
    """

    agents: tuple[Agent, ...] = ()
    tasks: tuple[TaskClass, ...] = ()
    groups: tuple[Group, ...] = ()
    desired_new: int | None = None

    def __post_init__(self) -> None:
        if self.desired_new is not None and self.tasks:
            raise ValueError("scaling info has both tasks and desired_new, expected one of them")

    @classmethod
    def of(
        cls,
        agents: Iterable[Agent] = (),
        tasks: Iterable[Task | TaskClass] = (),
        groups: Iterable[Group] = (),
    ) -> ScalingInfo:
        """A view from tasks given one by one, as classes, or both."""
        singles: list[Task] = []
        classes: list[TaskClass] = []
        for task in tasks:
            (singles if isinstance(task, Task) else classes).append(task)  # type: ignore[arg-type]
        return cls(tuple(agents), (*classes, *classes_of(singles)), tuple(groups))


NO_SCALING_INFO = ScalingInfo()
"""The view before the scheduler has said anything: no tasks, no agents."""
