"""Foresight: how many slots a pool should keep free for work that has not come yet, learned from its own demand.

It knows by how much the demand is likely to rise within one boot delay (`core.rises`), and several ways of holding
spare for that: for which share of the rises it is to be enough, of those in cases like the present one or of all of the
last hours. Each way is followed by a fleet that is only reckoned (`core.shadows`), beside one for the pool without
foresight. From time to time the way is chosen that would have been best lately within what it may cost. Where none is
good enough, the pool is run as if there was no foresight. How long idle agents are kept may be learned as well
(`core.idle_period`), with spare or without.

All of it is a pure function: frozen state and a view in, frozen state out. `foreseen` says what follows from a state.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final, NamedTuple

import numpy as np

from slotsmith.core import rises as learned
from slotsmith.core.demand_seen import Seen, seen
from slotsmith.core.idle_period import PERIODS, best_period, followed_each
from slotsmith.core.rises import Rises
from slotsmith.core.shadows import NO_SHADOW, Moment, Shadow, followed
from slotsmith.core.view import View
from slotsmith.model.durations import format_duration
from slotsmith.model.foresight import Foreseen, Target
from slotsmith.model.policy import Policy

SHARES: Final = (0.8, 0.9, 0.925, 0.9375, 0.95, 0.965, 0.98, 0.99, 0.995)
"""In so many of the cases spare is to be enough."""
SHORT_IDLE: Final = 0.05
"""With spare, idle agents beyond it go after this part of the idle period: spare is what serves the next task then."""
SHORTEST_IDLE: Final = 1 / 3
"""But not before this part of a boot delay, so that launches and terminations do not chase each other."""
JUDGED_OVER: Final = 7 * 86400.0
"""Seconds after which cost and waiting count a factor e less in a choice."""
EVIDENCE: Final = 8 * 3600.0
"""Seconds for which the ways are only watched, and nothing is held."""
CHOICE_PERIOD: Final = 600.0
"""Seconds between two choices."""
WORTH: Final = 0.9
"""A way must save a tenth of the waiting: less is within the error of these estimates."""
MOST_DEBT: Final = 0.02
"""What was spent so far above what was allowed is made up for, but no more than this share at a time."""
LATE_SHARE: Final = 0.05
"""Of 100 tasks, 95 are to wait no longer than a target in `wait_p95`."""
_BOOT_WEIGHT: Final = 0.1
# Rises within a boot delay are learned anew when that becomes another by as much.
_OTHER_BOOT: Final = 1.5
_LEAST_BOOT: Final = 1.0
_MOST_OFFERINGS: Final = 64


@dataclass(frozen=True, slots=True, eq=False)
class Foresight:
    """What has been learned. `boots`: the boot delay of each offering in seconds, of agents that `joined_until` then.

    `ways` are the shadows of the pool without foresight, and of each of `WAYS`; `pool` is that of what was really
    chosen; `way` is the present choice, made before `choose_at`. `watched` is for how long. `periods` are the shadows
    of each of `PERIODS`, and `period` the place of the one in force; None = that of the policy.
    """

    boots: Mapping[str, float] = field(default_factory=dict)
    joined_until: float = -math.inf
    rises: Rises | None = None
    ways: tuple[Shadow, ...] = ()
    pool: Shadow = NO_SHADOW
    way: int = 0
    choose_at: float = 0.0
    watched: float = 0.0
    seen: Seen | None = None
    used: int = 0
    saved_seconds: float = 0.0
    extra_instance_seconds: float = 0.0
    cost_limit_binds: bool = False
    periods: tuple[Shadow, ...] = ()
    period: int | None = None


class Way(NamedTuple):
    """A way of holding spare: enough in this share of cases like the present one, or of all of the last hours."""

    share: float
    lately: bool


WAYS: Final = tuple(Way(share, lately) for lately in (False, True) for share in SHARES)


class _Spare(NamedTuple):
    slots: int
    instances: int


def looked(state: Foresight, view: View, policy: Policy, target: Target, now: float) -> Foresight:
    """The state after a look at the pool. `policy` is the one without foresight."""
    if view.blind:
        return state
    state = _with_boots(state, view, policy)
    boot = boot_time(state, view)
    if boot is None:
        return state
    found = seen(view, policy)
    if state.rises is None or not 1 / _OTHER_BOOT < state.rises.cell * learned.CELLS / boot < _OTHER_BOOT:
        # Nothing is known yet, or it is known of another boot delay.
        state = Foresight(state.boots, state.joined_until, Rises.begin(boot, now, found.slots), seen=found)
    assert state.rises is not None, "it has just begun"
    # What nobody saw is not what was there: after a restart the shadows go on from now.
    dt = max(0.0, now - state.rises.at) if state.seen is not None else 0.0
    rises = learned.observed(state.rises, now, found.slots)
    moment = Moment(
        now,
        found.instances,
        policy.min_instances,
        policy.max_instances,
        boot,
        rise=state.seen is not None and found.slots > state.seen.slots,
        kept=math.exp(-dt / JUDGED_OVER),
        patience=math.inf if target.wait_p95 is None else target.wait_p95,
    )
    due = now >= state.choose_at or state.choose_at > now + CHOICE_PERIOD
    choose_at = now + CHOICE_PERIOD if due else state.choose_at
    state = replace(state, rises=rises, seen=found, watched=state.watched + dt, choose_at=choose_at)
    choose = due and state.watched >= EVIDENCE
    if target.idle_period:
        kept_free = math.ceil(policy.headroom_slots / found.size)
        periods = followed_each(state.periods, moment, kept_free)
        state = replace(state, periods=periods, period=best_period(periods, state.period) if choose else state.period)
    if target.spare:
        state = _followed(state, moment, _with_period(state, policy, target), target, choose)
    return state


def foreseen(state: Foresight, view: View, policy: Policy, target: Target) -> Foreseen:
    """What the state asks of this pass, and what people are told of it."""
    policy, boot = _with_period(state, policy, target), boot_time(state, view)
    base, pool = (state.ways[0], state.pool) if state.ways else (NO_SHADOW, NO_SHADOW)
    figures: dict[str, Any] = {
        "boot_time": boot,
        "wait_share": pool.waited / base.waited if base.waited > 0 else None,
        "cost_share": pool.cost / base.cost if base.cost > 0 else None,
        "used": state.used,
        "saved_seconds": state.saved_seconds,
        "extra_instance_seconds": state.extra_instance_seconds,
        "why_so_long": _why_so_long(state, boot) if target.idle_period else None,
    }
    if not target.spare or not state.way or state.rises is None or boot is None:
        why = _why_not(state, boot, target) if target.spare else None
        return Foreseen(policy.headroom_slots, policy.max_idle_agent_period, False, why, **figures)
    slots = _spare(state.rises, state.seen, state.way).slots
    period = idle_period(policy, boot)
    return Foreseen(slots, period, True, _why(state, base), **figures)


def _with_period(state: Foresight, policy: Policy, target: Target) -> Policy:
    """The policy without spare, with the idle period that has been learned."""
    if not target.idle_period or state.period is None:
        return policy
    return replace(policy, max_idle_agent_period=PERIODS[state.period])


def next_look(state: Foresight, now: float) -> float | None:
    """When to look again if nothing happens before: what is likely changes with time alone. None = never."""
    return now + max(_LEAST_BOOT, state.rises.cell * learned.CELLS / 2) if state.rises is not None else None


def boot_time(state: Foresight, view: View) -> float | None:
    """The boot delay that counts: of what is on offer the longest that is known, or any; None = none is known."""
    known = [state.boots[each.offering.name] for each in view.on_offer if each.offering.name in state.boots]
    return max(known or state.boots.values(), default=None)


def idle_period(policy: Policy, boot: float) -> float:
    """For how long an idle agent beyond the spare is kept while spare is held, in seconds."""
    whole = policy.max_idle_agent_period
    return min(whole, max(SHORT_IDLE * whole, SHORTEST_IDLE * boot))


def to_body(state: Foresight) -> dict[str, Any] | None:
    """JSON-ready; None when nothing has been learned."""
    if state.rises is None:
        return None
    return {
        "boots": dict(state.boots),
        "joined_until": state.joined_until,
        "rises": learned.to_body(state.rises),
        "ways": [asdict(shadow) for shadow in state.ways],
        "pool": asdict(state.pool),
        "periods": [asdict(shadow) for shadow in state.periods],
        **{name: getattr(state, name) for name in _PLAIN},
    }


def of_body(body: Mapping[str, Any], now: float) -> Foresight:
    """The same from what `to_body` made.

    Raises:
        ValueError: it is not that.
    """
    try:
        ways = tuple(_shadow_of(each, now) for each in body["ways"])
        periods = tuple(_shadow_of(each, now) for each in body["periods"])
        if len(ways) not in (0, len(WAYS) + 1) or not 0 <= body["way"] <= len(WAYS):
            raise ValueError("other ways of holding spare")
        if len(periods) not in (0, len(PERIODS)) or body["period"] not in (None, *range(len(PERIODS))):
            raise ValueError("other idle periods")
        return Foresight(
            {str(name): float(boot) for name, boot in body["boots"].items()},
            float(body["joined_until"]),
            learned.of_body(body["rises"], now),
            ways,
            _shadow_of(body["pool"], now),
            periods=periods,
            **{name: body[name] for name in _PLAIN},
        )
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise ValueError(f"not a state of foresight ({type(error).__name__}: {error})") from error


_PLAIN: Final = (
    *("way", "choose_at", "watched", "used", "saved_seconds", "extra_instance_seconds", "cost_limit_binds", "period"),
)


def _shadow_of(body: Mapping[str, Any], now: float) -> Shadow:
    booting = tuple((float(at), int(count)) for at, count in body["booting"])
    idle = tuple((float(since), float(count)) for since, count in body["idle"])
    return Shadow(**{**body, "at": now, "booting": booting, "idle": idle})


def _with_boots(state: Foresight, view: View, policy: Policy) -> Foresight:
    """With the boot delays of the agents that have joined since the last look."""
    fleet = view.fleet
    fresh = np.flatnonzero(fleet.joined_at > state.joined_until)
    if not fresh.size:
        return state
    boots = dict(state.boots)
    for row in fresh.tolist():
        seconds = float(fleet.joined_at[row] - fleet.launched_at[row])
        # One that took longer had been launched before anybody looked.
        if not 0 < seconds <= policy.max_agent_starting_period:
            continue
        name = fleet.instances[row].offering or view.offering.name
        last = boots.pop(name, None)
        boots[name] = max(_LEAST_BOOT, seconds if last is None else last + _BOOT_WEIGHT * (seconds - last))
    kept = dict(list(boots.items())[-_MOST_OFFERINGS:])
    return replace(state, boots=kept, joined_until=float(fleet.joined_at[fresh].max()))


def _spare(rises: Rises, found: Seen | None, way: int) -> _Spare:
    return _spares(rises, found)[way]


def _spares(rises: Rises, found: Seen | None) -> list[_Spare]:
    """What each way asks for now: slots, and the idle instances that takes beside the room on busy ones."""
    room, size = (found.room, found.size) if found is not None else (0, 1)
    slots = [0, *learned.likely(rises, SHARES), *learned.likely_lately(rises, SHARES)]
    return [_Spare(each, math.ceil(max(0, each - room) / size)) for each in slots]


def _followed(state: Foresight, moment: Moment, policy: Policy, target: Target, choose: bool) -> Foresight:
    """With all ways of holding spare at that moment, and a new choice if one is due."""
    assert state.rises is not None, "foresight has begun"
    short, whole = idle_period(policy, moment.boot), policy.max_idle_agent_period
    old = state.ways or (Shadow(moment.now),) * (len(WAYS) + 1)
    was = state.pool if state.ways else Shadow(moment.now)
    asked = _spares(state.rises, state.seen)
    ways = tuple(
        followed(shadow, moment, spare.instances, short if way else whole)
        for way, (shadow, spare) in enumerate(zip(old, asked, strict=True))
    )
    way, binds = _choice(ways, was, target) if choose else (state.way, state.cost_limit_binds)
    pool = followed(was, moment, asked[way].instances, short if way else whole)
    without = ways[0].waited - old[0].waited * moment.kept
    waits = pool.waited - was.waited * moment.kept
    dt = max(0.0, moment.now - old[0].at)
    return replace(
        state,
        ways=ways,
        pool=pool,
        way=way,
        cost_limit_binds=binds,
        used=state.used + (without > 0 and waits <= 0),
        saved_seconds=state.saved_seconds + without - waits,
        extra_instance_seconds=state.extra_instance_seconds + dt * (was.there - old[0].there),
    )


def _choice(ways: tuple[Shadow, ...], pool: Shadow, target: Target) -> tuple[int, bool]:
    """The best way, and whether only its cost kept a better one away. 0 = as without foresight."""
    base = ways[0]
    allowed = base.cost * (1 + target.max_extra_cost)
    # What earlier choices have spent, and what they have let wait longer, is part of what this pool is like; what they
    # have saved is not there to be spent.
    budget = allowed - min(MOST_DEBT * base.cost, max(0.0, pool.cost - allowed))
    lost = max(0.0, pool.waited - base.waited)
    useful = [way for way in range(1, len(ways)) if ways[way].waited + lost < WORTH * base.waited]
    paid = [way for way in useful if ways[way].cost <= budget]
    binds = len(paid) < len(useful)
    if target.wait_p95 is not None:
        if base.late <= LATE_SHARE * base.rises:
            return 0, False
        enough = [way for way in paid if ways[way].late <= LATE_SHARE * ways[way].rises]
        if enough:
            return min(enough, key=lambda way: (ways[way].cost, way)), binds
        return min(paid, key=lambda way: (ways[way].late, way), default=0), binds
    return min(paid, key=lambda way: (ways[way].waited, way), default=0), binds


def _why(state: Foresight, base: Shadow) -> str:
    chosen, way = state.ways[state.way], WAYS[state.way - 1]
    what = "what came within a boot delay in the last hours" if way.lately else "what may come within a boot delay"
    cost = 100 * (chosen.cost / base.cost - 1) if base.cost > 0 else 0.0
    saved = 100 * (1 - chosen.waited / base.waited) if base.waited > 0 else 0.0
    return (
        f"spare for {100 * way.share:g} % of {what} would lately have saved "
        f"{saved:.0f} % of the waiting at {cost:+.1f} % of the cost"
    )


def _why_so_long(state: Foresight, boot: float | None) -> str:
    if state.period is None:
        return _not_yet(state, boot) or "the choice is due"
    chosen, longest = state.periods[state.period], state.periods[-1]
    if not longest.cost:
        return "nothing has run lately"
    hours, waits = (1 - chosen.cost / longest.cost), chosen.held_up - longest.held_up
    return (
        f"beside {format_duration(PERIODS[-1])} that would lately have saved {100 * hours:.1f} % of the cost, "
        f"for {waits / max(1.0, longest.cost):.1%} of it in longer waiting"
    )


def _not_yet(state: Foresight, boot: float | None) -> str | None:
    """Why nothing can be chosen."""
    if boot is None:
        return "no instance has joined yet, so how long one takes is not known"
    if state.watched < EVIDENCE:
        return f"the demand has been watched for {state.watched / 3600:.1f} hours, {EVIDENCE / 3600:g} are needed"
    return None


def _why_not(state: Foresight, boot: float | None, target: Target) -> str:
    if early := _not_yet(state, boot):
        return early
    if state.cost_limit_binds:
        return f"whatever saves waiting would lately have cost more than {100 * target.max_extra_cost:g} % extra"
    if target.wait_p95 is not None and state.ways[0].late <= LATE_SHARE * state.ways[0].rises:
        return f"95 of 100 tasks would lately have waited no longer than {target.wait_p95:g} s without it"
    if state.pool.waited > state.ways[0].waited:
        return "the spare that was held has lately saved no waiting"
    return "no spare would lately have saved a tenth of the waiting"
