"""What would have been decided: cases are run under either set of rules and told in one form.

The form of the input stands in `core.replay_cases`; the two drivers below are all that differs between the rules.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

from slotsmith.core import reference
from slotsmith.core.conditions import state_sets
from slotsmith.core.decider import decide
from slotsmith.core.fleet import EMPTY_FLEET, observe
from slotsmith.core.replay_cases import Cases, ReplayCase, ReplayTick, load_cases, parse_cases
from slotsmith.core.replay_node import ReplayError
from slotsmith.core.view import OnOffer, View
from slotsmith.model.decision import StateSets, Termination
from slotsmith.model.launch_error import NO_LAUNCH_FAILURES
from slotsmith.model.scaling_info import NO_SCALING_INFO, ScalingInfo

__all__ = [
    "RULES",
    "Cases",
    "ReplayCase",
    "ReplayError",
    "ReplayTick",
    "Told",
    "load_cases",
    "parse_cases",
    "replay",
    "run_case",
]


@dataclass(frozen=True, slots=True)
class Told:
    """What one tick came to: the sets it was decided from, what goes, and how many are launched."""

    at: float
    launch: int
    terminations: tuple[Termination, ...]
    sets: StateSets


def _by_our_rules(case: ReplayCase) -> Iterator[Told]:
    fleet = EMPTY_FLEET
    info: ScalingInfo | None = None
    for tick in case.ticks:
        info = info if tick.info is None else tick.info
        fleet = observe(fleet, tick.instances, None if info is None else info.agents, tick.at)
        view = View(
            fleet,
            info or NO_SCALING_INFO,
            case.offering,
            in_flight=tick.in_flight,
            draining=tick.draining,
            strays=tick.strays,
            kept=tick.kept,
            launch_failures=tick.launch_failures,
            join_failures=tick.join_failures,
            # Before the scheduler has said anything, an agent's silence means nothing.
            blind=tick.blind or info is None,
            others=tuple(OnOffer(each, tick.others.get(each.name, NO_LAUNCH_FAILURES)) for each in case.others),
            shortages=tick.shortages,
            promised=tick.promised,
            spent_this_month=tick.spent_this_month,
            moves=tick.moves,
        )
        policy = replace(case.policy, **tick.in_force) if tick.in_force else case.policy
        decision = decide(view, policy, tick.at)
        sets = state_sets(view, policy, tick.at)
        yield Told(tick.at, decision.launch_count, decision.terminations, sets)


def _by_the_reference(case: ReplayCase) -> Iterator[Told]:
    """The reference knows nothing but instances and scaling info, so what else a tick says is left out."""
    memory, slots = reference.NO_MEMORY, case.offering.capacity.slots
    for tick in case.ticks:
        info = tick.info
        if info is not None:
            info = reference.pool_scaling_info(info, slots, case.policy.max_zero_slot_tasks_per_agent)
        memory, told = reference.tick(memory, case.policy, tick.at, tick.instances, info)
        yield Told(tick.at, told.launch, told.terminations, told.sets)


RULES: Final[dict[str, Callable[[ReplayCase], Iterator[Told]]]] = {
    "slotsmith": _by_our_rules,
    "reference": _by_the_reference,
}
"""The rules by the names that the command line knows them under."""


def run_case(case: ReplayCase, rules: str = "slotsmith") -> Iterator[Told]:
    """Each tick of a case under the named rules.

    Raises:
        ReplayError: there are no rules of that name.
    """
    return _driver(rules)(case)


def replay(cases: Cases, rules: str = "slotsmith") -> dict[str, Any]:
    """All cases under the named rules, as the JSON-ready output of `slotsmith replay`. Ids and sets are sorted.

    Raises:
        ReplayError: there are no rules of that name.
    """
    run = _driver(rules)
    return {"cases": [{"name": case.name, "ticks": [_as_json(told) for told in run(case)]} for case in cases]}


def _driver(rules: str) -> Callable[[ReplayCase], Iterator[Told]]:
    if rules not in RULES:
        raise ReplayError(f"unknown rules {rules!r}, expected one of {', '.join(RULES)}")
    return RULES[rules]


def _as_json(told: Told) -> dict[str, Any]:
    sets = told.sets
    return {
        "at": _plain(told.at),
        "launch": told.launch,
        "terminate": [
            {"id": termination.id, "reason": str(termination.reason)}
            for termination in sorted(told.terminations, key=lambda termination: termination.id)
        ],
        "counted": list(sets.counted),
        "pending": list(sets.pending),
        "recently_launched": list(sets.recently_launched),
        "stopped": list(sets.stopped),
        "idle": {id_: _plain(since) for id_, since in sorted(sets.idle.items())},
        "disconnected": {id_: _plain(since) for id_, since in sorted(sets.disconnected.items())},
        "long_idle": sorted(sets.long_idle),
        "long_disconnected": sorted(sets.long_disconnected),
    }


def _plain(number: float) -> float | int:
    """As a person would write it: 5, not 5.0."""
    return int(number) if number.is_integer() else number
