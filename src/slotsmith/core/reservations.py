"""Idle agents that gangs are waiting with: named, so that a scheduler which can hold tasks back keeps them free.

A gang starts when there is room for all of it. Until the last of its agents is up, those that came before it stand
idle, and smaller tasks would be placed on them. What is done about it is the scheduler's to decide.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

import numpy as np

from slotsmith.core.conditions import Conditions, coming_count
from slotsmith.core.unmet import wants_elsewhere
from slotsmith.core.view import View
from slotsmith.model.agent import Agent
from slotsmith.model.decision import Reservation
from slotsmith.model.offering import Offering
from slotsmith.model.resources import Resources
from slotsmith.model.task import TaskClass

_ROUNDING = 1e-9


class _Idle(NamedTuple):
    name: str
    capacity: Resources
    offering: Offering


def reservations(view: View, found: Conditions, going: Collection[str], launched: int) -> tuple[Reservation, ...]:
    """The idle agents for each gang, in the order in which the scheduler tells them; no agent is for two.

    Those in `going` (ids) are not to be counted on. A part of a gang has something reserved only while more is on its
    way or `launched` now: otherwise agents would stand idle for what cannot come.
    """
    gangs = [tasks for tasks in view.info.tasks if _may_be_gang(tasks)]
    if not gangs or view.blind:
        return ()
    idle = _idle_agents(view, found, going)
    comes = bool(launched or coming_count(view, found))
    reserved = []
    for tasks in gangs:
        taken = _taken(tasks, idle, comes)
        if taken:
            reserved.append(Reservation(tasks.example, tuple(each.name for each in taken)))
            names = {each.name for each in taken}
            idle = [each for each in idle if each.name not in names]
    return tuple(reserved)


def _may_be_gang(tasks: TaskClass) -> bool:
    return bool(tasks.example) and (tasks.gang > 1 or tasks.spans)


def _idle_agents(view: View, found: Conditions, going: Collection[str]) -> list[_Idle]:
    """Those without work that stay, the longest at work first."""
    fleet = view.fleet
    agents: dict[str, Agent] = {agent.name: agent for agent in view.info.agents if agent.idle and not agent.draining}
    rows = [row for row in np.flatnonzero(found.idle).tolist() if fleet.instances[row].id not in going]
    idle = []
    for row in sorted(rows, key=lambda row: (float(fleet.joined_at[row]), fleet.instances[row].id)):
        instance = fleet.instances[row]
        agent = agents.get(instance.agent_name)
        if agent is not None:
            offering = view.known(instance.offering) or view.offering
            idle.append(_Idle(agent.name, agent.capacity or instance.capacity or offering.capacity, offering))
    return idle


def _taken(tasks: TaskClass, idle: list[_Idle], comes: bool) -> list[_Idle]:
    """The agents for as many of the tasks as there are some for."""
    left = [(each, _share(tasks, each)) for each in idle if not wants_elsewhere(tasks.constraints, each.offering)]
    left = [(each, share) for each, share in left if 0 < share < 1]
    taken: list[_Idle] = []
    for _ in range(tasks.count):
        part, whole = [], 0.0
        while left and whole < 1 - _ROUNDING:
            each, share = left.pop(0)
            part.append(each)
            whole += share
        if whole < 1 - _ROUNDING and not comes:
            break
        taken += part
        if not left:
            break
    return taken


def _share(tasks: TaskClass, agent: _Idle) -> float:
    """Which part of a task the agent takes: 1 = all of it, so that it needs no other; 0 = nothing of it."""
    slots, each = tasks.resources.slots, agent.capacity.slots
    if tasks.spans and each and slots > each:
        return each / slots / tasks.gang if slots % each == 0 else 0.0
    return min(1.0, tasks.resources.times_in(agent.capacity) / tasks.gang)
