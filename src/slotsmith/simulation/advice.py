"""What a pool could do otherwise, and which of it would have been better for its tasks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from slotsmith.model.foresight import DEFAULT_TARGET, Target
from slotsmith.model.policy import Policy
from slotsmith.providers.simulated import SimulatedSettings, SimulatedType

AS_IT_IS: Final = "as it is"
_IDLE_PERIODS: Final = {"1m": 60.0, "5m": 300.0, "20m": 1200.0, "1h": 3600.0}
_MORE_SPARE: Final = 0.02
_MOST_TYPES: Final = 4
# Less than this is no difference: two seeds differ by as much.
_SAME_COST: Final = 0.003
_SAME_WAIT: Final = 0.02
_SAME_SECONDS: Final = 0.1
# What is worth more money: at most so much more, for at most so much of the waiting.
_WORTH_COST: Final = 0.05
_WORTH_WAIT: Final = 0.5

Figures = Mapping[str, Any]
"""A run's figures, with the keys of `slotsmith simulate --json`."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A pool that could be; `label` is what stands in its configuration, or says which types are left."""

    label: str
    policy: Policy
    provider: SimulatedSettings


@dataclass(frozen=True, slots=True)
class Advice:
    """A choice worth taking, by its place among those that were run, and why in a few words."""

    index: int
    why: str


def choices(policy: Policy, provider: SimulatedSettings) -> list[Choice]:
    """The pool as it is, and what it could change by itself, each change alone."""
    told = [Choice(AS_IT_IS, policy, provider)]
    told += [Choice(label, changed, provider) for label, changed in _policies(policy)]
    for label, types in _fewer_types(provider.instance_types):
        told.append(Choice(label, policy, provider.model_copy(update={"instance_types": types})))
    return told


def _policies(policy: Policy) -> Iterator[tuple[str, Policy]]:
    now = policy.foresight or Target(spare=False)
    for written, seconds in _IDLE_PERIODS.items():
        if now.idle_period or seconds != policy.max_idle_agent_period:
            fixed = replace(policy, max_idle_agent_period=seconds)
            yield f"max_idle_agent_period: {written}", _learning(fixed, replace(now, idle_period=False))
    if not now.idle_period:
        yield "max_idle_agent_period: auto", _learning(policy, replace(now, idle_period=True))
    if policy.headroom_slots or now.spare:
        yield "no headroom", _learning(replace(policy, headroom_slots=0), replace(now, spare=False))
    more = Target(max_extra_cost=_MORE_SPARE)
    spare = {
        "headroom: {type: learned}": DEFAULT_TARGET,
        f"headroom: {{type: learned, target: {{max_extra_cost: {_MORE_SPARE:.0%}}}}}": more,
    }
    for label, target in spare.items():
        learned = replace(target, idle_period=now.idle_period)
        if now != learned:
            yield label, replace(policy, headroom_slots=0, foresight=learned)


def _learning(policy: Policy, target: Target) -> Policy:
    return replace(policy, foresight=target if target.spare or target.idle_period else None)


def _fewer_types(types: Sequence[SimulatedType]) -> Iterator[tuple[str, tuple[SimulatedType, ...]]]:
    """One market, or one type, where there are several; of many types those that are cheapest for a slot."""
    for market in ("on-demand", "spot"):
        left = tuple(each for each in types if each.market == market)
        if 0 < len(left) < len(types):
            yield f"only {market}", left
    cheapest = sorted(types, key=lambda each: (each.price_per_hour or 0.0) / max(each.slots, 1))
    names = list(dict.fromkeys(each.name for each in cheapest))
    for name in names[:_MOST_TYPES] if len(names) > 1 else ():
        yield f"only {name}", tuple(each for each in types if each.name == name)


def cost_of(figures: Figures) -> float:
    """Dollars, or instance-hours where a price is not known."""
    dollars = figures["cost_usd"]
    return float(figures["instance_hours"] if dollars is None else dollars)


def advised(runs: Sequence[Figures]) -> list[Advice]:
    """The choices worth taking, of runs whose first is the pool as it is: at most three, none twice.

    One that leaves more tasks without an instance that they fit on, kills more of them or breaks a promise is not
    worth anything.
    """
    now = runs[0]
    cost, wait = cost_of(now), now["wait_s"]["mean"]
    sound = [index for index, run in enumerate(runs) if index and _is_sound(run, now)]

    def costs(index: int) -> float:
        return cost_of(runs[index])

    def waits(index: int) -> float:
        return float(runs[index]["wait_s"]["mean"])

    found: dict[int, str] = {}
    no_dearer = [i for i in sound if costs(i) <= cost * (1 + _SAME_COST) and _shorter(waits(i), wait, 1.0)]
    if no_dearer:
        found[min(no_dearer, key=lambda i: (waits(i), costs(i)))] = "the shortest wait for no more money"
    no_longer = [i for i in sound if costs(i) < cost * (1 - _SAME_COST) and not _shorter(wait, waits(i), 1.0)]
    if no_longer:
        best = min(no_longer, key=lambda i: (costs(i), waits(i)))
        found[best] = f"{found[best]}, and the least money" if best in found else "the least money for no more waiting"
    shortest = min([wait, *map(waits, found)])
    dearer = [i for i in sound if costs(i) <= cost * (1 + _WORTH_COST) and _shorter(waits(i), shortest, _WORTH_WAIT)]
    if dearer:
        found.setdefault(min(dearer, key=costs), f"at least half of the waiting saved, for {_WORTH_COST:.0%} at most")
    return [Advice(index, why) for index, why in found.items()]


def _shorter(wait: float, other: float, share: float) -> bool:
    """Whether a wait is at most so large a share of the other, and not only by chance."""
    return wait <= other * share and wait < other * (1 - _SAME_WAIT) - _SAME_SECONDS


def _is_sound(run: Figures, now: Figures) -> bool:
    tasks, tasks_now = run["tasks"], now["tasks"]
    return not run["violations"] and all(tasks[key] <= tasks_now[key] for key in ("unschedulable", "killed"))
