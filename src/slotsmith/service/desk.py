"""The pools that the service speaks for: the one at work for each name, and the last view pushed to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from slotsmith.clock import Clock
from slotsmith.provisioner import Provisioner
from slotsmith.service.problems import Problem
from slotsmith.service.pushing import Pushed


class Taken(StrEnum):
    """What became of a pushed view."""

    NEW = "new"
    UNCHANGED = "unchanged"
    REPEATED = "repeated"


@dataclass(slots=True)
class Place:
    """One pool: what is at work for it now (None = between two starts), and what was pushed last, and when."""

    name: str
    takes_views: bool
    provisioner: Provisioner | None = None
    pushed: Pushed | None = None
    pushed_at: float | None = None

    @property
    def at_work(self) -> Provisioner:
        """Raises `Problem` when there is none just now."""
        if self.provisioner is None:
            raise Problem(503, "the pool is being started, try again", headers={"Retry-After": "2"})
        return self.provisioner


class Desk:
    """All pools by name."""

    def __init__(self, clock: Clock) -> None:
        self.places: dict[str, Place] = {}
        self._clock = clock

    def set_out(self, pools: Mapping[str, bool]) -> None:
        """These are the pools from now on, and whether they take views; what is known of those that stay is kept."""
        before, self.places = self.places, {}
        for name, takes_views in pools.items():
            same = name in before and before[name].takes_views is takes_views
            self.places[name] = before[name] if same else Place(name, takes_views)

    def maker(self, name: str, make: Callable[[], Provisioner]) -> Callable[[], Provisioner]:
        """Like `make`; the pool is known here from then on, and is told what was pushed to the one before it."""

        def known() -> Provisioner:
            place = self.places.get(name) or Place(name, takes_views=False)
            place.provisioner = make()
            if place.pushed is not None:
                place.provisioner.update_scaling_info(place.pushed.info)
            return place.provisioner

        return known

    def clear(self) -> None:
        """The pools run elsewhere from now on, and what was pushed here is soon too old to be told to anybody."""
        for place in self.places.values():
            place.provisioner = place.pushed = place.pushed_at = None

    def place(self, name: str) -> Place:
        """Raises `Problem` when there is no such pool."""
        if name not in self.places:
            raise Problem(404, "there is no such pool")
        return self.places[name]

    def push(self, name: str, pushed: Pushed, if_match: str | None) -> Taken:
        """Take a view.

        Raises:
            Problem: it is older than the last one, contradicts it, or the pool takes none.
        """
        place, last = self.place(name), self.place(name).pushed
        if not place.takes_views:
            raise Problem(409, "this pool's scheduler is read by its connector, so nothing can be pushed")
        if if_match is not None and if_match not in ("*", f'"{last.tag}"' if last else ""):
            raise Problem(412, "another view has been pushed since the one that If-Match names")
        if last is not None and _repeats(last, pushed):
            return Taken.REPEATED
        changed = last is None or pushed.info != last.info
        if place.provisioner is not None:
            place.provisioner.update_scaling_info(pushed.info)
        place.pushed, place.pushed_at = pushed, self._clock.now()
        return Taken.NEW if changed else Taken.UNCHANGED


def _repeats(last: Pushed, pushed: Pushed) -> bool:
    """Whether it is the last one once more. Raises `Problem` when it should not have come."""
    if pushed.sequence is None or last.sequence is None or pushed.run != last.run:
        return False
    if pushed.sequence < last.sequence:
        raise Problem(409, f"the view is stale: number {pushed.sequence} comes after {last.sequence} was taken")
    if pushed.sequence == last.sequence and pushed.tag != last.tag:
        raise Problem(409, f"another view has been taken under the number {pushed.sequence}")
    return pushed.sequence == last.sequence
