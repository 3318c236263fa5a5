"""The scale decider: which instances to terminate, how many to launch, what stays unmet, and why.

A pass goes through the rules in the order of `decide`: sort the fleet into conditions, count what is needed, choose
terminations, then see what the limits allow for launches. Each of them has a module of its own.
"""

from __future__ import annotations

import numpy as np

from slotsmith.core.conditions import Conditions, conditions
from slotsmith.core.consolidation import NOT_CONSOLIDATED, Consolidated, consolidate
from slotsmith.core.fleet import Floats, Mask
from slotsmith.core.free_capacity import KEPT_IDLE_PERIODS, demand_beyond, out_of_patience
from slotsmith.core.launches import choose_launches, spare_slots
from slotsmith.core.planning.budget import QUICK, Budget
from slotsmith.core.reservations import reservations
from slotsmith.core.several import excess, outlook, places_lacking
from slotsmith.core.terminations import choose_terminations
from slotsmith.core.view import View
from slotsmith.model.decision import Decision
from slotsmith.model.policy import Policy


def decide(view: View, policy: Policy, now: float, budget: Budget = QUICK) -> Decision:
    """What to do at `now` (epoch seconds). The same view, policy and time always give the same decision.

    With several offerings, `budget` is for what is launched for tasks: more of it finds cheaper launches.
    """
    found = conditions(view, policy, now)
    ahead = outlook(view, found, policy, now, budget) if view.others else None
    wanted = ahead.wanted if ahead else demand_beyond(view, found, policy, now)
    spare = spare_slots(view, found, ahead or wanted, policy)
    lacking = places_lacking(ahead, view, policy, now) if ahead and _may_make_room(view, found, policy) else 0
    moves = consolidate(view, found, wanted, policy, now) if policy.consolidation else NOT_CONSOLIDATED
    # Those are counted as if nothing else went; while something makes way, the headroom is not touched for them.
    patient = not policy.headroom_slots or bool(moves.going or moves.extra)
    given_up_on = () if patient else out_of_patience(view, found, policy, now)
    terminations = choose_terminations(view, found, wanted, policy, spare, lacking, given_up_on, moves)
    launches, unmet, needed = choose_launches(view, found, terminations, ahead or wanted, policy, now, lacking)
    # What makes way anyhow, or is launched anyhow, is looked at before anything is replaced for its price.
    first = not launches and not unmet and all(each.reason.is_move for each in terminations)
    going = {each.id for each in terminations}
    return Decision(
        at=now,
        launches=moves.launches if first else launches,
        terminations=terminations,
        unmet=(*wanted.unschedulable, *unmet),
        desired_new=needed,
        next_deadline=_next_deadline(view, found, moves, policy, now),
        proposals=moves.proposals if first else (),
        reservations=reservations(view, found, going, sum(each.count for each in launches)),
        excess=excess(ahead, launches) if ahead else 0.0,
    )


def _may_make_room(view: View, found: Conditions, policy: Policy) -> bool:
    """Whether something goes in this pass whose room tasks could wait for, or is kept for more than tasks."""
    if view.blind:
        return False
    going = found.long_idle | found.stopped | found.reclaimed | found.long_disconnected | found.never_joined
    going = going | found.pending
    over = int(np.count_nonzero(found.counted)) > policy.max_instances
    return bool(policy.headroom_slots or view.draining or over or going.any())


def _next_deadline(view: View, found: Conditions, moves: Consolidated, policy: Policy, now: float) -> float | None:
    """The earliest time at which a period or a back-off that runs now is over."""
    fleet = view.fleet
    first_wait = found.recently_launched & ~found.pending
    pauses = [each.failures.next_attempt_at for each in view.on_offer]
    pauses += [each.until for each in view.shortages.values()]
    times = [
        *_earliest(fleet.idle_since, found.idle & ~found.long_idle, policy.max_idle_agent_period, now),
        *_earliest(fleet.idle_since, found.long_idle, KEPT_IDLE_PERIODS * policy.max_idle_agent_period, now),
        *_earliest(found.disconnected_since, found.disconnected, policy.max_agent_disconnect_period, now),
        *_earliest(fleet.launched_at, first_wait, policy.max_agent_starting_period, now),
        *(time for time in (*pauses, view.join_failures.retry_at) if time > now),
        *((moves.next_deadline,) if moves.next_deadline is not None else ()),
    ]
    return min(times, default=None)


def _earliest(since: Floats, mask: Mask, period: float, now: float) -> list[float]:
    running = since[mask]
    if not running.size:
        return []
    ends = running + period
    ends = ends[ends >= now]
    return [float(ends.min())] if ends.size else []
