"""What one decision is made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from slotsmith.core.fleet import Fleet
from slotsmith.model.decision import Promise
from slotsmith.model.launch import InFlight
from slotsmith.model.launch_error import NO_JOIN_FAILURES, NO_LAUNCH_FAILURES, JoinFailures, LaunchFailures
from slotsmith.model.offering import Offering, Shortage
from slotsmith.model.scaling_info import ScalingInfo


@dataclass(frozen=True, slots=True)
class OnOffer:
    """An offering that the pool may launch, and its launches that failed in a row."""

    offering: Offering
    failures: LaunchFailures = NO_LAUNCH_FAILURES


@dataclass(frozen=True, slots=True)
class Moves:
    """What is known of moves for the sake of the price: the ids of instances, where nothing else is said.

    `replacing`: whom the instances of a launch replace, by its token. `ending`: instances that drain or end for it now.
    `settled`: those that a move was tried with in vain not long ago. `light_since`: since when (epoch seconds) all that
    an agent (by name) runs may be moved, and takes no more than half of it.
    """

    replacing: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    ending: frozenset[str] = frozenset()
    settled: frozenset[str] = frozenset()
    light_since: Mapping[str, float] = field(default_factory=dict)


NO_MOVES: Final = Moves()


@dataclass(frozen=True, slots=True)
class View:
    """All that one decision is made from.

    `offering` is the provider's first, with its `launch_failures`; `others` are those that may be launched as well.
    `shortages`: what the provider remembers of want of capacity, by the offering's name.
    `promised` are the tasks that instances on their way were launched for, by the token of their launch.
    `spent_this_month` are dollars since the month began (UTC), told where a limit needs it.
    `draining` are instances whose termination is under way, `strays` those that are listed under our tags but not
    known to be ours: both fill the pool, and are otherwise left alone. `kept` are those that the scheduler has lately
    refused to give up. `moves` is for pools that consolidate. `blind`: the scheduler cannot be heard, so nothing is
    concluded from an agent's silence or idleness, and nothing but the minimum is launched.
    """

    fleet: Fleet
    info: ScalingInfo
    offering: Offering
    in_flight: tuple[InFlight, ...] = ()
    draining: frozenset[str] = frozenset()
    strays: frozenset[str] = frozenset()
    kept: frozenset[str] = frozenset()
    launch_failures: LaunchFailures = NO_LAUNCH_FAILURES
    join_failures: JoinFailures = NO_JOIN_FAILURES
    blind: bool = False
    others: tuple[OnOffer, ...] = ()
    shortages: Mapping[str, Shortage] = field(default_factory=dict)
    promised: Mapping[str, tuple[Promise, ...]] = field(default_factory=dict)
    spent_this_month: float = 0.0
    moves: Moves = NO_MOVES

    @property
    def on_offer(self) -> tuple[OnOffer, ...]:
        """All that the pool may launch."""
        return (OnOffer(self.offering, self.launch_failures), *self.others)

    def known(self, name: str) -> Offering | None:
        """The offering of this name; None = it is not on offer, or nobody says which it is."""
        return next((each.offering for each in self.on_offer if each.offering.name == name), None)

    @property
    def in_flight_count(self) -> int:
        return sum(launch.count for launch in self.in_flight)
