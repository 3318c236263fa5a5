"""From a problem to a plan: a good one at once, and better ones while the budget of work lasts."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from typing import Final

import numpy as np

from slotsmith.core.planning import telling
from slotsmith.core.planning.arrays import Ints
from slotsmith.core.planning.budget import Budget, Meter
from slotsmith.core.planning.exact import FEW_STATES, MOST_STATES, least_cost_rows
from slotsmith.core.planning.expanding import Expander, launches
from slotsmith.core.planning.filling import Filling, Row, cost, held
from slotsmith.core.planning.firstfit import Ceiling, FirstFit, Opening
from slotsmith.core.planning.limited import settled, within
from slotsmith.core.planning.plan import Plan, Planned, Served, StoppedBy
from slotsmith.core.planning.prices import Prices, fluid_prices, lower_bound
from slotsmith.core.planning.problem import Problem
from slotsmith.core.planning.quick import STYLES, Style, adapted, fill_new, first_style
from slotsmith.core.planning.repair import repaired
from slotsmith.core.planning.serving import Wanted, admitted, item_counts, left_out, place_wholes
from slotsmith.core.planning.shapes import ENDLESS, Model, model_of
from slotsmith.model.decision import Unmet
from slotsmith.model.offering import Offering
from slotsmith.model.task import TaskClass

# First fit looks at every task's shape by itself, so beyond so many of them it is left out of the first plan.
_FIRST_FIT_ITEMS: Final = 160
# The linear program has a row for each item; with many of them it is begun only where there is much time.
_FEW_LP_ITEMS: Final = 60
_MOST_LP_ITEMS: Final = 300
_LP_WORK: Final = 40
# Fillings are chosen from a pool where a plan uses most of them more than once.
_MOST_POOLED: Final = 3_000
_MANY_OF_EACH: Final = 4
# So near to the bound, plans that are only tried at random hardly get nearer.
_NEAR: Final = 5e-4
_MOST_TURNS: Final = 40
_SAME: Final = 1e-9
# Prices are whole multiples of this many dollars, near enough to tell which sums of them there can be.
_CENT: Final = 1e-6


def plan(problem: Problem, budget: Budget | None = None, clock: Callable[[], float] | None = None) -> Plan:
    """The cheapest launches that are found within the budget (`Budget()` when None), and how cheap any could be.

    The same problem and budget give the same plan on every machine, whatever the order of the problem's parts.
    `clock`, in seconds, only cuts off a search that takes many times as long as the budget was meant to.
    """
    return _Planner(problem, Meter(budget or Budget(), clock)).plan()


class _Planner:
    def __init__(self, problem: Problem, meter: Meter) -> None:
        self._problem, self._meter = problem, meter
        whole_model = model_of(problem)
        self._wanted: Wanted = admitted(whole_model)
        ceiling = Ceiling(whole_model)
        self._wholes = place_wholes(whole_model, self._wanted.tasks, ceiling)
        self._after_wholes = ceiling
        self._model: Model = replace(whole_model, agents=self._wholes.agents, most=ceiling.most)
        self._whole_model = whole_model
        self._limited = problem.limits.any_maximum
        self._tasks = np.where(whole_model.lot_items >= 0, self._wanted.tasks, 0)
        self._rows: list[Row] = []
        self._bound = 0.0
        self._prices: Prices | None = None
        self._priced = np.zeros(0, np.int64)
        self._last_priced: tuple[Model, Prices] | None = None

    def plan(self) -> Plan:
        self._first()
        if self._meter.left and self._worth_improving():
            self._improve()
        return self._result()

    # The first plan.

    def _first(self) -> None:
        model = self._model
        counts = item_counts(model, self._tasks)
        if len(self._problem.choices) <= 1:
            self._rows, self._tasks = self._first_fit(Opening.BY_UNIT)
        elif not model.piles and (least := self._least(counts, FEW_STATES)) is not None:
            self._rows = least
        else:
            self._rows, self._tasks = self._good(counts)
        if not self._worth_improving():
            # What costs nothing, or is proved to be the cheapest, needs no other bound.
            return
        counts = item_counts(model, self._tasks)
        # Any prices give a bound. In a pass that cannot wait for a better one, nobody asks for it.
        if self._prices is None or (self._meter.left and not np.array_equal(counts, self._priced)):
            self._prices = fluid_prices(model, counts, model.most, self._meter)
        self._raise_bound(self._fluid_bound())

    def _good(self, counts: Ints) -> tuple[list[Row], Ints]:
        """A good plan for several offerings, and how many tasks of each lot it serves."""
        model = self._model
        # Where better plans are looked for, the first one need not come so soon.
        style = first_style(model) if not self._meter.left or self._few_enough(counts) else STYLES[0]
        rows, left = self._pack(model, counts, style)
        if left.any() or not self._ceiling().holds(rows):
            return self._within_limits(rows, left)
        if model.items <= _FIRST_FIT_ITEMS and cost(rows, model):
            rows = min([rows, *self._first_fits()], key=lambda each: cost(each, model))
        return rows, self._tasks

    def _least(self, counts: Ints, most_states: int = MOST_STATES) -> list[Row] | None:
        """The cheapest plan, which is the bound as well; None = there are too many ways to hold these."""
        rows = None if self._limited else least_cost_rows(self._model, counts, self._meter, most_states)
        if rows is not None:
            self._raise_bound_of_items(cost(rows, self._model) * (1 - _SAME))
        return rows

    def _ceiling(self) -> Ceiling:
        """What may be launched beside the whole instances."""
        ceiling = Ceiling(self._model)
        ceiling.instances, ceiling.slots = self._after_wholes.instances, self._after_wholes.slots
        ceiling.dollars = self._after_wholes.dollars
        return ceiling

    def _pack(self, model: Model, counts: Ints, style: Style | None = None) -> tuple[list[Row], Ints]:
        """Existing agents first, then new ones."""
        filling = Filling.of_existing(model)
        left = counts.copy()
        if len(model.piles):
            for item in np.flatnonzero(left).tolist():
                left[item] -= filling.place(item, int(left[item]))
        new = least_cost_rows(replace(model, agents=np.zeros_like(model.agents)), left, self._meter, FEW_STATES)
        if new is not None:
            rows, left = new, np.zeros_like(left)
        else:
            prices = self._prices_of(model, left)
            rows, left = fill_new(model, left, prices, model.most, self._meter, style or first_style(model))
        rows += filling.rows()
        return repaired(model, rows, model.most, self._meter), left

    def _prices_of(self, model: Model, counts: Ints) -> Prices:
        """Prices for so many of each item; those of a plan for more tasks of the same model do as well."""
        if self._last_priced is not None and self._last_priced[0] is model:
            return self._last_priced[1]
        prices = fluid_prices(model, counts, model.most, self._meter)
        self._last_priced = (model, prices)
        if model is self._model:
            self._prices, self._priced = prices, counts
        return prices

    def _within_limits(self, rows: list[Row], left: Ints) -> tuple[list[Row], Ints]:
        if not self._limited:
            # Only so many of some offerings may be had: who gets them goes by size, as everything that is scarce.
            return within(self._model, self._tasks, self._ceiling, self._pack) if left.any() else (rows, self._tasks)
        return within(self._model, self._tasks, self._ceiling, self._pack)

    def _first_fit(self, opening: Opening) -> tuple[list[Row], Ints]:
        model = self._model
        existing = [Row(index, (), count) for index, count in enumerate(model.agents.tolist()) if count]
        fit = FirstFit(model, existing, self._ceiling(), opening)
        served = np.zeros_like(self._tasks)
        for index, lot in enumerate(model.lots):
            if self._tasks[index]:
                served[index] = fit.serve(lot, int(self._tasks[index]))
        self._meter.spend(120 * len(model.lots))
        return settled(model, served, fit.filling.rows())

    def _first_fits(self) -> list[list[Row]]:
        """First-fit plans that hold everything, as cheap as they can be made at once."""
        plans = []
        for opening in Opening:
            rows, served = self._first_fit(opening)
            if (served == self._tasks).all():
                plans.append(repaired(self._model, rows, self._model.most, self._meter))
        return plans

    # Better plans.

    def _worth_improving(self) -> bool:
        return self._total() > self._bound * (1 + _SAME)

    def _total(self) -> float:
        """Dollars per hour of all that is launched to hold tasks."""
        piles = len(self._model.piles)
        wholes = sum(
            count * float(self._model.prices[owner - piles])
            for _, owner, count in self._wholes.places
            if owner >= piles
        )
        return cost(self._rows, self._model) + wholes

    def _consider(self, rows: list[Row] | None) -> None:
        """Take a plan for the same tasks when it is cheaper and within the limits."""
        if rows is None:
            return
        rows = repaired(self._model, rows, self._model.most, self._meter)
        if cost(rows, self._model) < cost(self._rows, self._model) * (1 - _SAME) and self._ceiling().holds(rows):
            self._rows = rows

    def _improve(self) -> None:
        counts = item_counts(self._model, self._tasks)
        least = self._least(counts)
        if least is not None:
            self._consider(least)
            return
        if self._few_enough(counts) and find_spec("highspy"):
            self._by_columns(counts)
        elif self._may_pool(counts) and find_spec("highspy"):
            self._by_pool(counts)
        else:
            self._by_styles(counts)

    def _few_enough(self, counts: Ints) -> bool:
        """Whether the linear program over all fillings of these can be solved well with the work that is left."""
        items = len(counts)
        if items <= (_FEW_LP_ITEMS if self._may_pool(counts) else _MOST_LP_ITEMS):
            return True
        return items * items * _LP_WORK < self._meter.left

    @staticmethod
    def _may_pool(counts: Ints) -> bool:
        return len(counts) <= _MOST_POOLED and bool(counts.sum() >= len(counts) * _MANY_OF_EACH)

    def _new_rows(self, counts: Ints) -> tuple[list[Row], list[Row], Ints]:
        """What lies on existing agents, what on new instances, and how many of each item the latter hold."""
        existing = [row for row in self._rows if row.owner < len(self._model.piles)]
        new = [row for row in self._rows if row.owner >= len(self._model.piles)]
        return existing, new, counts - held(existing, self._model.items)

    def _by_pool(self, counts: Ints) -> None:
        from slotsmith.core.planning.pooled import improve_by_pool

        assert self._prices is not None
        existing, new, left = self._new_rows(counts)

        def consider(rows: list[Row]) -> bool:
            self._consider(existing + rows)
            return self._total() > self._bound * (1 + _NEAR)

        improve_by_pool(self._model, left, self._prices, new, self._meter, consider)

    def _by_styles(self, counts: Ints) -> None:
        assert self._prices is not None
        existing, rows, left = self._new_rows(counts)
        prices = adapted(self._model, self._prices, rows)
        last = 0
        for turn in range(_MOST_TURNS):
            # A turn that could not be ended within the budget is not begun.
            if self._meter.left <= last or self._total() <= self._bound * (1 + _NEAR):
                return
            before = self._meter.done
            style = STYLES[turn % len(STYLES)]
            rows, missing = fill_new(self._model, left, prices, self._model.most, self._meter, style)
            if missing.any():
                return
            self._consider(existing + rows)
            prices = adapted(self._model, prices, rows)
            last = self._meter.done - before

    def _by_columns(self, counts: Ints) -> None:
        from slotsmith.core.planning.columns import improved_by_columns

        assert self._prices is not None
        known = lower_bound(self._model, self._prices, counts, np.zeros(len(self._model.wholes), np.int64))
        found = improved_by_columns(self._model, counts, self._prices, self._rows, known, self._meter)
        for rows in found.plans:
            self._consider(rows)
        if found.bound:
            self._raise_bound_of_items(found.bound)

    # Bounds.

    def _fluid_bound(self) -> float:
        assert self._prices is not None
        units = self._wholes.units(self._whole_model)
        counts = item_counts(self._model, self._tasks)
        return lower_bound(self._whole_model, self._prices, counts, units)

    def _raise_bound_of_items(self, bound: float) -> None:
        """A bound on what is not taken whole holds for everything where the two do not compete."""
        model = self._whole_model
        for lot, owner, _ in self._wholes.places:
            kind = model.wholes[model.lots[lot].whole].kind
            if owner < len(model.piles) or (kind >= 0 and model.most[kind] < ENDLESS):
                return
        self._raise_bound(bound + self._wholes_cost())

    def _wholes_cost(self) -> float:
        units = self._wholes.units(self._whole_model)
        return sum(int(count) * whole.price for count, whole in zip(units, self._whole_model.wholes, strict=True))

    def _raise_bound(self, bound: float) -> None:
        self._bound = max(self._bound, self._next_sum(bound))

    def _next_sum(self, bound: float) -> float:
        """The least sum of prices that is not below the bound."""
        prices = self._model.prices
        steps = np.round(prices / _CENT)
        if not steps.any() or (abs(steps * _CENT - prices) > _SAME).any():
            return bound
        whole_steps: list[int] = steps.astype(np.int64).tolist()
        step = math.gcd(*whole_steps) * _CENT
        return max(bound, math.ceil(bound / step - 1e-6) * step * (1 - _SAME))

    # The result.

    def _result(self) -> Plan:
        model = self._model
        tasks = np.maximum(self._tasks, self._wholes.tasks)
        numbers: dict[int, int] = {}
        served: list[Served] = []
        missing: list[tuple[TaskClass, ...]] = []
        for index, (lot, count) in enumerate(zip(model.lots, tasks.tolist(), strict=True)):
            inside, outside = left_out(lot, self._wanted.counts[index], count)
            if inside:
                numbers[index] = len(served)
                served.append(Served(inside, lot.units))
            missing.append(outside)
        bought = launches(model, self._rows, self._wholes)
        filled = Expander(model, tasks, numbers).filled(self._rows, self._wholes)
        total = self._total()
        bound = min(self._bound, total)
        counts = [(planned.offering, planned.count) for planned in bought]
        unmet = [
            *(Unmet(kind.count, telling.never(self._problem, kind), kind) for kind in model.misfits),
            *self._wanted.refused,
            *(
                Unmet(kind.count, telling.over_limits(self._problem, counts, kind), kind)
                for outside in missing
                for kind in outside
            ),
        ]
        launched, total, bound = self._with_minimum(bought, total, bound)
        if total <= bound * (1 + 2 * _SAME):
            bound = total
        return Plan(
            launches=tuple(launched),
            filled=filled,
            served=tuple(served),
            unmet=tuple(unmet),
            cost_per_hour=total,
            lower_bound_per_hour=bound,
            stopped_by=self._stopped_by(total, bound),
            work=self._meter.done,
        )

    def _stopped_by(self, total: float, bound: float) -> StoppedBy:
        if total <= bound * (1 + _SAME) + _SAME:
            return StoppedBy.OPTIMAL
        return StoppedBy.CLOCK if self._meter.cut_off else StoppedBy.WORK

    def _with_minimum(self, bought: list[Planned], total: float, bound: float) -> tuple[list[Planned], float, float]:
        """The launches with as many of the cheapest instances as the pool's minimum still asks for."""
        limits = self._problem.limits
        needed = limits.min_instances - limits.instances
        short = needed - sum(planned.count for planned in bought)
        choices = sorted(self._problem.open_choices, key=lambda choice: (choice.price, choice.offering.name))
        counts = {planned.offering: planned.count for planned in bought}
        ceiling = self._after_all(bought)
        for choice in choices:
            if short <= 0:
                break
            left = short if choice.at_most is None else choice.at_most - counts.get(choice.offering, 0)
            count = ceiling(choice.offering, min(short, left))
            if count > 0:
                counts[choice.offering] = counts.get(choice.offering, 0) + count
                total += count * choice.price
                short -= count
        if needed > 0 and choices:
            met = needed - max(0, short)
            bound = max(bound, met * choices[0].price * (1 - _SAME))
        launched = [Planned(offering, count) for offering, count in counts.items()]
        return sorted(launched, key=lambda planned: planned.offering.name), total, min(bound, total)

    def _after_all(self, bought: list[Planned]) -> Callable[[Offering, int], int]:
        """How many instances of an offering the limits leave room for, once these are launched and as more are."""
        limits = self._problem.limits
        instances = math.inf if limits.instances_left is None else limits.instances_left
        slots = math.inf if limits.slots_left is None else limits.slots_left
        dollars = math.inf if limits.dollars_left is None else limits.dollars_left * (1 + 1e-12)
        for planned in bought:
            instances -= planned.count
            slots -= planned.count * planned.offering.capacity.slots
            dollars -= planned.count * (planned.offering.price or 0.0)

        def allowed(offering: Offering, at_most: int) -> int:
            nonlocal instances, slots, dollars
            each = offering.capacity.slots
            count = int(
                min(at_most, instances, slots // each if each else math.inf, dollars // (offering.price or 1.0))
            )
            count = max(0, count)
            instances, slots, dollars = (
                instances - count,
                slots - count * each,
                dollars - count * (offering.price or 0.0),
            )
            return count

        return allowed
