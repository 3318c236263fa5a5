"""What happens to machines, from the request to the end: by itself, by order, and by others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from slotsmith.clock import Clock
from slotsmith.model.instance import InstanceState
from slotsmith.providers.simulated.dice import Dice
from slotsmith.providers.simulated.faults import Tell
from slotsmith.providers.simulated.listing import Listing
from slotsmith.providers.simulated.machines import Machine
from slotsmith.providers.simulated.timers import Timers

_S: Final = InstanceState

OnAgent = Callable[[Machine, bool], None]


class Lives:
    """Moves machines from state to state. `counted` is how many of them exist."""

    def __init__(
        self,
        boot_time: float,
        join_time: float,
        *,
        clock: Clock,
        dice: Dice,
        timers: Timers,
        listing: Listing,
        on_agent: OnAgent,
        tell: Tell,
    ) -> None:
        self.counted = 0
        self._boot_time = boot_time
        self._join_time = join_time
        self._clock = clock
        self._dice = dice
        self._timers = timers
        self._listing = listing
        self._on_agent = on_agent
        self._tell = tell
        self._clock_error = 0.0

    def begin(self, machine: Machine) -> None:
        """A new machine: it starts at once, or its spot request is pending first."""
        self.counted += 1
        spot = machine.offering.market == "spot"
        if spot and self._dice.strikes("spot_pending", id=machine.id):
            machine.state = _S.PENDING_REQUEST
            self._timers.ends(self._dice.seconds("spot_pending"), self._fulfil, machine)
        else:
            self._start(machine)
        self._tell("cloud launched", id=machine.id, token=machine.token, state=machine.state.value)
        self._listing.created(machine)

    def terminate(self, machine: Machine) -> None:
        """Somebody asks for the end of a machine that exists."""
        if machine.state is _S.TERMINATING:
            return
        if self._dice.strikes("ignored_terminate", id=machine.id):
            return
        if machine.state is _S.PENDING_REQUEST:
            self._cancel(machine)
        else:
            self._end(machine)

    def shift_clock(self) -> None:
        """A launch is executed: the cloud's clock may jump."""
        if self._dice.calm:
            self._clock_error = 0.0
        elif self._dice.strikes("clock_jump"):
            self._clock_error = self._error("clock_jump")

    # Starting

    def _fulfil(self, machine: Machine) -> None:
        if not machine.alive() or machine.state is not _S.PENDING_REQUEST:
            return
        if machine.cancelled and self._dice.calm:
            self._vanish(machine, machine.starts)
            return
        if machine.cancelled:
            self._dice.struck("fulfilled_after_cancel", id=machine.id)
        self._start(machine)
        self._moved(machine)

    def _start(self, machine: Machine) -> None:
        """From now on it is paid for, and on its way up."""
        now = self._clock.now()
        if machine.paid_from is not None and machine.paid_until is not None:
            machine.earlier.append((machine.paid_from, machine.paid_until))
        machine.paid_from, machine.paid_until = now, None
        machine.launched_at = now + self._clock_error
        if self._dice.strikes("clock_skew", id=machine.id):
            machine.launched_at += self._error("clock_skew")
        self._boot(machine)

    def _error(self, fault: str) -> float:
        sign = 1 if self._dice.below(fault, 2) else -1
        return sign * self._dice.seconds(fault)

    def _boot(self, machine: Machine) -> None:
        machine.starts += 1
        machine.state, machine.detail, machine.reclaimed = _S.STARTING, "", False
        if self._dice.strikes("slow_boot", id=machine.id):
            seconds = self._boot_time + self._dice.seconds("slow_boot")
            self._timers.ends(seconds, self._up, machine, machine.starts)
        else:
            self._timers.later(self._boot_time, self._up, machine, machine.starts)

    def _up(self, machine: Machine, start: int) -> None:
        if machine.starts != start:
            return
        machine.state = _S.RUNNING
        self._moved(machine)
        if self._dice.calm:
            self._timers.later(self._join_time, self._join, machine, start)
            return
        self._plan_join(machine, start)
        self._plan_troubles(machine, start)

    def _plan_join(self, machine: Machine, start: int) -> None:
        if self._dice.strikes("never_joins", id=machine.id):
            return
        if self._dice.strikes("late_join", id=machine.id):
            seconds = self._join_time + self._dice.seconds("late_join")
            self._timers.ends(seconds, self._join, machine, start)
        else:
            self._timers.later(self._join_time, self._join, machine, start)

    def _join(self, machine: Machine, start: int) -> None:
        if machine.starts == start:
            self._connect(machine, start)
            self._plan("joins_twice", self._rejoin, machine, start)
            self._plan("agent_dies", self._die, machine, start)

    def _connect(self, machine: Machine, start: int) -> None:
        if machine.starts == start:
            machine.connected = True
            self._tell("cloud agent joined", id=machine.id)
            self._on_agent(machine, True)

    def _leave(self, machine: Machine) -> None:
        if machine.connected:
            machine.connected = False
            self._tell("cloud agent left", id=machine.id)
            self._on_agent(machine, False)

    # Trouble in the middle of a life

    def _plan_troubles(self, machine: Machine, start: int) -> None:
        self._plan("reboots", self._reboot, machine, start)
        self._plan("stopped_behind_back", self._stop, machine, start)
        self._plan("deleted_behind_back", self._reclaim, machine, start)
        if machine.offering.market == "spot":
            self._plan("reclaimed_with_notice", self._give_notice, machine, start)
            self._plan("reclaimed_without_notice", self._reclaim, machine, start)

    def _plan(self, fault: str, act: Callable[[Machine, str], None], machine: Machine, start: int) -> None:
        if self._dice.fires(fault):
            self._timers.later(self._dice.after(fault), self._strike, fault, act, machine, start)

    def _strike(self, fault: str, act: Callable[[Machine, str], None], machine: Machine, start: int) -> None:
        if machine.starts == start and not self._dice.calm:
            act(machine, fault)

    def _rejoin(self, machine: Machine, fault: str) -> None:
        if machine.connected:
            self._dice.struck(fault, id=machine.id)
            self._leave(machine)
            self._timers.ends(self._dice.seconds(fault), self._connect, machine, machine.starts)

    def _die(self, machine: Machine, fault: str) -> None:
        if machine.connected:
            self._dice.struck(fault, id=machine.id)
            self._leave(machine)

    def _reboot(self, machine: Machine, fault: str) -> None:
        self._dice.struck(fault, id=machine.id)
        self._leave(machine)
        self._boot(machine)
        self._moved(machine)

    def _stop(self, machine: Machine, fault: str) -> None:
        self._dice.struck(fault, id=machine.id)
        self._halt(machine, _S.STOPPING, "stopped by somebody")
        self._timers.ends(self._dice.seconds(fault), self._stopped_by_somebody, machine, machine.starts)

    def _stopped_by_somebody(self, machine: Machine, start: int) -> None:
        if machine.starts != start:
            return
        self._stopped(machine, start)
        if self._dice.fires("started_again"):
            self._timers.later(self._dice.seconds("started_again"), self._start_again, machine, start)

    def _stopped(self, machine: Machine, start: int) -> None:
        if machine.starts == start:
            machine.state = _S.STOPPED
            self._moved(machine)

    def _start_again(self, machine: Machine, start: int) -> None:
        if machine.starts == start and not self._dice.calm:
            self._dice.struck("started_again", id=machine.id)
            self._start(machine)
            self._moved(machine)

    def _give_notice(self, machine: Machine, fault: str) -> None:
        self._dice.struck(fault, id=machine.id)
        machine.detail, machine.reclaimed = "interruption notice", True
        self._moved(machine)
        self._timers.ends(self._dice.seconds(fault), self._take, machine, machine.starts)

    def _take(self, machine: Machine, start: int) -> None:
        if machine.starts == start:
            self._halt(machine, _S.TERMINATING, "taken away by the cloud")
            self._vanish(machine, machine.starts)

    def _reclaim(self, machine: Machine, fault: str) -> None:
        self._dice.struck(fault, id=machine.id)
        self._take(machine, machine.starts)

    # Ending

    def _cancel(self, machine: Machine) -> None:
        if not machine.cancelled and self._dice.fires("fulfilled_after_cancel"):
            machine.cancelled = True
            self._timers.ends(self._dice.seconds("fulfilled_after_cancel"), self._fulfil, machine)
        elif not machine.cancelled:
            self._vanish(machine, machine.starts)

    def _end(self, machine: Machine) -> None:
        failed = self._dice.strikes("failed_terminate", id=machine.id)
        slow = not failed and self._dice.strikes("slow_terminate", id=machine.id)
        if not failed and not slow:
            self._halt(machine, None, "")
            self._vanish(machine, machine.starts)
            return
        self._halt(machine, _S.TERMINATING, "")
        if slow:
            self._timers.ends(self._dice.seconds("slow_terminate"), self._vanish, machine, machine.starts)
        else:
            self._timers.ends(self._dice.seconds("failed_terminate"), self._stopped, machine, machine.starts)

    def _halt(self, machine: Machine, state: InstanceState | None, detail: str) -> None:
        """It no longer works and is no longer paid for; `state` None: it is gone at once."""
        machine.starts += 1
        if machine.paid:
            machine.paid_until = self._clock.now()
        machine.detail, machine.reclaimed = detail, False
        if state is not None:
            machine.state = state
            self._moved(machine)
        self._leave(machine)

    def _vanish(self, machine: Machine, start: int) -> None:
        if machine.starts != start or not machine.alive():
            return
        machine.starts += 1
        machine.state = _S.TERMINATING
        machine.gone_at = self._clock.now()
        self.counted -= 1
        self._tell("cloud gone", id=machine.id)
        self._listing.ended(machine)

    def _moved(self, machine: Machine) -> None:
        self._tell("cloud moved", id=machine.id, state=machine.state.value)
        self._listing.changed(machine)
