"""What the cloud shows of its machines, which lags behind the truth by less than the consistency window."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from slotsmith.clock import Clock
from slotsmith.model.instance import Instance, InstanceState
from slotsmith.providers.simulated.dice import Dice
from slotsmith.providers.simulated.machines import Machine
from slotsmith.providers.simulated.timers import Timers

KNOWN_AFTER: Final = 600.0
"""Seconds after which whoever reads listings is taken to have a machine on record, so that it may be missing again.

The window is a promise about launches: a machine that is missing later on must not look like one that was never there.
"""
_MARGIN: Final = 0.001
"""A lag ends so many seconds within the window: a listing at the very end of it is right."""


class Listing:
    """The rows that a listing has, kept up to date by what happens to machines.

    A machine can be hidden (listed late, or missing), held (shown as it was some time ago) and unreadable. Each of them
    ends by a timer, and the row is then made anew from the truth.
    """

    def __init__(
        self, window: float, *, clock: Clock, dice: Dice, timers: Timers, on_change: Callable[[], None]
    ) -> None:
        self._longest_lag = window - _MARGIN
        self._clock = clock
        self._dice = dice
        self._timers = timers
        self._on_change = on_change
        # In the order of creation: what is not gone, and what is shown although it is.
        self._machines: dict[str, Machine] = {}
        self._rows: tuple[Instance, ...] | None = ()
        self._read_at = 0.0

    def rows(self) -> tuple[Instance, ...]:
        """The listing, in the order of creation: the same tuple as long as nothing in it changes."""
        if self._rows is None:
            rows = [machine.row for machine in self._machines.values()]
            self._rows = tuple([row for row in rows if row is not None])
        return self._rows

    def delivered(self, began: float) -> None:
        """A listing that was made at `began` or later has reached its reader."""
        self._read_at = began

    # What happens to machines

    def created(self, machine: Machine) -> None:
        self._machines[machine.id] = machine
        dice = self._dice
        if not dice.calm:
            if self._longest_lag > 0 and dice.strikes("listed_late", id=machine.id):
                self._hide(machine, dice.seconds("listed_late", self._longest_lag))
            if self._longest_lag > 0 and dice.fires("missing_from_listing"):
                self._plan_to_miss(machine)
            if dice.fires("unreadable"):
                self._timers.later(dice.after("unreadable"), self._make_unreadable, machine)
        self._renew(machine)

    def changed(self, machine: Machine) -> None:
        """Its state or detail is another one."""
        if not self._dice.calm and self._can_hold(machine) and self._dice.strikes("state_late", id=machine.id):
            self._hold(machine, machine.row, self._dice.seconds("state_late", self._longest_lag))
        self._renew(machine)

    def ended(self, machine: Machine) -> None:
        """It is gone."""
        dice = self._dice
        if not dice.calm and self._can_hold(machine) and dice.strikes("vanishes_late", id=machine.id):
            row = machine.row
            if row is not None and dice.below("vanishes_late", 2):
                row = row._replace(state=InstanceState.TERMINATING)
            self._hold(machine, row, dice.seconds("vanishes_late", self._longest_lag))
        self._renew(machine)

    # Lags

    def _can_hold(self, machine: Machine) -> bool:
        # What is held already stays as it is: one lag on top of another could be longer than the window.
        return self._longest_lag > 0 and machine.row is not None and not machine.held

    def _hold(self, machine: Machine, row: Instance | None, seconds: float) -> None:
        machine.kept_row = row
        machine.held += 1
        self._timers.ends(seconds, self._let_go, machine)

    def _let_go(self, machine: Machine) -> None:
        machine.held -= 1
        self._renew(machine)

    def _hide(self, machine: Machine, seconds: float) -> None:
        machine.hidden += 1
        self._timers.ends(seconds, self._unhide, machine)

    def _unhide(self, machine: Machine) -> None:
        machine.hidden -= 1
        self._renew(machine)

    def _plan_to_miss(self, machine: Machine) -> None:
        """Once in its life: within the window after its launch, or when it has been on record for long."""
        dice, window = self._dice, self._longest_lag
        seconds = dice.seconds("missing_from_listing", window)
        if dice.below("missing_from_listing", 2):
            begins = (window - seconds) * dice.below("missing_from_listing", 1000) / 1000
            self._timers.later(begins, self._miss, machine, seconds)
        else:
            after = max(window, dice.after("missing_from_listing"))
            self._timers.later(after, self._miss_if_known, machine, seconds)

    def _miss_if_known(self, machine: Machine, seconds: float) -> None:
        if machine.shown_since is not None and self._read_at >= machine.shown_since:
            self._timers.later(KNOWN_AFTER, self._miss, machine, seconds)

    def _miss(self, machine: Machine, seconds: float) -> None:
        if not self._dice.calm and machine.alive() and machine.row is not None:
            self._dice.struck("missing_from_listing", id=machine.id)
            self._hide(machine, seconds)
            self._renew(machine)

    def _make_unreadable(self, machine: Machine) -> None:
        if self._dice.calm or not machine.alive():
            return
        self._dice.struck("unreadable", id=machine.id)
        machine.unreadable += 1
        self._timers.ends(self._dice.seconds("unreadable"), self._make_readable, machine)
        self._renew(machine)

    def _make_readable(self, machine: Machine) -> None:
        machine.unreadable -= 1
        self._renew(machine)

    # Rows

    def _renew(self, machine: Machine) -> None:
        before, machine.row = machine.row, self._row(machine)
        if not machine.alive() and not machine.held:
            self._machines.pop(machine.id, None)
        if before == machine.row:
            return
        if before is None:
            machine.shown_since = self._clock.now()
        self._rows = None
        if self._dice.calm or not self._dice.strikes("untold"):
            self._on_change()

    @staticmethod
    def _row(machine: Machine) -> Instance | None:
        if machine.hidden:
            return None
        if machine.held:
            return machine.kept_row
        if not machine.alive():
            return None
        return Instance(
            machine.id,
            InstanceState.UNKNOWN if machine.unreadable else machine.state,
            machine.launched_at,
            machine.agent_name,
            machine.token,
            machine.offering.name,
            machine.offering.capacity,
            machine.detail,
            machine.reclaimed,
        )
