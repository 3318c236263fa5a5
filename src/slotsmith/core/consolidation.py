"""Which instances make way for something cheaper, within a budget: replaced while idle, or after their work has moved.

Without `Policy.consolidation` nothing of this happens. A move has up to three steps, each of them an ordinary pass that
looks at what is there: a replacement is launched where none of those at work has room; the old instance is drained once
the replacement is at work; and it is terminated when the scheduler has given it up. An idle one that gets work in
between stays, and so does one that the scheduler does not give up.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import numpy as np

from slotsmith.core.backoff import BRAKE_AFTER
from slotsmith.core.conditions import Conditions, failed_joins
from slotsmith.core.demand import Demand
from slotsmith.core.fleet import BUSY_AGENT, NO_AGENT
from slotsmith.core.headroom import free_slots
from slotsmith.core.rooms import NO_WORK, Room, Rooms, Work
from slotsmith.core.several import open_offerings, short
from slotsmith.core.spending import limits_on
from slotsmith.core.view import View
from slotsmith.model.agent import Agent
from slotsmith.model.decision import Launch, Proposal, Reason
from slotsmith.model.offering import Offering
from slotsmith.model.policy import Consolidation, Policy
from slotsmith.model.resources import Resources

LIGHT: Final = 0.5
"""An agent is lightly used when its tasks take no more than this share of each of its resources."""
MOVE_PATIENCE: Final = 600.0
"""Seconds that a scheduler has to move what runs on an agent; after that the agent goes on as before."""
MOST_PROPOSALS: Final = 20
"""More than the dearest few are not told, and hardly ever begun at once."""
# Candidates that ask for the same are looked at once; with more kinds than this, the cheaper ones wait.
_MOST_KINDS: Final = 100
_HOUR: Final = 3600.0


@dataclass(frozen=True, slots=True)
class Consolidated:
    """What a pass does of moves.

    `going` are to be drained now. `launches` take the place of others later. `held` are not to go for want of use:
    replacements, and what work is moved to. `extra` of those at work, with `extra_slots`, are replacements that are
    counted beside what they replace. `next_deadline`: when the next agent has been lightly used for long enough.
    """

    going: Mapping[str, Reason] = field(default_factory=dict)
    launches: tuple[Launch, ...] = ()
    proposals: tuple[Proposal, ...] = ()
    held: frozenset[str] = frozenset()
    extra: int = 0
    extra_slots: int = 0
    next_deadline: float | None = None


NOT_CONSOLIDATED: Final = Consolidated()


def is_light(agent: Agent) -> bool:
    """Whether all that an agent runs may be moved, and is little."""
    if agent.idle or not agent.movable or agent.draining or agent.used is None or agent.capacity is None:
        return False
    total = dict(agent.capacity.items())
    return all(amount <= LIGHT * total.get(name, 0.0) for name, amount in agent.used.items() if amount)


def light_since(agents: tuple[Agent, ...], before: Mapping[str, float], now: float) -> dict[str, float]:
    """Since when agents are lightly used, by name; `before` is what this gave for the view before."""
    return {agent.name: before.get(agent.name, now) for agent in agents if agent.movable and is_light(agent)}


def consolidate(view: View, found: Conditions, wanted: Demand, policy: Policy, now: float) -> Consolidated:
    """The moves that go on and that begin. Nothing begins while tasks wait that could be served, or others start."""
    rules = policy.consolidation
    if rules is None or view.blind:
        return NOT_CONSOLIDATED
    return _Pass(view, found, policy, rules, now).result(calm=_is_calm(view, wanted))


def _is_calm(view: View, wanted: Demand) -> bool:
    """Whether all that is pending waits for something that no launch and no room would change."""
    pending = sum(kind.count for kind in view.info.tasks)
    return not view.info.desired_new and pending == sum(each.count for each in wanted.unschedulable)


class _Old(NamedTuple):
    """An instance that could make way: what it costs per hour, has, and runs."""

    id: str
    row: int
    price: float
    total: Resources
    work: Work
    idle: bool


class _Choice(NamedTuple):
    """Where an instance's work goes: on an agent with `room`, or on a new instance; and what that saves and costs."""

    saves: float
    costs: float
    room: Room | None = None
    offering: Offering | None = None
    held: str = ""


class _Pass:
    """One look at a pool: what is taken by a move is not there for the next."""

    def __init__(self, view: View, found: Conditions, policy: Policy, rules: Consolidation, now: float) -> None:
        self._view = view
        self._found = found
        self._policy = policy
        self._rules = rules
        self._now = now
        self._agents = {agent.name: agent for agent in view.info.agents if not agent.draining}
        self._going: dict[str, Reason] = {}
        self._held: set[str] = set()
        self._launches: list[Launch] = []
        connected = found.counted & (view.fleet.agent != NO_AGENT)
        self._connected = [int(row) for row in np.flatnonzero(connected)]
        self._spare = len(self._connected) - policy.min_instances
        self._spare_slots = free_slots(view, found) - policy.headroom_slots if policy.headroom_slots else None
        self._extra = self._extra_slots = 0
        self._replaced: set[str] = set()
        self._rooms = Rooms()

    def result(self, *, calm: bool) -> Consolidated:
        """Carry on what has begun, then begin what pays."""
        replacements = self._replacements()
        self._rooms = Rooms(self._free_rooms({i for ids in replacements.values() for i in ids}))
        for ids, rows in self._begun(replacements):
            self._carry_on(ids, rows, calm=calm)
        others_come = int(np.count_nonzero(self._found.recently_launched)) - self._extra
        others_come += self._view.in_flight_count - sum(
            each.count for each in self._view.in_flight if each.token in self._view.moves.replacing
        )
        proposals = tuple(self._begin()) if calm and not others_come else ()
        return Consolidated(
            self._going,
            tuple(self._launches),
            proposals,
            frozenset(self._held),
            self._extra,
            self._extra_slots,
            self._next_deadline(),
        )

    # What has begun

    def _replacements(self) -> dict[str, list[str]]:
        """The instances of each launch that is to replace others, by token."""
        of: dict[str, list[str]] = {token: [] for token in self._view.moves.replacing}
        if of:
            for instance in self._view.fleet.instances:
                if instance.token in of:
                    of[instance.token].append(instance.id)
        return of

    def _begun(self, replacements: Mapping[str, list[str]]) -> Iterator[tuple[list[str], list[int]]]:
        """Whom a launch replaces that is still there, and the rows of its instances that are."""
        view, fleet = self._view, self._view.fleet
        asked = {each.token for each in view.in_flight}
        for token, ids in sorted(view.moves.replacing.items()):
            rows = [fleet.rows[i] for i in sorted(replacements[token]) if self._found.counted[fleet.rows[i]]]
            there = [i for i in ids if i in fleet.rows and i not in view.moves.settled]
            if there and (rows or token in asked):
                yield there, rows

    def _carry_on(self, ids: list[str], rows: list[int], *, calm: bool) -> None:
        """Let the old ones go, one for each replacement that is at work; hold what is on its way."""
        view, fleet = self._view, self._view.fleet
        self._replaced.update(ids)
        waiting = [i for i in ids if i not in view.draining]
        ready = [row for row in rows if fleet.agent[row] != NO_AGENT]
        coming = [row for row in rows if fleet.agent[row] == NO_AGENT]
        for row in coming:
            self._held.add(fleet.instances[row].id)
            self._extra += bool(self._found.working[row])
            self._extra_slots += _slots(view, row)
        self._extra_slots += sum(
            each.count * (view.known(each.offering) or view.offering).capacity.slots
            for each in view.in_flight
            if set(view.moves.replacing.get(each.token, ())) & set(ids)
        )
        if any(i in view.draining and fleet.agent[fleet.rows[i]] == BUSY_AGENT for i in ids):
            # Work is being moved, perhaps onto it.
            self._held.update(fleet.instances[row].id for row in ready)
        for instance_id, row in zip(waiting, ready, strict=False):
            old = self._old(fleet.rows[instance_id])
            if old is not None and calm and self._may_go(old) and self._place(old, fleet.instances[row].id):
                self._go(old)
                self._held.add(fleet.instances[row].id)

    def _place(self, old: _Old, preferred: str) -> bool:
        """Take the room that its work needs, on its replacement if that has it."""
        if old.idle:
            return True
        rooms = self._rooms.fitting(old.work, old.id)
        if not rooms:
            return False
        room = next((room for room in rooms if self._rooms.has(room, preferred)), rooms[0])
        self._take(old, room, preferred if self._rooms.has(room, preferred) else self._rooms.first(room, old.id))
        return True

    def _take(self, old: _Old, room: Room, instance_id: str) -> None:
        self._rooms.take(room, old.work, instance_id)
        self._held.add(instance_id)

    # What could begin

    def _begin(self) -> Iterator[Proposal]:
        under_way = len(self._view.moves.ending | self._replaced)
        working = int(np.count_nonzero(self._found.working))
        most = min(self._rules.max_at_once, int(self._rules.max_share * working))
        failed: set[tuple[float, Resources, Work]] = set()
        told = 0
        for old in sorted(self._candidates(), key=lambda old: (-old.price, old.id)):
            kind = (old.price, old.total, old.work)
            if kind in failed or old.id in self._held:
                continue
            if told >= MOST_PROPOSALS or len(failed) >= _MOST_KINDS:
                return
            choice = self._choice(old)
            if choice is None:
                failed.add(kind)
                continue
            told += 1
            held = self._held_back(choice, under_way, most)
            yield Proposal(old.id, self._words(old, choice), round(choice.saves, 6), round(choice.costs, 6), held)
            if not held:
                under_way += 1
                self._carry_out(old, choice)

    def _candidates(self) -> Iterator[_Old]:
        for row in self._connected:
            instance = self._view.fleet.instances[row]
            if instance.id in self._going or instance.id in self._held or instance.id in self._replaced:
                continue
            old = self._old(row)
            if old is not None:
                yield old

    def _old(self, row: int) -> _Old | None:
        """An instance that is idle or lightly used for longer than the idle period, as one that could make way."""
        view, instance = self._view, self._view.fleet.instances[row]
        agent, price = self._agents.get(instance.agent_name), self._price(row)
        if agent is None or price is None or instance.id in view.kept or instance.id in view.moves.settled:
            return None
        if not self._found.counted[row] or view.fleet.agent[row] == NO_AGENT:
            return None
        total = agent.capacity or _capacity(view, row)
        if agent.idle:
            return _Old(instance.id, row, price, total, NO_WORK, True) if self._found.long_idle[row] else None
        since = view.moves.light_since.get(instance.agent_name)
        if since is None or self._now <= since + self._policy.max_idle_agent_period or agent.used is None:
            return None
        return _Old(instance.id, row, price, total, Work(agent.used, agent.zero_slot_tasks), False)

    def _choice(self, old: _Old) -> _Choice | None:
        """Where its work would go, where that saves most; None = nowhere, or it would not pay."""
        rooms = [] if old.idle or not self._may_go(old) else self._rooms.fitting(old.work, old.id)
        paying = [choice for choice in (self._onto(old, room) for room in rooms) if self._pays(choice)]
        if paying:
            return max(paying, key=lambda choice: choice.saves)
        new = [choice for choice in self._new_ones(old) if self._pays(choice)]
        free = [choice for choice in new if not choice.held]
        return next(iter(free or new), None)

    def _onto(self, old: _Old, room: Room) -> _Choice:
        return _Choice(old.price - room.price, self._cost_of_moving(old), room=room)

    def _new_ones(self, old: _Old) -> Iterator[_Choice]:
        """New instances that would do, cheapest first."""
        view, policy = self._view, self._policy
        in_all = len(view.fleet) + view.in_flight_count + len(self._launches)
        at_most = f"the pool is at its maximum of {policy.max_instances} instances"
        not_now = at_most if in_all >= policy.max_instances else ""
        if failed_joins(view, self._found) >= BRAKE_AFTER:
            # Whether instances join at all is found out for the sake of tasks, one at a time.
            not_now = "the last instances ended without joining"
        scarce = short(view, self._now)
        for offering in open_offerings(view, self._now):
            # Where there was no room lately, work that is done anyway need not be the first to try.
            if offering.price is None or offering.name in scarce or not self._would_do(old, offering):
                continue
            starting = offering.price * policy.max_agent_starting_period / _HOUR
            limits = limits_on(view, policy, offering, self._launches)
            held = not_now or next((why for room, why in limits if room < 1), "")
            costs = starting + self._cost_of_moving(old)
            yield _Choice(old.price - offering.price, costs, offering=offering, held=held)

    def _would_do(self, old: _Old, offering: Offering) -> bool:
        zero = self._policy.max_zero_slot_tasks_per_agent
        if not old.work.used.fits_in(offering.capacity) or old.work.zero_slot_tasks > zero:
            return False
        return self._spare_slots is None or self._spare_slots + offering.capacity.slots >= old.total.slots

    def _cost_of_moving(self, old: _Old) -> float:
        return 0.0 if old.idle else self._rules.move_cost + old.price * MOVE_PATIENCE / _HOUR

    def _pays(self, choice: _Choice) -> bool:
        return choice.saves * self._rules.horizon / _HOUR > choice.costs

    def _held_back(self, choice: _Choice, under_way: int, most: int) -> str:
        if self._rules.dry_run:
            return "moves are only told of (dry_run)"
        if not self._rules.begins:
            return "it is not the time for moves"
        if under_way >= most:
            return f"{under_way} under way, and {most} may be at a time"
        return choice.held

    def _words(self, old: _Old, choice: _Choice) -> str:
        if choice.offering is not None:
            return f"{choice.offering.name} takes its place"
        assert choice.room is not None
        return f"its work fits on {self._rooms.first(choice.room, old.id)}"

    # Carrying out

    def _carry_out(self, old: _Old, choice: _Choice) -> None:
        if choice.room is not None:
            self._take(old, choice.room, self._rooms.first(choice.room, old.id))
            self._go(old)
            return
        assert choice.offering is not None
        saves = f"which saves ${choice.saves:,.2f} per hour"
        what = self._view.fleet.instances[old.row].offering or "as it is"
        reason = f"takes the place of {old.id} ({what}), {saves}"
        self._launches.append(Launch(choice.offering, 1, reason, replaces=(old.id,)))
        if self._spare_slots is not None:
            self._spare_slots += min(0, choice.offering.capacity.slots - old.total.slots)

    def _may_go(self, old: _Old) -> bool:
        """Whether those that are at work without it are enough for the minimum and the headroom."""
        return self._spare > 0 and (self._spare_slots is None or self._spare_slots >= old.total.slots)

    def _go(self, old: _Old) -> None:
        self._going[old.id] = Reason.REPLACED if old.idle else Reason.CONSOLIDATED
        self._spare -= 1
        if self._spare_slots is not None:
            self._spare_slots -= old.total.slots
        self._rooms.drop(old.id)

    def _free_rooms(self, replacements: set[str]) -> Iterator[tuple[Room, str]]:
        """What could take work: agents at work, those that became idle just now, and replacements."""
        view, most_zero = self._view, self._policy.max_zero_slot_tasks_per_agent
        leaving = {i for ids in view.moves.replacing.values() for i in ids}
        for row in self._connected:
            instance = view.fleet.instances[row]
            agent = self._agents.get(instance.agent_name)
            if agent is None or instance.id in leaving:
                continue
            if self._found.long_idle[row] and instance.id not in replacements:
                continue
            total = agent.capacity or _capacity(view, row)
            used = agent.used if agent.used is not None else Resources() if agent.idle else total
            # One that is idle would soon go by itself, so that using it has its price.
            price = (self._price(row) or 0.0) if agent.idle else 0.0
            yield Room(total - used, max(0, most_zero - agent.zero_slot_tasks), price), instance.id

    def _price(self, row: int) -> float | None:
        """Dollars per hour; None = nobody says what it is, or what that costs."""
        name = self._view.fleet.instances[row].offering
        offering = self._view.offering if not name and not self._view.others else self._view.known(name)
        return None if offering is None else offering.price

    def _next_deadline(self) -> float | None:
        period = self._policy.max_idle_agent_period
        ends = (since + period for since in self._view.moves.light_since.values())
        return min((at for at in ends if at >= self._now), default=None)


def _capacity(view: View, row: int) -> Resources:
    instance = view.fleet.instances[row]
    return instance.capacity or (view.known(instance.offering) or view.offering).capacity


def _slots(view: View, row: int) -> int:
    return _capacity(view, row).slots
