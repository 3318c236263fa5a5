"""The promises about who is chosen: I1 (the maximum), I4 (who costs least goes first), I5 (no more than needed)."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Final

from slotsmith.core.demand import FreeCapacity, demand
from slotsmith.core.fleet import IDLE_AGENT, NO_AGENT
from slotsmith.core.view import View
from slotsmith.model.decision import Decision, Reason
from slotsmith.model.instance import InstanceState
from slotsmith.model.policy import Policy
from slotsmith.model.resources import Resources
from slotsmith.simulation.liveness import most_warm
from slotsmith.simulation.watch import Watch

_COUNTED: Final = (InstanceState.PENDING_REQUEST, InstanceState.STARTING, InstanceState.RUNNING)
_HEARSAY: Final = (
    *(Reason.LONG_IDLE, Reason.LONG_DISCONNECTED, Reason.NEVER_JOINED, Reason.NOT_NEEDED),
    *(Reason.REPLACED, Reason.CONSOLIDATED),
)
"""What can be concluded from nothing but what the scheduler says of its agents and tasks, or does not say."""
_REQUEST, _IDLE, _SILENT, _BUSY = range(4)
"""In this order they go when a pool is over its maximum."""


class ChoiceChecks:
    """Each decision, as it is made: from what its view shows, and nothing else."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch

    def on_decision(self, view: View, policy: Policy, decision: Decision) -> None:
        """All that a decision may not do, nor leave."""
        chosen = {termination.id: termination.reason for termination in decision.terminations}
        if self._watch.blind:
            self._check_sight(chosen)
        if len(view.fleet) > policy.max_instances:
            self._check_maximum(view, policy, chosen)
        if not (self._watch.blind or view.info.tasks or view.info.desired_new):
            self._check_requests(view, policy, decision.at, chosen)
        if decision.launches and view.info.tasks:
            self._check_launches(view, policy, decision, chosen)
        unused = any(reason is Reason.LONG_IDLE or reason.is_move for reason in chosen.values())
        if policy.headroom_slots and unused and not view.info.tasks:
            self._check_headroom(view, policy, chosen)

    def _check_sight(self, chosen: Mapping[str, Reason]) -> None:
        for instance_id, reason in chosen.items():
            if reason in _HEARSAY:
                self._watch.violated(
                    "blind", f"{instance_id} is to end ({reason.value}) while the scheduler is not heard"
                )

    def _check_maximum(self, view: View, policy: Policy, chosen: Mapping[str, Reason]) -> None:
        staying = [row for row in _ours(view) if view.fleet.instances[row].id not in chosen]
        others = [row for row in staying if view.fleet.instances[row].id not in view.kept]
        if len(staying) > policy.max_instances and others:
            self._watch.violated("I1", f"{len(staying)} are to stay, the maximum is {policy.max_instances}")
        over = [view.fleet.rows[i] for i, reason in chosen.items() if reason is Reason.OVER_MAXIMUM]
        if not over or not others:
            return
        last, first = max(over, key=lambda row: self._rank(view, row)), min(others, key=lambda r: self._rank(view, r))
        if self._rank(view, last) > self._rank(view, first):
            one, other = view.fleet.instances[last].id, view.fleet.instances[first].id
            self._watch.violated("I4", f"{one} is to end for the maximum, and {other} stays, which would cost less")

    def _rank(self, view: View, row: int) -> int:
        fleet = view.fleet
        agent, state = fleet.agent[row], fleet.instances[row].state
        if agent == NO_AGENT and state is InstanceState.PENDING_REQUEST:
            return _REQUEST
        # Before anybody has been heard, what is on record is all that is known.
        idle = agent == IDLE_AGENT or (agent == NO_AGENT and math.isfinite(fleet.idle_since[row]))
        if idle and state is not InstanceState.PENDING_REQUEST:
            return _IDLE
        # While nobody is heard, silence says nothing.
        return _SILENT if agent == NO_AGENT and not self._watch.blind else _BUSY

    def _check_requests(self, view: View, policy: Policy, now: float, chosen: Mapping[str, Reason]) -> None:
        """Nothing is pending, so that only the minimum needs requests that nothing has come of yet."""
        fleet = view.fleet
        if not fleet.is_in(InstanceState.PENDING_REQUEST).any():
            return
        # What the cloud takes back serves nobody any more, also while its scheduler wants to keep it.
        staying = [row for row in _ours(view) if fleet.instances[row].id not in chosen and not fleet.reclaimed[row]]
        requests = [row for row in staying if self._rank(view, row) == _REQUEST]
        replacing = view.moves.replacing
        unneeded = [
            fleet.instances[row].id
            for row in requests
            if fleet.instances[row].id not in view.kept and fleet.instances[row].token not in replacing
        ]
        starting = sum(
            self._rank(view, row) == _SILENT
            and not fleet.joined[row]
            and fleet.launched_at[row] + policy.max_agent_starting_period > now
            for row in staying
        )
        heard = sum(self._rank(view, row) in (_IDLE, _BUSY) for row in staying)
        working = len(requests) + starting + heard + view.in_flight_count
        busy = sum(self._rank(view, row) == _BUSY for row in staying)
        # What has work has nothing left for the headroom, or not much.
        if unneeded and working > policy.min_instances and working - busy > most_warm(view, policy):
            self._watch.violated("I5", f"{unneeded[0]} is requested still, and neither tasks nor the minimum need it")

    def _check_headroom(self, view: View, policy: Policy, chosen: Mapping[str, Reason]) -> None:
        """For want of use nothing goes that is kept free, within the maximum."""
        agents = {agent.name: agent for agent in view.info.agents if not agent.draining}
        default = self._watch.settings.largest.capacity
        free = view.in_flight_count * default.slots
        for row in _ours(view):
            instance = view.fleet.instances[row]
            agent = agents.get(instance.agent_name)
            if instance.id in chosen:
                # What it runs is moved to others.
                moved = chosen[instance.id] is Reason.CONSOLIDATED and agent is not None and agent.used is not None
                free -= agent.used.slots if moved and agent and agent.used else 0
                continue
            if agent is not None:
                free += ((agent.capacity or default) - (agent.used or Resources())).slots
            elif not view.fleet.joined[row]:
                free += default.slots
        staying = view.in_flight_count + sum(view.fleet.instances[row].id not in chosen for row in _ours(view))
        if free < policy.headroom_slots and staying < policy.max_instances:
            self._watch.violated("I5", f"{free} slots would be left free, the headroom is {policy.headroom_slots}")

    def _check_launches(self, view: View, policy: Policy, decision: Decision, chosen: Mapping[str, Reason]) -> None:
        """What agents can take that have nothing to do is not launched for."""
        free = _idle(view, policy, decision.at, chosen)
        if not free:
            return
        most_zero = policy.max_zero_slot_tasks_per_agent
        existing = [FreeCapacity(room, count, most_zero, whole=True) for room, count in free.items()]
        needed = demand(
            view.info.tasks,
            view.info.groups,
            existing,
            view.offering,
            max_instances=policy.max_instances,
            max_zero_slot_tasks=most_zero,
        ).new_instances
        if view.others and needed:
            return  # how many that are depends on which are chosen
        needed = max(needed, policy.min_instances - free.total() - view.in_flight_count) + most_warm(view, policy)
        if decision.launch_count > needed:
            self._watch.violated(
                "I5", f"{decision.launch_count} are launched, beside {free.total()} idle agents {needed} are needed"
            )


def _ours(view: View) -> Iterator[int]:
    """The rows of what is there or coming, is ours, and is not on its way out."""
    for row, instance in enumerate(view.fleet.instances):
        if instance.state in _COUNTED and instance.id not in view.draining and instance.id not in view.strays:
            yield row


def _idle(view: View, policy: Policy, now: float, chosen: Mapping[str, Reason]) -> Counter[Resources]:
    """How many agents of each size have nothing to do, and can have tasks."""
    fleet, found = view.fleet, Counter[Resources]()
    agents = {agent.name: agent for agent in view.info.agents if agent.idle and not agent.draining}
    for row in _ours(view):
        agent = agents.get(fleet.instances[row].agent_name)
        if agent is None or fleet.instances[row].id in chosen or not agent.capacity:
            continue
        # One that has been idle for too long may be given up.
        if now <= fleet.idle_since[row] + policy.max_idle_agent_period:
            found[agent.capacity] += 1
    return found
