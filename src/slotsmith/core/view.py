"""What one decision is made from."""

from __future__ import annotations

from dataclasses import dataclass

from slotsmith.core.fleet import Fleet
from slotsmith.model.launch import InFlight
from slotsmith.model.launch_error import NO_JOIN_FAILURES, NO_LAUNCH_FAILURES, JoinFailures, LaunchFailures
from slotsmith.model.offering import Offering
from slotsmith.model.scaling_info import ScalingInfo


@dataclass(frozen=True, slots=True)
class View:
    """All that one decision is made from.

    `draining` are instances whose termination is under way, `strays` those that are listed under our tags but not
    known to be ours: both fill the pool, and are otherwise left alone. `kept` are those that the scheduler has lately
    refused to give up. `blind`: the scheduler cannot be heard, so nothing is concluded from an agent's silence or
    idleness, and nothing but the minimum is launched.
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

    @property
    def in_flight_count(self) -> int:
        return sum(launch.count for launch in self.in_flight)
