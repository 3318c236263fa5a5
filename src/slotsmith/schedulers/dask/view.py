"""Reads the plugin's report (see `remote.report`) as scaling info."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from slotsmith.model.agent import Agent
from slotsmith.model.resources import Resources
from slotsmith.model.scaling_info import ScalingInfo
from slotsmith.model.task import ANYWHERE, Constraints, Group, TaskClass

PLACE_LABEL = "dask-worker-or-host"
"""The label that tasks carry which may run on certain workers or hosts alone: no new agent can serve them."""

_GIB = 2**30
_TOLERANCE = 1e-9  # three tasks of 1/3 are one slot


def scaling_info(report: dict[str, Any], slot_resource: str) -> ScalingInfo:
    """What the report means when `slot_resource` is the Dask resource that counts slots."""
    reader = _Reader(slot_resource)
    return ScalingInfo(
        tuple(reader.agent(*entry) for entry in report["agents"]),
        tuple(reader.task_class(*entry) for entry in report["demand"]),
        tuple(reader.group(*entry) for entry in report["groups"]),
    )


class _Reader:
    def __init__(self, slot_resource: str) -> None:
        self._slot = slot_resource

    def agent(
        self,
        name: str,
        idle: bool,
        draining: bool,
        nthreads: int,
        memory_limit: int,
        resources: Iterable[tuple[str, float]],
        taken: int,
        runs: Iterable[tuple[Iterable[tuple[str, float]], int]],
    ) -> Agent:
        slots, extras = self._split(resources)
        used: dict[str, float] = {}
        used_slots, threads, zero_slot_tasks = 0.0, 0, 0
        for amounts, count in runs:
            task_slots, task_extras = self._split(amounts)
            used_slots += task_slots * count
            threads += count
            if not task_slots:
                zero_slot_tasks += count
            for extra, amount in task_extras:
                used[extra] = used.get(extra, 0.0) + amount * count
        return Agent(
            name,
            idle,
            Resources(math.floor(slots + _TOLERANCE), float(nthreads), memory_limit / _GIB, extras),
            Resources(_whole(used_slots), float(threads), 0.0, tuple(used.items())),
            zero_slot_tasks,
            draining,
            taken,
        )

    def task_class(
        self,
        resources: Iterable[tuple[str, float]],
        where: tuple[str, ...],
        group: str,
        gang: int,
        count: int,
        example: str,
    ) -> TaskClass:
        slots, extras = self._split(resources)
        return TaskClass(
            Resources(_whole(slots), 1.0, 0.0, extras),  # every task takes a thread of its worker
            count,
            gang,
            group or None,
            constraints=Constraints(labels=((PLACE_LABEL, " or ".join(where)),)) if where else ANYWHERE,
            example=example,
        )

    def group(self, name: str, most: int, used: dict[str, float]) -> Group:
        return Group(name, None if most < 0 else most, _whole(used.get(self._slot, 0.0)))

    def _split(self, resources: Iterable[tuple[str, float]]) -> tuple[float, tuple[tuple[str, float], ...]]:
        slots = 0.0
        extras = []
        for name, amount in resources:
            if name == self._slot:
                slots = amount
            else:
                extras.append((name, amount))
        return slots, tuple(extras)


def _whole(slots: float) -> int:
    """Slots are whole units: a task that asks for a part of one is given all of it."""
    return math.ceil(slots - _TOLERANCE)
