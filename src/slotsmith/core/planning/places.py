"""Where tasks may run: their constraints, told apart and put to offerings."""

from __future__ import annotations

from collections.abc import Sequence

from slotsmith.model.offering import Offering
from slotsmith.model.task import ANYWHERE, Constraints, TaskClass


def all_constraints(lots: Sequence[Sequence[TaskClass]]) -> list[Constraints]:
    """What the tasks say of where they must run, each once; anywhere comes first."""
    told = {lot[0].constraints for lot in lots if lot[0].constraints is not ANYWHERE} - {ANYWHERE}
    return [ANYWHERE, *sorted(told, key=places_of)]


def places_of(
    where: Constraints,
) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...], tuple[tuple[str, str], ...]]:
    return where.instance_types, where.zones, where.markets, where.labels


def accepts(where: Constraints, offering: Offering | None) -> bool:
    """Whether tasks that want to run there may run on it: `core.unmet.wants_elsewhere` without the words."""
    if where is ANYWHERE:
        return True
    if offering is None or where.labels:
        return where == ANYWHERE
    return (
        (not where.instance_types or offering.instance_type in where.instance_types)
        and (not where.zones or offering.zone in where.zones)
        and (not where.markets or offering.market in where.markets)
    )
