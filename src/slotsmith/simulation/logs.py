"""The program's log lines in a simulation: dropped, or kept for a timeline."""

from __future__ import annotations

import logging
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any

import structlog

from slotsmith.simulation.events import EventLog
from slotsmith.simulation.generation import current


@contextmanager
def captured_logs(log: EventLog | None) -> Iterator[None]:
    """Meanwhile, log lines go to the timeline of `log`, or nowhere."""
    before = structlog.get_config()

    def keep(_logger: Any, level: str, event: MutableMapping[str, Any]) -> str:
        generation = current.get()
        if log is not None and (generation is None or generation.alive):
            what = event.pop("event")
            fields = "".join(f" {name}={value}" for name, value in event.items() if name != "pool")
            log.note(f"{event.get('pool', '')} {level}: {what}{fields}")
        raise structlog.DropEvent

    if log is None:
        # No line is of this level, so that each costs one comparison.
        structlog.configure(
            wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL), cache_logger_on_first_use=False
        )
    else:
        structlog.configure(processors=[keep], wrapper_class=structlog.BoundLogger, cache_logger_on_first_use=False)
    try:
        yield
    finally:
        structlog.configure(**before)
