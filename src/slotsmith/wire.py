"""A scheduler's view as JSON: what is pushed to the service, answered by a URL, or printed by a program."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from slotsmith.core.columns import classes_from_columns
from slotsmith.model.agent import Agent
from slotsmith.model.resources import Resources
from slotsmith.model.scaling_info import ScalingInfo
from slotsmith.model.task import ANYWHERE, Constraints, Group, TaskClass
from slotsmith.text import one_line

MOST_TASKS = 1_000_000
"""Entries of columns, or classes, in one view."""
MOST_AGENTS = 100_000

Count = Annotated[int, Field(ge=0, le=1_000_000_000)]
Amount = Annotated[float, Field(ge=0, le=1e12, allow_inf_nan=False, strict=True)]
Text = Annotated[str, Field(max_length=500)]
Names = Annotated[list[Text], Field(max_length=1000)]
# Defaults are made anew: pydantic would copy them deeply, which takes longer than to check a small view.


class _In(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ResourcesIn(_In):
    """An amount of each kind of resource."""

    slots: Count = 0
    cpus: Amount = 0.0
    mem_gib: Amount = 0.0
    extras: Annotated[dict[Text, Amount], Field(max_length=50)] = Field(default_factory=dict)

    def value(self) -> Resources:
        if not self.extras:
            return _plain_resources(self.slots, self.cpus, self.mem_gib)
        return Resources(self.slots, self.cpus, self.mem_gib, tuple(self.extras.items()))


# A fleet has few sizes of agents and of tasks, and is told of again and again.
_plain_resources = lru_cache(4096)(Resources)


class AgentIn(_In):
    """One connected agent; its name is the id of its instance."""

    name: Annotated[str, Field(min_length=1, max_length=500)]
    idle: bool
    capacity: ResourcesIn | None = None
    used: ResourcesIn | None = None
    zero_slot_tasks: Count = 0
    draining: bool = False
    activity: Annotated[int, Field(ge=-(2**62), le=2**62)] = 0
    movable: bool = False

    def value(self) -> Agent:
        capacity = self.capacity.value() if self.capacity else None
        used = self.used.value() if self.used else None
        zero = self.zero_slot_tasks
        return Agent(self.name, self.idle, capacity, used, zero, self.draining, self.activity, self.movable)


class ConstraintsIn(_In):
    """Where tasks may run; what is left out allows everything."""

    instance_types: Names = Field(default_factory=list)
    zones: Names = Field(default_factory=list)
    markets: Names = Field(default_factory=list)
    labels: Annotated[dict[Text, Text], Field(max_length=100)] = Field(default_factory=dict)

    def value(self) -> Constraints:
        labels = tuple(sorted(self.labels.items()))
        return Constraints(tuple(self.instance_types), tuple(self.zones), tuple(self.markets), labels)


class TasksIn(_In):
    """`count` pending tasks that differ in nothing but their id; `id` is that of one of them."""

    id: Text = ""
    resources: ResourcesIn = Field(default_factory=lambda: ResourcesIn())
    count: Annotated[int, Field(ge=1, le=1_000_000_000)] = 1
    gang: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    group: Text | None = None
    spans: bool = False
    constraints: ConstraintsIn | None = None

    def value(self) -> TaskClass:
        where = self.constraints.value() if self.constraints else ANYWHERE
        return TaskClass(self.resources.value(), self.count, self.gang, self.group, self.spans, where, self.id)


class ColumnsIn(_In):
    """Pending tasks as columns, one entry per task. `group_codes` are positions in `group_names`, -1 = no group."""

    slots: Annotated[list[Count], Field(max_length=MOST_TASKS)]
    cpus: Annotated[list[Amount], Field(max_length=MOST_TASKS)] | None = None
    mem_gib: Annotated[list[Amount], Field(max_length=MOST_TASKS)] | None = None
    gang: Annotated[list[Annotated[int, Field(ge=1, le=1_000_000)]], Field(max_length=MOST_TASKS)] | None = None
    spans: Annotated[list[bool], Field(max_length=MOST_TASKS)] | None = None
    group_codes: Annotated[list[Annotated[int, Field(ge=-1)]], Field(max_length=MOST_TASKS)] | None = None
    group_names: Names = Field(default_factory=list)


class GroupIn(_In):
    """Tasks that share a maximum of slots."""

    id: Text
    max_slots: Count | None = None
    used_slots: Count = 0


class ViewIn(_In):
    """The whole view of a scheduler: its agents, and its demand as `tasks` and `columns`, or as `desired_new`.

    `sequence` grows from one view to the next of a `run`, so that a late or repeated one is recognised. Another `run`
    (any text that is new when the scheduler starts anew) begins a new count.
    """

    run: Text = ""
    sequence: Annotated[int, Field(ge=0, le=2**62)] | None = None
    agents: Annotated[list[AgentIn], Field(max_length=MOST_AGENTS)] = Field(default_factory=list)
    tasks: Annotated[list[TasksIn], Field(max_length=MOST_TASKS)] = Field(default_factory=list)
    columns: ColumnsIn | None = None
    groups: Annotated[list[GroupIn], Field(max_length=MOST_AGENTS)] = Field(default_factory=list)
    desired_new: Annotated[int, Field(ge=0, le=1_000_000)] | None = None

    @model_validator(mode="after")
    def _one_kind_of_demand(self) -> ViewIn:
        if self.desired_new is not None and (self.tasks or self.columns):
            raise ValueError("expected desired_new, or tasks and columns, not both")
        names = {agent.name for agent in self.agents}
        if len(names) < len(self.agents):
            raise ValueError("agents has a name twice")
        return self

    def value(self) -> ScalingInfo:
        """The same as the pool's loop takes it. Raises `WrongView`."""
        classes = tuple(each.value() for each in self.tasks)
        if self.columns is not None:
            columns = self.columns
            try:
                classes += classes_from_columns(
                    columns.slots,
                    cpus=columns.cpus,
                    mem_gib=columns.mem_gib,
                    gang=columns.gang,
                    spans=columns.spans,
                    group_codes=columns.group_codes,
                    group_names=columns.group_names,
                )
            except (ValueError, OverflowError) as error:
                raise WrongView("the columns do not fit together", [("columns", str(error))]) from None
        groups = tuple(Group(each.id, each.max_slots, each.used_slots) for each in self.groups)
        return ScalingInfo(tuple(each.value() for each in self.agents), classes, groups, self.desired_new)


_MOST_ERRORS = 20


class WrongView(Exception):  # noqa: N818 - it names what it is about
    """A view that is not as it should be: `errors` are the paths of what is wrong, each with what is wrong there.

    `is_json`: it could at least be read.
    """

    def __init__(self, text: str, errors: Sequence[tuple[str, str]] = (), *, is_json: bool = True) -> None:
        super().__init__(text)
        self.errors = tuple(errors)
        self.is_json = is_json

    def __str__(self) -> str:
        first = "".join(f": {path}: {message}" if path else f": {message}" for path, message in self.errors[:1])
        return f"{self.args[0]}{first}"


def parse_view(body: bytes) -> ViewIn:
    """The view in `body`.

    Raises:
        WrongView: it is no JSON, or not as it should be.
    """
    try:
        return ViewIn.model_validate_json(body)
    except ValidationError as error:
        details: list[Any] = list(error.errors(include_url=False, include_input=False, include_context=False))
        if details and details[0]["type"] == "json_invalid":
            raise WrongView(
                f"it is no JSON: {details[0]['msg'].removeprefix('Invalid JSON: ')}", is_json=False
            ) from None
        raise WrongView("the view is not as it should be", told_errors(details)) from None


def told_errors(errors: Sequence[Any]) -> list[tuple[str, str]]:
    """What pydantic found, as paths that a person can follow and messages."""
    return [
        (one_line(_path(each for each in error["loc"] if each != "body"), 200), one_line(error["msg"], 200))
        for error in errors[:_MOST_ERRORS]
    ]


def _path(location: Iterable[Any]) -> str:
    return "".join(f"[{each}]" if isinstance(each, int) else f".{each}" for each in location).lstrip(".")
