"""A report of each pool for whoever watches from outside, at most every 90 seconds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import structlog

from slotsmith.core.fleet import STATES, Fleet
from slotsmith.model.offering import Offering

TELEMETRY_PERIOD: Final = 90.0
"""Seconds between two reports of one pool, at least; the reference's rate."""


@dataclass(frozen=True, slots=True)
class TelemetryEvent:
    """How a pool stands: how many instances there are in each state, of which type."""

    pool: str
    at: float
    instance_type: str
    instances: Mapping[str, int] = field(default_factory=dict)
    name: str = "provisioner_tick"


TelemetrySink = Callable[[TelemetryEvent], None]


def log_sink(event: TelemetryEvent) -> None:
    """The default sink: one line in the log."""
    structlog.get_logger("slotsmith").info(
        event.name, pool=event.pool, instance_type=event.instance_type, instances=dict(event.instances)
    )


class Telemetry:
    """Limits the rate of reports."""

    def __init__(self, pool: str, sink: TelemetrySink) -> None:
        self._pool = pool
        self._sink = sink
        self._last: float | None = None

    def report(self, fleet: Fleet, offering: Offering, now: float) -> None:
        """Hand an event to the sink, unless the last one is too young."""
        if self._last is not None and now < self._last + TELEMETRY_PERIOD:
            return
        self._last = now
        counts = np.bincount(fleet.state, minlength=len(STATES))
        states = {state.value: int(count) for state, count in zip(STATES, counts, strict=True) if count}
        self._sink(TelemetryEvent(self._pool, now, offering.instance_type, states))
