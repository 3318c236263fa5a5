"""I5: when faults stop, demand is met and spending falls to the minimum, within a stated time."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from slotsmith.core.idle_period import PERIODS
from slotsmith.core.view import View
from slotsmith.model.policy import Policy
from slotsmith.model.resources import Resources
from slotsmith.providers.simulated import SETTLES
from slotsmith.schedulers.simulated import Job, JobState
from slotsmith.simulation.invariants_fleet import ASKED_AGAIN, SLACK
from slotsmith.simulation.measure import can_run
from slotsmith.simulation.watch import Watch


def least_of(policy: Policy, capacity: Resources) -> int:
    """How many instances of that size a pool has when there is nothing to do: the minimum, and its headroom."""
    return max(policy.min_instances, min(policy.max_instances, warm_of(policy, capacity)))


def warm_of(policy: Policy, capacity: Resources) -> int:
    """How many idle instances of that size the headroom takes."""
    return math.ceil(policy.headroom_slots / max(1, capacity.slots))


def most_warm(view: View, policy: Policy) -> int:
    """How many it takes at most, of whatever is on offer."""
    return max(warm_of(policy, each.offering.capacity) for each in view.on_offer)


def _longest_idle_period(policy: Policy) -> float:
    """Of one that is learned, the longest that may be chosen."""
    is_learned = policy.foresight is not None and policy.foresight.idle_period
    return max(PERIODS) if is_learned else policy.max_idle_agent_period


class Liveness:
    """Follows one pool from the end of the faults until all is done.

    The time that demand has, from the end of the faults, is: what the faults under way take to end; the longest
    back-off on record; a period of each kind (what does not work is given up after it); three repetitions of an
    ignored termination; boots; and the work itself, one job after the other. Then spending has the periods again.
    """

    def __init__(
        self, watch: Watch, policy: Policy, jobs: Sequence[Job], scheduler_settles: float, *, begins_at: float
    ) -> None:
        self.met_at: float | None = None
        self.fallen_at: float | None = None
        self._watch = watch
        self._policy = policy
        self._jobs = jobs
        settings = watch.settings
        self._capacity = settings.largest.capacity
        self._periods = (
            policy.max_agent_starting_period
            + policy.max_agent_disconnect_period
            + 2 * _longest_idle_period(policy)
            + 3 * ASKED_AGAIN
            + 4 * (settings.consistency_window + settings.poll_period + SLACK)
        )
        boots = 5 * (settings.boot_time + settings.join_time + settings.latency)
        last = max((job.submit_s for job in jobs), default=0.0)
        ended = {state.job.id for state in watch.scheduler.finished}
        work = sum(job.duration_s for job in jobs if job.id not in ended)
        self.demand_until = (
            max(begins_at, last) + SETTLES + scheduler_settles + self._back_off() + self._periods + boots + work
        )

    def _back_off(self) -> float:
        ledger, now = self._watch.ledger, self._watch.now
        times = [failures.next_attempt_at for failures in ledger.launch_failures.values()]
        if ledger.join_failures is not None:
            times.append(ledger.join_failures.retry_at)
        # What is being asked for is asked for again after a pause of two minutes at most.
        return max(0.0, *(time - now for time in times), 0.0) + 120.0

    def _waiting(self) -> list[JobState]:
        scheduler = self._watch.scheduler
        unfinished: Iterable[JobState] = (*scheduler.pending.values(), *scheduler.running.values())
        return [s for s in unfinished if can_run(s.job, self._capacity, self._policy.max_instances)]

    @property
    def done(self) -> bool:
        """Whether demand is met and spending has fallen."""
        return self.fallen_at is not None

    def on_tick(self) -> None:
        """Look how far it has come."""
        now = self._watch.log.elapsed
        if self.met_at is None:
            waiting = self._waiting()
            if not waiting and len(self._watch.scheduler.jobs) == len(self._jobs):
                self.met_at = now
            elif now > self.demand_until:
                names = ", ".join(state.job.id for state in waiting[:5])
                self._watch.violated("I5", f"{len(waiting)} tasks still wait or run: {names}")
                self.met_at = now
        if self.met_at is not None and self.fallen_at is None:
            if self._is_at_minimum():
                self.fallen_at = now
            elif now > max(self.met_at, self.demand_until - self._periods) + self._periods:
                self._watch.violated("I5", f"{self._spending()}, the least is {self._least()}")
                self.fallen_at = now

    def _is_at_minimum(self) -> bool:
        watch = self._watch
        existing = [m for m in watch.alive.values() if m.id in watch.ledger.records or watch.ledger.owns]
        waits = any(intent.answer_pending for intent in watch.ledger.live.values())
        there = sum(m.agent_name in watch.scheduler.agents for m in existing)
        return len(existing) == there == self._least() and not waits and not watch.ledger.ending

    def _least(self) -> int:
        # With foresight the headroom is what it asks for now.
        policy = self._policy if self._policy.foresight is None else self._watch.policy
        return least_of(policy, self._capacity)

    def _spending(self) -> str:
        watch = self._watch
        states = [f"{m.id} {m.state.value}" for m in watch.alive.values()]
        asked = len(watch.ledger.live)
        return f"{len(states)} machines exist ({', '.join(states[:5])}), {asked} launches are under way"
