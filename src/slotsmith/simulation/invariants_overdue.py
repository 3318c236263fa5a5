"""I5 at any time: what has come due is done, once nothing has kept the program from it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

from slotsmith.model.instance import InstanceState
from slotsmith.model.record import InstanceRecord
from slotsmith.model.scaling_info import ScalingInfo
from slotsmith.simulation.invariants_fleet import SLACK
from slotsmith.simulation.liveness import warm_of
from slotsmith.simulation.watch import Watch

_UP: Final = (InstanceState.STARTING, InstanceState.RUNNING)
_GIVEN_BACK: Final = 60.0
"""Seconds within which an agent that nobody wants any more is given back: as long as the call may take."""
_HELD: Final = 30.0
"""Seconds for which what could not be ended is not tried again: its agent was not given up, or was there after all."""


class OverdueChecks:
    """Looks every now and then for what should be under way for a while, and is not on record.

    What is found is remembered with the time at which it was first found, as it may only just have come due in a way
    that cannot be seen from here.
    """

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._found_at: dict[tuple[str, str], float] = {}
        self._wanted_at = -math.inf

    def on_start(self) -> None:
        """What was due before is due for the new generation, too, and it begins with looking."""
        self._found_at.clear()

    def on_view(self, info: ScalingInfo, before: ScalingInfo | None) -> None:
        """Idle agents are kept for what waits."""
        if info.tasks or (before is not None and before.tasks):
            self._wanted_at = self._watch.now

    def on_tick(self) -> None:
        """Whatever should have been done by now."""
        watch, now = self._watch, self._watch.now
        if not watch.up or watch.blind:
            self._found_at.clear()
            return
        found = {(what, instance_id): (due, patience) for what, instance_id, due, patience in self._due()}
        self._found_at = {key: self._found_at.get(key, now) for key in found}
        for (what, instance_id), (due, patience) in found.items():
            late = watch.calm_for(max(due, self._found_at[what, instance_id], watch.sighted_at))
            if late > patience:
                watch.violated("I5", f"{instance_id} {what}, and nothing is done for {late:.0f} s")

    def _due(self) -> Iterator[tuple[str, str, float, float]]:
        """What is due, of which instance, since when, and the seconds within which it should be done."""
        watch = self._watch
        spare = self._spare()
        for instance_id, record in watch.ledger.present.items():
            if record.termination is not None or instance_id not in watch.alive:
                continue
            agent = watch.agents.get(record.instance.agent_name)
            if agent is None:
                what, due = self._silent(record)
                if what:
                    yield what, instance_id, due, _HELD + SLACK
                continue
            if agent.idle and spare > 0 and record.idle_since is not None:
                yield "is idle beyond its period", instance_id, self._idle_too_long(record, record.idle_since), SLACK
            there = watch.scheduler.agents.get(agent.name)
            if agent.draining and there is not None and not there.open:
                yield "drains for nobody", instance_id, -math.inf, _GIVEN_BACK

    def _silent(self, record: InstanceRecord) -> tuple[str, float]:
        """What is due of an instance without an agent, and since when."""
        policy, state = self._watch.policy, record.instance.state
        if state is InstanceState.STOPPED:
            return "is stopped", -math.inf
        if state not in _UP:
            return "", 0.0
        starting_ends = record.instance.launched_at + policy.max_agent_starting_period
        if record.missing_since is not None:
            return "is disconnected beyond its period", record.missing_since + policy.max_agent_disconnect_period
        if record.joined_at is not None:
            return "", 0.0
        if record.first_seen >= starting_ends:
            # Whether it has joined before, nobody knows.
            return "has no agent", record.first_seen + policy.max_agent_disconnect_period
        return "never joined", starting_ends

    def _idle_too_long(self, record: InstanceRecord, idle_since: float) -> float:
        watch, name = self._watch, record.instance.agent_name
        since = max(idle_since, watch.idle_broken_at.get(name, -math.inf))
        held_until = watch.held_at.get(name, -math.inf) + _HELD
        return max(since + watch.policy.max_idle_agent_period, held_until, self._wanted_at)

    def _spare(self) -> int:
        """How many of those that are certainly at work the pool could do without; 0 while tasks wait."""
        watch = self._watch
        if watch.info is None or watch.info.tasks or watch.info.desired_new:
            return 0
        at_work = [
            watch.agents[record.instance.agent_name].idle
            for record in watch.ledger.present.values()
            if record.termination is None
            and record.instance.state in _UP
            and record.instance.agent_name in watch.agents
        ]
        spare = len(at_work) - watch.policy.min_instances
        # What has work has nothing left for the headroom, or not much.
        return min(spare, sum(at_work) - warm_of(watch.policy, watch.settings.largest.capacity))
