"""What a world is made of: one frozen value, from which the same run follows every time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from slotsmith.model.policy import Policy
from slotsmith.providers.simulated import NO_FAULTS, CloudFaults, SimulatedSettings
from slotsmith.schedulers.simulated import NO_SCHEDULER_FAULTS, Job, SchedulerFaults
from slotsmith.simulation.generation import NO_CRASHES, CrashFaults
from slotsmith.simulation.storage import NO_STORE_FAULTS, StoreFaults


class Delivery(StrEnum):
    """How the scheduler's view gets to the provisioner."""

    PUSH = "push"
    PULL = "pull"


@dataclass(frozen=True, slots=True)
class Scenario:
    """A pool, its work, and all that goes wrong. Times are seconds since the start of the world.

    Faults strike until `faulty_until`; then begins the second phase, in which demand must be met and spending fall
    to the minimum. `ends_at` = None: the run is over when that has happened. `wanted_until`: or earlier, once that
    time has come and every job that was submitted before it, and can ever run, has started. `policies` are later
    policies of the pool, each with the time from which it is in force (the program is stopped and started for it).
    `strays`: when somebody launches an instance under our tags. `adopt`: an operator takes strays over when the
    second phase begins, if the pool has not done so by itself. `second_pool`: another pool, without faults of its
    own, works on the same store. `replicas`: two processes run, of which one leads; then there is neither a second
    pool nor anything to adopt. `movable`: the scheduler moves tasks that lie on one agent when it is asked for that
    agent. `learned`: what the pool has on record of its demand when the world begins, as `core.foresight.to_body`
    makes it. `scheduler_seed` decides which of equal agents gets a task; None = the one that joined first.
    `summaries`: write them as in earnest, for `status` and the promises about it. `watched`: check the promises.
    """

    seed: int
    policy: Policy
    provider: SimulatedSettings
    jobs: tuple[Job, ...]
    cloud_faults: CloudFaults = NO_FAULTS
    scheduler_faults: SchedulerFaults = NO_SCHEDULER_FAULTS
    crashes: CrashFaults = NO_CRASHES
    store_faults: StoreFaults = NO_STORE_FAULTS
    faulty_until: float = 0.0
    ends_at: float | None = None
    wanted_until: float | None = None
    policies: tuple[tuple[float, Policy], ...] = ()
    strays: tuple[float, ...] = ()
    adopt: bool = True
    second_pool: bool = False
    replicas: bool = False
    movable: bool = False
    learned: Mapping[str, Any] | None = None
    rules: str = "slotsmith"
    delivery: Delivery = Delivery.PUSH
    scheduler_seed: int | None = 0
    summaries: bool = True
    watched: bool = True

    @property
    def highest_maximum(self) -> int:
        """The largest maximum that is ever in force."""
        return max(policy.max_instances for policy in (self.policy, *(later for _, later in self.policies)))
