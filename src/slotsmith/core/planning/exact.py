"""The cheapest plan there is, for small problems: dynamic programming over how many of each item are yet to be held."""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np

from slotsmith.core.planning.arrays import Bools, Floats, Ints
from slotsmith.core.planning.budget import Meter
from slotsmith.core.planning.filling import Pattern, Row, merged
from slotsmith.core.planning.shapes import ENDLESS, Model

MOST_STATES: Final = 4_000
"""So many are looked at where there is time to search."""
FEW_STATES: Final = 256
"""With so few, the cheapest plan is found sooner than a good one in another way: within milliseconds."""
_MOST_PAIRS: Final = 4_000_000
_MOST_LIMITED: Final = 12


class _States(NamedTuple):
    """Every way to take some of each item: `digits` (S, n) how many, `radix` (n,) what one adds to the number."""

    digits: Ints
    radix: Ints


class _Layer(NamedTuple):
    """Least costs of holding each state (S,), and what is put into one bin of which owner then (-1 = none)."""

    cost: Floats
    pattern: Ints
    owner: Ints


def least_cost_rows(model: Model, counts: Ints, meter: Meter, most_states: int) -> list[Row] | None:
    """The cheapest rows that hold so many of each item; None = the problem is too large, or they cannot be held."""
    items = np.flatnonzero(counts)
    sizes = counts[items] + 1
    if math.prod(sizes.tolist()) > most_states:
        return None
    states = _all_states(sizes)
    limited = _limited_bins(model, int(counts.sum()))
    owners = [len(model.piles) + kind for kind in range(model.kinds) if model.most[kind] >= ENDLESS]
    patterns = _patterns(model, states, items, {*owners, *limited})
    pairs = len(states.digits) * (sum(int(patterns[owner].sum()) for owner in limited))
    some = np.logical_or.reduce([patterns[owner] for owner in owners]) if owners else np.zeros(len(states.digits), bool)
    pairs += len(states.digits) * int(some.sum())
    if len(limited) > _MOST_LIMITED or pairs > _MOST_PAIRS:
        return None
    meter.spend(len(states.digits) * 25 + pairs / 40)
    layers = [_unlimited(model, states, owners, patterns)]
    for owner in limited:
        price = 0.0 if owner < len(model.piles) else float(model.prices[owner - len(model.piles)])
        layers.append(_one_more(states, layers[-1], owner, price, patterns[owner]))
    if not np.isfinite(layers[-1].cost[-1]):
        return None
    return _rows(states, layers, items)


def _all_states(sizes: Ints) -> _States:
    radix = np.concatenate([[1], np.cumprod(sizes)[:-1]]).astype(np.int64)
    numbers = np.arange(int(np.prod(sizes)))
    return _States((numbers[:, None] // radix) % sizes, radix)


def _limited_bins(model: Model, tasks: int) -> list[int]:
    """The owner of each bin of which there are only so many; no more of an owner than there are tasks."""
    owners: list[int] = []
    for pile, count in enumerate(model.agents.tolist()):
        owners += [pile] * min(count, tasks)
    for kind, most in enumerate(model.most.tolist()):
        if most < ENDLESS:
            owners += [len(model.piles) + kind] * min(most, tasks)
    return owners


def _patterns(model: Model, states: _States, items: Ints, owners: set[int]) -> dict[int, Bools]:
    """For each owner which states (S,) lie in one bin of it."""
    amounts = states.digits @ model.sizes[items]
    rooms = np.vstack([model.free, model.rooms])
    allowed = np.hstack([model.accepts, model.fits])[items]
    return {
        owner: (amounts <= rooms[owner]).all(axis=1) & ~states.digits[:, ~allowed[:, owner]].any(axis=1)
        for owner in sorted(owners)
    }


def _unlimited(model: Model, states: _States, owners: list[int], patterns: dict[int, Bools]) -> _Layer:
    """Each state from instances of which any number may be had."""
    total = len(states.digits)
    price, best = np.full(total, np.inf), np.full(total, -1, np.int64)
    for owner in owners:
        cheaper = patterns[owner] & (model.prices[owner - len(model.piles)] < price)
        price[cheaper], best[cheaper] = model.prices[owner - len(model.piles)], owner
    usable = np.flatnonzero(np.isfinite(price))
    usable = usable[usable > 0]
    with_item = [usable[states.digits[usable, item] > 0] for item in range(states.digits.shape[1])]
    cost, chosen, owned = np.full(total, np.inf), np.full(total, -1, np.int64), np.full(total, -1, np.int64)
    cost[0] = 0.0
    for state in range(1, total):
        # Some instance holds one of the first item: that one is chosen first.
        may = with_item[int(np.flatnonzero(states.digits[state])[0])]
        may = may[(states.digits[may] <= states.digits[state]).all(axis=1)]
        if len(may):
            costs = price[may] + cost[state - may]
            least = int(costs.argmin())
            cost[state], chosen[state], owned[state] = costs[least], may[least], best[may[least]]
    return _Layer(cost, chosen, owned)


def _one_more(states: _States, before: _Layer, owner: int, price: float, patterns: Bools) -> _Layer:
    """Each state when one bin of this owner may be used as well."""
    cost = before.cost.copy()
    chosen = np.full(len(cost), -1, np.int64)
    owned = np.full(len(cost), -1, np.int64)
    for pattern in np.flatnonzero(patterns).tolist():
        if not pattern:
            continue
        reach = np.flatnonzero((states.digits >= states.digits[pattern]).all(axis=1))
        costs = price + before.cost[reach - pattern]
        better = costs < cost[reach]
        cost[reach[better]], chosen[reach[better]], owned[reach[better]] = costs[better], pattern, owner
    return _Layer(cost, chosen, owned)


def _rows(states: _States, layers: list[_Layer], items: Ints) -> list[Row]:
    state = len(states.digits) - 1
    rows: list[Row] = []
    for layer in reversed(layers[1:]):
        if layer.pattern[state] >= 0:
            rows.append(Row(int(layer.owner[state]), _pattern(states, int(layer.pattern[state]), items), 1))
            state -= int(layer.pattern[state])
    while state:
        rows.append(Row(int(layers[0].owner[state]), _pattern(states, int(layers[0].pattern[state]), items), 1))
        state -= int(layers[0].pattern[state])
    return merged(rows)


def _pattern(states: _States, number: int, items: Ints) -> Pattern:
    digits = states.digits[number]
    return tuple((int(items[index]), int(digits[index])) for index in np.flatnonzero(digits).tolist())
