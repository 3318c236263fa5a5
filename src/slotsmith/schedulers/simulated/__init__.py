"""A scheduler that exists only in a simulation: it runs the jobs of a trace in virtual time.

First come first served with skipping, best fit, whole agents for a job that is larger than one; with faults, it
forgets, hangs, and tells its views late, twice or out of order. `SimulatedScheduler` is what a simulated world drives.
The plugin is there so that `scheduler: {type: simulated}` is a valid pool.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from slotsmith.model.scaling_info import ScalingInfo
from slotsmith.schedulers.base import DrainAnswer, SchedulerContext, SchedulerError, SchedulerPlugin
from slotsmith.schedulers.simulated.faults import FAULTS, HEAVY, LIGHT, NO_SCHEDULER_FAULTS, SchedulerFaults
from slotsmith.schedulers.simulated.job import Job, JobState
from slotsmith.schedulers.simulated.scheduler import SimulatedScheduler
from slotsmith.schedulers.simulated.settings import SimulatedSettings

__all__ = [
    "FAULTS",
    "HEAVY",
    "LIGHT",
    "NO_SCHEDULER_FAULTS",
    "Job",
    "JobState",
    "SchedulerFaults",
    "SimulatedScheduler",
    "SimulatedSettings",
    "plugin",
]


class OnlySimulated:
    """What the daemon gets for such a pool: it says that there is nothing to connect to."""

    poll_period = 3600.0

    async def setup(self) -> None:
        """Raises `SchedulerError`, always."""
        raise SchedulerError(
            "scheduler `simulated` exists only in `slotsmith simulate`; a running pool needs a real one"
        )

    async def scaling_info(self) -> ScalingInfo | None:
        """Nothing is ever said."""
        return None

    async def drain(self, agents: Sequence[str], *, when_done: bool) -> Mapping[str, DrainAnswer]:  # noqa: ARG002
        """Raises `SchedulerError`: there is nobody who could give an agent up."""
        raise SchedulerError("scheduler `simulated` exists only in `slotsmith simulate`")

    async def cancel_drain(self, agents: Sequence[str]) -> None:
        """Nothing is ever drained."""

    async def close(self) -> None:
        """Nothing to let go of."""


def _create(_settings: SimulatedSettings, _context: SchedulerContext) -> OnlySimulated:
    return OnlySimulated()


plugin = SchedulerPlugin(SimulatedSettings, _create)
