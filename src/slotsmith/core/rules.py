"""The rules by which a pool is run: ours, or those of the reference, to compare the two on the same demand."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from slotsmith.core import reference
from slotsmith.core.decider import decide
from slotsmith.core.fleet import Floats
from slotsmith.core.planning.budget import Budget
from slotsmith.core.view import View
from slotsmith.model.decision import Decision, Launch
from slotsmith.model.policy import Policy

REFERENCE_TICK: Final = 5.0
"""Seconds between two decisions of the reference."""
SEARCH: Final = Budget.of(1.0)
"""What is spent on cheaper launches where the first ones that were found may be far from the cheapest."""

Decide = Callable[[View, Policy, float], Decision]


@dataclass(frozen=True, slots=True)
class Rules:
    """How to decide, and when: at once, or (`tick`, in seconds, above 0) at its multiples only.

    `search` decides the same with launches that may be cheaper, and takes its time; None = there is no such way.
    """

    name: str
    decide: Decide
    tick: float = 0.0
    search: Decide | None = None

    def next_tick(self, now: float) -> float:
        """The earliest time from `now` on at which a decision may be made."""
        return math.ceil(now / self.tick) * self.tick if self.tick else now


def search(view: View, policy: Policy, now: float) -> Decision:
    """The decision with the cheapest launches that a search of a second finds."""
    return decide(view, policy, now, SEARCH)


def decide_as_reference(view: View, policy: Policy, now: float) -> Decision:
    """What the reference would do, as far as a view of ours can say it.

    Its memory is our fleet's: the idle and disconnect clocks of a pool that decides at the reference's ticks begin at
    the same moments. What is being terminated already is left out, as a listing would show it a moment later.
    """
    info = reference.pool_scaling_info(view.info, view.offering.capacity.slots, policy.max_zero_slot_tasks_per_agent)
    leaving, fleet = view.draining | view.strays, view.fleet
    memory = reference.Memory(
        snapshot={i.id: i for i in fleet.instances if i.id not in leaving},
        desired=info.desired_new or 0,
        agents={agent.name: agent.idle for agent in info.agents},
        idle=fleet.clocks(np.isfinite(fleet.idle_since), fleet.idle_since),
        disconnected=fleet.clocks(np.isfinite(fleet.missing_since), fleet.missing_since),
    )
    sets = reference.classify(memory, policy, now)
    launched = {i.id: i.launched_at for i in fleet.instances}
    coming = len(sets.recently_launched) + view.in_flight_count
    present = len(sets.counted) + view.in_flight_count
    count = reference.launch_count(memory.desired, coming, present, policy)
    return Decision(
        at=now,
        launches=(Launch(view.offering, count, f"{memory.desired} new agents are asked for"),) if count else (),
        terminations=reference.choose_terminations(sets, launched, policy),
        desired_new=memory.desired,
        next_deadline=_next_deadline(view, policy, now),
    )


def _next_deadline(view: View, policy: Policy, now: float) -> float | None:
    fleet = view.fleet

    def ends(since: Floats, period: float) -> Floats:
        return since + period

    clocks = np.concatenate(
        [
            ends(fleet.idle_since, policy.max_idle_agent_period),
            ends(fleet.missing_since, policy.max_agent_disconnect_period),
            ends(fleet.launched_at, policy.max_agent_starting_period),
        ]
    )
    running = clocks[clocks >= now]
    return float(running.min()) if running.size else None


SLOTSMITH: Final = Rules("slotsmith", decide, search=search)
REFERENCE: Final = Rules("reference", decide_as_reference, REFERENCE_TICK)
RULES: Final = {rules.name: rules for rules in (SLOTSMITH, REFERENCE)}
"""By name."""
