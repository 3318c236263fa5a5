"""`scheduler: {type: simulated}`."""

from __future__ import annotations

from typing import Literal

from slotsmith.schedulers.base import SchedulerSettings


class SimulatedSettings(SchedulerSettings):
    """The tasks come from the trace that `slotsmith simulate` is given, so there is nothing to set."""

    type: Literal["simulated"] = "simulated"
