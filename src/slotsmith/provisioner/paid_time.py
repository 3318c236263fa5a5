"""The statistics of a pool: for how long each of its instances is paid for."""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import replace
from typing import Final

from slotsmith.model.instance import Instance, InstanceState
from slotsmith.model.record import StatisticsSpan

# Clouds bill the way up, and not the way down.
_UNPAID: Final = (InstanceState.STOPPING, InstanceState.STOPPED, InstanceState.TERMINATING)
PAID: Final = (InstanceState.STARTING, InstanceState.RUNNING)


class PaidTime:
    """One span for each stretch in which an instance is paid for. Times are epoch seconds."""

    def __init__(self, pool: str, write: Callable[[StatisticsSpan], None]) -> None:
        self._pool = pool
        self._write = write
        self._prices: dict[str, float] = {}
        self._unpriced = 0.0
        self._month = 0.0
        self._ended_dollars = 0.0
        self._open: dict[str, StatisticsSpan] = {}
        self._ended: dict[str, float] = {}

    def price(self, prices: Mapping[str, float]) -> None:
        """Dollars per hour by the offering's name, for the spans that begin from now on."""
        self._prices |= prices
        # What was never on offer here costs no less than anybody can tell.
        self._unpriced = max(self._prices.values(), default=0.0)

    def resume(self, spans: Iterable[StatisticsSpan], present: Container[str], month: float) -> None:
        """Take over the spans that an earlier run left open, and when those of present instances have ended.

        `month`: when the present one began.
        """
        self._month = month
        for span in spans:
            self._spend(span)
            if span.end is None:
                self._open[span.instance_id] = span
            elif span.instance_id in present:
                self._ended[span.instance_id] = max(span.end, self._ended.get(span.instance_id, span.end))

    def follow(self, instance: Instance, launched_at: float, now: float) -> None:
        """The instance is listed in its state: what is up is paid for from its launch on, what goes down until now."""
        if instance.state in PAID:
            self._begin(instance, launched_at, now)
        elif instance.state in _UNPAID:
            self.end(instance.id, now)

    def _begin(self, instance: Instance, start: float, now: float) -> None:
        if instance.id not in self._open:
            slots = instance.capacity.slots if instance.capacity else 0
            if instance.id in self._ended:
                # A second life begins when the cloud says so, as far as that can be.
                start = min(now, max(instance.launched_at, self._ended[instance.id]))
            price = self._prices.get(instance.offering)
            self._open[instance.id] = StatisticsSpan(self._pool, instance.id, slots, start, price=price)
            self._write(self._open[instance.id])

    def end(self, instance_id: str, at: float) -> None:
        """The instance is no longer paid for; nothing happens when it was not."""
        span = self._open.pop(instance_id, None)
        if span is not None:
            self._ended[instance_id] = max(at, span.start)
            ended = replace(span, end=self._ended[instance_id])
            self._spend(ended)
            self._write(ended)

    def spent(self, month: float, now: float) -> float:
        """Dollars since the month began, at `month`. What ended before that is only counted for the months since."""
        if month > self._month:
            self._month, self._ended_dollars = month, 0.0
        running = (span.dollars(month, now, unpriced=self._unpriced) for span in self._open.values())
        return self._ended_dollars + math.fsum(running)

    def _spend(self, span: StatisticsSpan) -> None:
        if span.end is not None:
            self._ended_dollars += span.dollars(self._month, span.end, unpriced=self._unpriced)

    def forget(self, instance_id: str) -> None:
        """The instance is gone and does not come back."""
        self._ended.pop(instance_id, None)

    def end_unknown(self, known: Iterable[str], heartbeat: float) -> None:
        """At start: a span of what is neither on record nor listed ends when the program was last known to live."""
        for instance_id in sorted(self._open.keys() - set(known)):
            self.end(instance_id, heartbeat)
