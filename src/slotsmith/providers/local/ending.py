"""Terminations, from the first signal until nothing is left."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
from collections.abc import Mapping, Sequence

import structlog

from slotsmith.clock import Clock
from slotsmith.model.instance import InstanceState
from slotsmith.model.launch_error import ErrorKind
from slotsmith.providers.base import ProviderError
from slotsmith.providers.local.errors import provider_error
from slotsmith.providers.local.processes import Identity, members_of, send_signal_to_all
from slotsmith.providers.local.records import Records, Seen

_NO_SIGNAL = 0


class Endings:
    """Ends instances: SIGTERM, SIGKILL after `grace` seconds, and a grave when no process is left.

    What shall end is noted on disk, so that it is followed up by whoever looks next. While a supervisor lives it keeps
    the same grace period by itself; this here is for all that it cannot reach, and for when it is dead.
    """

    def __init__(
        self, records: Records, grace: float, clock: Clock, log: structlog.typing.FilteringBoundLogger
    ) -> None:
        self._records = records
        self._grace = grace
        self._clock = clock
        self._log = log
        self._asked_at: dict[str, float] = {}
        self._told: dict[str, str] = {}

    def knows(self, seen: Seen) -> bool:
        """Whether this instance is being followed up, or need not be."""
        return seen.instance.state is not InstanceState.TERMINATING or seen.instance.id in self._asked_at

    def waited(self, instance_id: str) -> float:
        """Seconds since an instance was asked to end; 0 when it was not."""
        now = self._clock.now()
        return now - self._asked_at.get(instance_id, now)

    async def begin(self, instance_ids: Sequence[str]) -> dict[str, ProviderError]:
        """See `Provider.terminate`."""
        failures: dict[str, ProviderError] = {}
        noted: list[str] = []
        for instance_id in dict.fromkeys(instance_ids):
            try:
                if self._records.begin_end(instance_id):
                    noted.append(instance_id)
            except BlockingIOError:
                failures[instance_id] = ProviderError(ErrorKind.TRANSIENT, f"{instance_id} is just being started")
            except OSError as error:
                failures[instance_id] = provider_error(error, f"{instance_id} cannot be terminated")
        seen = {one.instance.id: one for one in self._records.look()} if noted else {}
        signals = {instance_id: self._signal_for(seen[instance_id]) for instance_id in noted if instance_id in seen}
        return failures | await self._send(seen, signals)

    async def follow_up(self, listing: Sequence[Seen]) -> bool:
        """Carry on with all that shall end, out of a complete listing; returns whether that has changed it."""
        seen = {one.instance.id: one for one in listing}
        self._asked_at = {instance_id: at for instance_id, at in self._asked_at.items() if instance_id in seen}
        self._told = {instance_id: error for instance_id, error in self._told.items() if instance_id in seen}
        signals: dict[str, int] = {}
        for instance_id, one in seen.items():
            if one.instance.state is InstanceState.TERMINATING or instance_id in self._asked_at:
                number = self._signal_for(one)
                # While a known process lives and its time is not over, its end will be heard of.
                if number != _NO_SIGNAL or one.watch is None:
                    signals[instance_id] = number
        failures = await self._send(seen, signals)
        for instance_id, error in failures.items():
            if self._told.get(instance_id) != str(error):
                self._told[instance_id] = str(error)
                self._log.warning("instance cannot be terminated", instance=instance_id, error=str(error))
        return any(not self._records.directory(instance_id).exists() for instance_id in signals)

    def _signal_for(self, seen: Seen) -> int:
        """What to send now. SIGTERM goes out once, however often we are asked: a second one reads as impatience."""
        now = self._clock.now()
        asked_at = self._asked_at.get(seen.instance.id)
        if asked_at is None:
            self._asked_at[seen.instance.id] = now
            return signal.SIGTERM
        return signal.SIGKILL if now >= asked_at + self._grace else _NO_SIGNAL

    async def _send(self, seen: Mapping[str, Seen], signals: Mapping[str, int]) -> dict[str, ProviderError]:
        if not signals:
            return {}
        targets = {instance_id: seen[instance_id] for instance_id in signals}
        return await asyncio.to_thread(self._send_all, targets, signals)

    def _send_all(self, targets: Mapping[str, Seen], signals: Mapping[str, int]) -> dict[str, ProviderError]:
        """Signal the instances' processes; bury those that have none. Looks through all processes: some 5 ms and up."""
        members = self._members(targets)
        failures: dict[str, ProviderError] = {}
        for instance_id, number in signals.items():
            try:
                self._send_one(targets[instance_id], members[instance_id], number)
            except OSError as error:
                failures[instance_id] = provider_error(error, f"{instance_id} cannot be terminated")
        return failures

    def _members(self, targets: Mapping[str, Seen]) -> dict[str, list[Identity]]:
        groups = {instance_id: one.group for instance_id, one in targets.items()}
        members = members_of(self._records.path, groups)
        # A process that ends during the look may have left a child that was not there at its beginning.
        empty = {instance_id: group for instance_id, group in groups.items() if not members[instance_id]}
        return members | members_of(self._records.path, empty) if empty else members

    def _send_one(self, target: Seen, members: Sequence[Identity], number: int) -> None:
        if members:
            if number != _NO_SIGNAL:
                send_signal_to_all(_addressees(target, members, number), number)
            return
        # A process that is just starting its program, or just dying, has no environment: the lock tells of the one,
        # the known pid of the other, and the next look will find them changed.
        named = target.watch is not None and target.watch.alive
        if not named and not self._records.locked(target.instance.id):
            self._records.bury(target.instance.id)
        elif number == signal.SIGKILL:
            # It has had its time. Its record names a process that does not carry its token, or somebody holds its lock
            # who cannot be looked into.
            who = f"process {target.watch.pid}" if target.watch is not None else "the process that holds its lock"
            raise OSError(errno.EPERM, f"{who} cannot be proved to be its own")


def _addressees(target: Seen, members: Sequence[Identity], number: int) -> Sequence[Identity]:
    """A live supervisor passes SIGTERM on to its group at one instant, so that no member can fork in between."""
    if number != signal.SIGTERM or all(member.pid != target.group for member in members):
        return members
    return [member for member in members if member.pid == target.group or _group_of(member) != target.group]


def _group_of(process: Identity) -> int:
    try:
        return os.getpgid(process.pid)
    except ProcessLookupError:
        return 0
