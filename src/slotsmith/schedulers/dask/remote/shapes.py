"""What a task asks for, as a key to count by."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from distributed.scheduler import TaskState

_MOST = 1e15  # more than any machine has; keeps infinities out of the sums
_PLACES_TOLD = 4  # of the workers and hosts that a task is tied to: enough to recognise them by


class Shape(NamedTuple):
    """Tasks of one shape are interchangeable for scaling.

    `resources` are the task's restrictions, sorted by name, none of them zero. `where` holds workers or hosts, at most
    four, when it may run on those alone. `gang` is a name ("" = none) and `gang_size` how many members must start
    together; `group` is a name ("" = none) and `group_slots` the slots its tasks may use at once (-1 = no maximum).
    """

    resources: tuple[tuple[str, float], ...] = ()
    where: tuple[str, ...] = ()
    group: str = ""
    group_slots: int = -1
    gang: str = ""
    gang_size: int = 1


PLAIN = Shape()


def shape_of(ts: TaskState) -> Shape:
    """From a task's restrictions and its annotations `gang`, `gang_size`, `group` and `max_slots`."""
    asked = ts.resource_restrictions
    notes = ts.annotations
    tied = ts.worker_restrictions or ts.host_restrictions
    if not (asked or notes or tied):
        return PLAIN
    resources = amounts(asked) if asked else ()
    where: tuple[str, ...] = ()
    if tied and not ts.loose_restrictions:
        places = (ts.worker_restrictions or set()) | (ts.host_restrictions or set())
        where = tuple(sorted(map(str, places))[:_PLACES_TOLD])
    if not notes or ("gang" not in notes and "group" not in notes):
        return Shape(resources, where)
    return Shape(resources, where, *_group(notes), *_gang(notes))


def amounts(resources: dict[str, Any]) -> tuple[tuple[str, float], ...]:
    """Named amounts, sorted by name; what is not a positive number is left out."""
    if len(resources) == 1:
        for name, amount in resources.items():
            if type(name) is str and type(amount) is int and 0 < amount < _MOST:
                return ((name, amount),)  # nearly every task: worth its own line
    found = []
    for name, amount in resources.items():
        try:
            number = min(float(amount), _MOST)
        except (TypeError, ValueError, OverflowError):
            continue
        if number > 0:
            found.append((str(name), number))
    return tuple(sorted(found))


def _group(notes: dict[str, Any]) -> tuple[str, int]:
    name, most = notes.get("group"), notes.get("max_slots")
    if not _is_name(name):
        return "", -1
    return str(name), most if isinstance(most, int) and most >= 0 else -1


def _gang(notes: dict[str, Any]) -> tuple[str, int]:
    name, size = notes.get("gang"), notes.get("gang_size")
    if not _is_name(name) or not isinstance(size, int) or size < 2:
        return "", 1
    return str(name), size


def _is_name(value: Any) -> bool:
    return isinstance(value, (str, int)) and str(value) != ""
