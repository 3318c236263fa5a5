"""Whether instances join: those in a row that end without it, and the one that proves that it can be done."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import structlog

from slotsmith.clock import Random
from slotsmith.core import backoff
from slotsmith.core.fleet import Fleet
from slotsmith.model.instance import Instance, InstanceState
from slotsmith.model.launch_error import JoinFailures


class JoinNews(NamedTuple):
    """What two fleets in a row tell: who ended by itself without ever joining, and who has joined now ("" = nobody)."""

    ended: list[str]
    joined: str


def join_news(before: Fleet, after: Fleet, rows: Iterable[int], gone: Iterable[Instance]) -> JoinNews:
    """Compare them: `rows` are those of `after` that changed, `gone` the instances that it lacks."""
    ended = [i.id for i in gone if not np.isfinite(before.joined_at[before.rows[i.id]])]
    joined = ""
    for row in rows:
        instance = after.instances[row]
        old = before.rows.get(instance.id)
        if not np.isfinite(after.joined_at[row]):
            ended += [instance.id] if instance.state is InstanceState.STOPPED else []
        elif old is None or not np.isfinite(before.joined_at[old]):
            joined = instance.id
    return JoinNews(ended, joined)


class Joining:
    """Counts instances in a row that end, or are given up, without ever joining; any that joins ends the row.

    Each method gives the failures as they are from then on, None when nothing has changed.
    """

    def __init__(self, failures: JoinFailures, *, random: Random, log: structlog.typing.FilteringBoundLogger) -> None:
        self.failures = failures
        self._random = random
        self._log = log
        self._counted: set[str] = set()

    def never_joined(self, instance_ids: Iterable[str], now: float) -> JoinFailures | None:
        """These never will; each counts once."""
        new = [instance_id for instance_id in instance_ids if instance_id not in self._counted]
        if not new:
            return None
        self._counted.update(new)
        was_on = backoff.brake_is_on(self.failures)
        self.failures = backoff.never_joined(self.failures, new, now, self._random.random())
        if backoff.brake_is_on(self.failures) and not was_on:
            self._log.error(
                "instances end without joining, so only one at a time is launched from now on",
                in_a_row=self.failures.failures,
                last=self.failures.last_id,
            )
        return self.failures

    def joined(self, instance_id: str) -> JoinFailures | None:
        """This one has joined."""
        if not self.failures.failures:
            return None
        self._log.info("an agent has joined, launches go on as usual", id=instance_id)
        self.failures = backoff.joined()
        return self.failures

    def forgive(self) -> JoinFailures:
        """Somebody says that it works again."""
        self.failures = backoff.joined()
        return self.failures

    def forget(self, instance_id: str) -> None:
        """The instance is gone, and was counted if it was to be."""
        self._counted.discard(instance_id)
