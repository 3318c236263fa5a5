"""What listings lack that they had before: whether it is gone, and until when it was there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from slotsmith.core.fleet import NO_AGENT, Fleet
from slotsmith.model.instance import Instance


class _Absence(NamedTuple):
    """Since when listings lack an instance, and until when it is known to have been there."""

    since: float
    there_until: float


class Absences:
    """The instances that the last listing lacked. Times are epoch seconds.

    One that is missing once may be there all the same: it is gone when it has been missing for `window` seconds, the
    provider's consistency window. `heartbeat` is when the run before this one was last known to live: what vanished
    while nobody looked was there until then, or until a later sign of life.
    """

    def __init__(self, window: float, heartbeat: float) -> None:
        self._window = window
        self._heartbeat = heartbeat
        self._absent: dict[str, _Absence] = {}
        self._alive_at: dict[str, float] = {}
        self._looked = False

    def __bool__(self) -> bool:
        return bool(self._absent)

    def complete(self, listing: Sequence[Instance], fleet: Fleet, began: float, now: float) -> Sequence[Instance]:
        """A listing (from a read that began at `began`), and what `fleet` has beside it that may not be gone yet.

        A listing tells what was so at some time between its request and its answer: the window is counted from the
        answer that lacks an instance first to the request that no longer finds it.
        """
        if listing is fleet.instances:
            self._absent.clear()
            return listing
        listed = {instance.id for instance in listing}
        absent = [instance for instance in fleet.instances if instance.id not in listed]
        if not self._looked:
            self._heard_since(fleet, fleet, began)
        new = _Absence(now, began if self._looked else self._heartbeat)
        self._looked = True
        self._absent = {instance.id: self._absent.get(instance.id, new) for instance in absent}
        window = self._window
        lingering = [i for i in absent if window > 0 and began - self._absent[i.id].since < window]
        return (*listing, *lingering) if lingering else listing

    def heard(self, before: Fleet, after: Fleet, now: float) -> None:
        """While there is no listing, agents tell what lives: those that are connected, or were so until now."""
        if not self._looked:
            self._heard_since(before, after, now)

    def _heard_since(self, before: Fleet, after: Fleet, now: float) -> None:
        connected = (before.agent != NO_AGENT) | (after.agent != NO_AGENT)
        self._alive_at.update((after.instances[row].id, now) for row in np.flatnonzero(connected))

    def lived(self, instance_id: str, at: float) -> None:
        """There was a sign of its life before there was anything to compare with."""
        self._alive_at[instance_id] = at

    def told_to_end(self, instance_id: str, at: float) -> None:
        """The provider has taken a termination on: so the instance was there."""
        # A repeat for one that listings lack already tells only that nobody knows better yet.
        if instance_id not in self._absent or instance_id not in self._alive_at:
            self._alive_at[instance_id] = at

    def gone(self, instance_id: str, now: float) -> float:
        """The instance is gone; until when it was there."""
        absence = self._absent.pop(instance_id, None)
        alive_at = self._alive_at.pop(instance_id, 0.0)
        return now if absence is None else min(now, max(absence.there_until, alive_at))

    def looks(self) -> Iterator[float]:
        """When a listing is awaited that tells whether they are gone."""
        for absence in self._absent.values():
            yield absence.since + self._window
