"""The files of `slotsmith plan`, read into a problem for the planner."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from slotsmith.cli.csv_lines import Line, read_lines
from slotsmith.cli.errors import CommandError
from slotsmith.core.planning.problem import Choice, FreeCapacity, Problem
from slotsmith.model.offering import Offering
from slotsmith.model.resources import Resources
from slotsmith.model.task import ANYWHERE, Constraints, TaskClass
from slotsmith.text import one_line, quoted

TASK_COLUMNS: Final = (("gpus", "cpus", "mem_gib"), ("task_id", "count", "gang", "gpu_type"))
CATALOG_COLUMNS: Final = (
    ("instance_type", "gpus", "cpus", "mem_gib", "price_per_hour"),
    ("zone", "market", "max_count", "gpu_type"),
)
FLEET_COLUMNS: Final = (("instance_id", "gpus", "cpus", "mem_gib"), ("gpu_type",))
"""The columns of each file: those that must be there, and those that may."""

_MOST_TASKS: Final = 10**12
_DEFAULT_MARKET: Final = "on-demand"


@dataclass(frozen=True, slots=True)
class PlanInputs:
    """What is to be planned, and what the planner's words for it are in the files.

    `tasks` are the lines of the tasks by their id, in the order of the file; each is a class of its own in the problem.
    `gpu_types` has that of each instance type; `wanted` has that of each constraint. Each entry of `Problem.existing`
    is one instance.
    """

    problem: Problem
    tasks: Mapping[str, TaskClass]
    gpu_types: Mapping[str, str]
    wanted: Mapping[Constraints, str]

    @property
    def task_count(self) -> int:
        """How many tasks; a gang is one."""
        return sum(tasks.count for tasks in self.tasks.values())


def read_inputs(tasks: Path, catalog: Path, fleet: Path | None) -> PlanInputs:
    """Read the files; raises CommandError with file and line for what is wrong in them."""
    choices, gpu_types = _read_catalog(catalog)
    existing = _read_fleet(fleet) if fleet else ()
    wanted: dict[Constraints, str] = {}
    classes = _read_tasks(tasks, gpu_types, wanted)
    try:
        problem = Problem(tuple(classes.values()), choices, existing)
    except ValueError as error:
        # All else that it refuses is found above, with its line.
        raise CommandError(f"{tasks}: {one_line(str(error))}") from error
    return PlanInputs(problem, classes, gpu_types, wanted)


class _Shapes:
    """Resources by what stands in their fields: a file has many lines with the same ones, and they are read once."""

    def __init__(self, gpus: Callable[[Line, str], int]) -> None:
        self._gpus = gpus
        self._known: dict[tuple[str, str, str], Resources] = {}

    def of(self, line: Line) -> Resources:
        fields = line.fields
        key = (fields["gpus"], fields["cpus"], fields["mem_gib"])
        known = self._known.get(key)
        if known is None:
            known = Resources(self._gpus(line, "gpus"), line.amount("cpus"), line.amount("mem_gib"))
            self._known[key] = known
        return known


def _read_catalog(path: Path) -> tuple[tuple[Choice, ...], dict[str, str]]:
    choices: list[Choice] = []
    gpu_types: dict[str, str] = {}
    lines_of: dict[tuple[str, str, str], int] = {}
    first_lines: dict[str, int] = {}
    shapes = _Shapes(Line.rounded_down)
    for line in read_lines(path, *CATALOG_COLUMNS):
        name = line.name("instance_type")
        offering = Offering(
            name,
            shapes.of(line),
            line.text("zone"),
            line.text("market") or _DEFAULT_MARKET,
            line.price("price_per_hour"),
        )
        key = (name, offering.zone, offering.market)
        if key in lines_of:
            raise line.error(f"offering {offering.name} is there twice, as on line {lines_of[key]}; expected each once")
        lines_of[key] = line.number
        gpu_type = line.text("gpu_type")
        if gpu_types.setdefault(name, gpu_type) != gpu_type:
            raise line.error(
                f"gpu_type of {name} is {quoted(gpu_type)}, expected {quoted(gpu_types[name])} as on line "
                f"{first_lines[name]}"
            )
        first_lines.setdefault(name, line.number)
        choices.append(Choice(offering, line.whole("max_count", least=0, most=_MOST_TASKS)))
    if not choices:
        raise CommandError(f"{path}: has no offerings, expected at least one line below the header")
    return tuple(choices), gpu_types


def _read_fleet(path: Path) -> tuple[FreeCapacity, ...]:
    existing: list[FreeCapacity] = []
    lines_of: dict[str, int] = {}
    kinds: dict[str, Offering] = {}
    shapes = _Shapes(Line.rounded_down)
    for line in read_lines(path, *FLEET_COLUMNS):
        name = line.name("instance_id")
        if name in lines_of:
            raise line.error(f"instance_id is {quoted(name)}, as on line {lines_of[name]}; expected each only once")
        lines_of[name] = line.number
        free = shapes.of(line)
        gpu_type = line.text("gpu_type")
        # Of an offering of its own, so that it is never taken for one of the catalogue.
        kind = kinds.setdefault(gpu_type, Offering(_existing_with(gpu_type) if gpu_type else "", Resources()))
        existing.append(FreeCapacity(free, 1, 0, whole=False, ids=(name,), offering=kind))
    return tuple(existing)


def _read_tasks(path: Path, gpu_types: Mapping[str, str], wanted: dict[Constraints, str]) -> dict[str, TaskClass]:
    classes: dict[str, TaskClass] = {}
    lines_of: dict[str, int] = {}
    places: dict[str, Constraints] = {"": ANYWHERE}
    shapes = _Shapes(Line.rounded_up)
    for line in read_lines(path, *TASK_COLUMNS):
        name = line.text("task_id") or f"line-{line.number}"
        if name in lines_of:
            raise line.error(f"task_id is {quoted(name)}, as on line {lines_of[name]}; expected each only once")
        lines_of[name] = line.number
        gpu_type = line.text("gpu_type")
        if gpu_type not in places:
            places[gpu_type] = _only_on(gpu_type, gpu_types)
            wanted[places[gpu_type]] = gpu_type
        classes[name] = TaskClass(
            shapes.of(line),
            count=line.whole("count", least=1, most=_MOST_TASKS) or 1,
            gang=line.whole("gang", least=1, most=_MOST_TASKS) or 1,
            constraints=places[gpu_type],
            example=name,
        )
    return classes


def _only_on(gpu_type: str, gpu_types: Mapping[str, str]) -> Constraints:
    """The instance types with these gpus; those that exist count as one more."""
    types = sorted(name for name, each in gpu_types.items() if each == gpu_type)
    return Constraints(instance_types=(*types, _existing_with(gpu_type)))


def _existing_with(gpu_type: str) -> str:
    return f"existing instance with gpu_type {gpu_type}"
