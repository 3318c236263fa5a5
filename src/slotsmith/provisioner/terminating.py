"""Carrying out terminations: drain, look again, terminate, and ask again until the instance is seen gone."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final

import numpy as np
import structlog

from slotsmith.clock import Clock, Random
from slotsmith.core.backoff import retry_delay
from slotsmith.core.consolidation import MOVE_PATIENCE
from slotsmith.core.fleet import BUSY_AGENT, NO_AGENT
from slotsmith.model.agent import Agent
from slotsmith.model.decision import Reason
from slotsmith.model.instance import InstanceState
from slotsmith.model.launch_error import ErrorKind
from slotsmith.model.record import Phase, TerminationRecord
from slotsmith.providers.base import Provider, ProviderError
from slotsmith.provisioner.books import Books
from slotsmith.provisioner.faults import describe
from slotsmith.schedulers.base import DrainAnswer, DrainOutcome, ListsDrains, Scheduler

DRAIN_DEADLINE: Final = 60.0
"""Seconds for one drain call; moving an agent's results can take most of it."""
TERMINATE_DEADLINE: Final = 60.0
"""Seconds for one terminate call."""
CHUNK: Final = 500
"""Instances in one terminate call; EC2 advises at most 1,000."""
ASK_AGAIN: Final = 1.0
"""Seconds between two looks at an agent that is still finishing its tasks."""
STILL_LISTED: Final = 30.0
"""Seconds after which an instance that was told to end, and is still listed as at work, is told again."""

# These have no agent that could be at work; one that turns up has something to lose.
_WITHOUT_AGENT: Final = (Reason.STOPPED, Reason.LONG_DISCONNECTED, Reason.NEVER_JOINED)
# These go only while their agents have nothing to do; the others finish their tasks first.
_ONLY_IDLE: Final = (Reason.LONG_IDLE, Reason.NOT_NEEDED, Reason.REPLACED)
_ENDING: Final = (InstanceState.STOPPING, InstanceState.TERMINATING)


class Terminator:
    """Moves every termination of a pool on: `drain` and `terminate` do what can be done now.

    They may run side by side, so that a scheduler that does not answer keeps no stopped instance waiting.
    """

    def __init__(
        self,
        books: Books,
        provider: Provider,
        scheduler: Scheduler,
        *,
        max_instances: Callable[[], int],
        last_heard: Callable[[], Sequence[Agent]],
        clock: Clock,
        random: Random,
        save: Callable[[], Awaitable[None]],
        on_drain_due: Callable[[], None],
        on_release: Callable[[], None],
        on_answer: Callable[[], None],
        log: structlog.typing.FilteringBoundLogger,
    ) -> None:
        self._books = books
        self._provider = provider
        self._scheduler = scheduler
        self._max_instances = max_instances
        self._last_heard = last_heard
        self._clock = clock
        self._random = random
        self._save = save
        self._on_drain_due = on_drain_due
        self._on_release = on_release
        self._on_answer = on_answer
        self._log = log
        self._undrained: set[str] = set()
        self._released: dict[str, Sequence[Agent]] = {}
        self._forced: set[str] = set()
        self._force_again: set[str] = set()

    def force(self, instance_ids: Iterable[str]) -> None:
        """An operator wants these to end, whatever their agents are doing."""
        self._forced.update(instance_ids)

    def force_again(self, instance_ids: Iterable[str]) -> None:
        """An operator wanted these to end before this program began; it may have ended before it could ask."""
        self._force_again.update(instance_ids)

    @property
    def waits_for_listing(self) -> bool:
        """Whether something is to end as soon as it is known to be there."""
        return bool(self._force_again)

    async def drain(self) -> float | None:
        """Ask for agents, and give back those that are to stay. Seconds until asking again; None = not needed."""
        self._look_again()
        self._tell_called_off()
        cancelled = await self._cancel_drains()
        await self._drain(when_done=False)
        await self._drain(when_done=True)
        await self._save()
        draining = any(record.phase is Phase.DRAINING for record in self._books.terminations.values())
        return ASK_AGAIN if draining or not cancelled else None

    async def terminate(self) -> float | None:
        """Ask the provider to end what may be ended. Seconds until asking again; None = when something happens."""
        self._look_again()
        due = self._due(self._clock.now())
        for start in range(0, len(due), CHUNK):
            await self._terminate(due[start : start + CHUNK])
        await self._save()
        now = self._clock.now()
        waits = [wait for i in self._books.terminations if (wait := self._wait(i, now)) is not None]
        # What is due all the same is heard to be at work: the next pass, which wakes this step, will say more.
        return max(ASK_AGAIN if min(waits) <= 0 else 0.05, min(waits)) if waits else None

    async def _drain(self, *, when_done: bool) -> None:
        agents = {
            self._books.fleet.instances[self._books.fleet.rows[instance_id]].agent_name: instance_id
            for instance_id, record in self._books.terminations.items()
            if record.phase is Phase.DRAINING
            and (record.reason not in _ONLY_IDLE) is when_done
            and instance_id in self._books.fleet.rows
        }
        if not agents:
            return
        heard = self._books.fleet.agents
        try:
            async with asyncio.timeout(DRAIN_DEADLINE):
                answers = await self._scheduler.drain(list(agents), when_done=when_done)
        except Exception as error:  # noqa: BLE001 - an agent that cannot be asked for stays, and is asked for again
            self._drain_failed(list(agents.values()), describe(error, DRAIN_DEADLINE))
            return
        for name, instance_id in agents.items():
            answer = answers.get(name, DrainAnswer(DrainOutcome.REFUSED, "the scheduler did not say"))
            self._drained(instance_id, answer, heard)

    def _drain_failed(self, instance_ids: Sequence[str], error: str) -> None:
        for instance_id in instance_ids:
            record = self._books.terminations.get(instance_id)
            if record is not None and record.error != error:
                self._log.warning("cannot drain, trying again", id=instance_id, error=error)
                self._books.put_termination(instance_id, replace(record, error=error))

    def _drained(self, instance_id: str, answer: DrainAnswer, heard: Sequence[Agent]) -> None:
        """The scheduler has answered; `heard` are the agents as they were when it was asked."""
        record = self._books.terminations.get(instance_id)
        if record is None:
            return
        if answer.outcome is DrainOutcome.RELEASED:
            # The answer may be late, and one that had not joined yet may have been given work meanwhile.
            self._released[instance_id] = heard
            self._books.put_termination(instance_id, replace(record, phase=Phase.TERMINATING, error=""))
            self._on_release()
        elif answer.outcome is DrainOutcome.REFUSED:
            self._log.info("kept", id=instance_id, why=answer.detail, wanted=record.reason.value)
            self._books.keep_instance(instance_id, answer.detail or "the scheduler refused", self._clock.now())
        elif record.error != answer.detail:
            self._books.put_termination(instance_id, replace(record, error=answer.detail))

    def _look_again(self) -> None:
        """Call off what no longer has its reason."""
        fleet = self._books.fleet
        over = int(np.count_nonzero(fleet.counted)) > self._max_instances()
        self._released = {i: heard for i, heard in self._released.items() if i in self._books.terminations}
        for instance_id in [i for i in self._force_again if i in fleet.rows]:
            self._force_again.discard(instance_id)
            self._forced.add(instance_id)
            if instance_id not in self._books.terminations:
                record = TerminationRecord(Reason.OPERATOR, self._clock.now(), Phase.TERMINATING)
                self._books.put_termination(instance_id, record)
        self._forced &= self._books.terminations.keys()
        for instance_id, record in list(self._books.terminations.items()):
            row = fleet.rows.get(instance_id)
            if row is None:
                continue
            if record.reason in _WITHOUT_AGENT and self._has_agent(row):
                self._books.keep_instance(instance_id, "its agent has joined", self._clock.now())
            if record.reason is Reason.OVER_MAXIMUM and record.phase is Phase.DRAINING and not over:
                self._books.keep_instance(instance_id, "the pool is within its maximum again", self._clock.now())
            if record.reason is Reason.CONSOLIDATED and record.phase is Phase.DRAINING and self._is_late(record):
                self._books.keep_instance(instance_id, "its work was not moved in time", self._clock.now())

    def _is_late(self, record: TerminationRecord) -> bool:
        """Whether a scheduler that was to move work has not done so; what it held back gets tasks again."""
        return self._clock.now() > record.since + MOVE_PATIENCE

    def _has_agent(self, row: int) -> bool:
        # Whatever the listing says, which may lag; only one that is ending takes its agent with it. One that stops and
        # whose agent is at work has been started again since.
        state, agent = self._books.fleet.instances[row].state, int(self._books.fleet.agent[row])
        if state is InstanceState.STOPPING:
            return agent == BUSY_AGENT
        return agent != NO_AGENT and state is not InstanceState.TERMINATING

    def _tell_called_off(self) -> None:
        """One that looks for its drains by itself must not find those that nobody wants any more."""
        if isinstance(self._scheduler, ListsDrains):
            fleet, ending = self._books.fleet, self._books.terminations
            rows = [fleet.rows[instance_id] for instance_id in ending if instance_id in fleet.rows]
            self._scheduler.called_off([fleet.instances[row].agent_name for row in rows])

    async def _cancel_drains(self) -> bool:
        """Agents that drain for a termination that was called off, or forgotten in a crash, go back to work.

        False = they were not to be reached.
        """
        fleet = self._books.fleet
        draining = {
            agent.name
            for agent, row in zip(fleet.agents, fleet.agent_rows, strict=True)
            if agent.draining and row >= 0 and fleet.instances[row].id not in self._books.terminations
        }
        asked, self._undrained = self._undrained & draining, draining
        if not draining - asked:
            return True
        try:
            async with asyncio.timeout(DRAIN_DEADLINE):
                await self._scheduler.cancel_drain(sorted(draining - asked))
        except Exception as error:  # noqa: BLE001 - they stay without new tasks, and are asked for again
            self._undrained = asked
            self._log.warning("cannot cancel drains, trying again", error=describe(error, DRAIN_DEADLINE))
            return False
        return True

    def _due(self, now: float) -> list[str]:
        due = [i for i in self._books.terminations if (wait := self._wait(i, now)) is not None and wait <= 0]
        again = [instance_id for instance_id in due if self._must_drain_again(instance_id)]
        for instance_id in again:
            record = self._books.terminations[instance_id]
            self._books.put_termination(instance_id, replace(record, phase=Phase.DRAINING))
        if again:
            self._on_drain_due()
        due = [instance_id for instance_id in due if instance_id not in again]
        at_work = self._heard_at_work(due)
        return [instance_id for instance_id in due if instance_id not in at_work]

    def _heard_at_work(self, instance_ids: Sequence[str]) -> set[str]:
        """Those of which a view speaks that no pass has taken in yet, since a pass waits for the store, say."""
        fleet, heard = self._books.fleet, self._last_heard()
        if not instance_ids or heard is fleet.agents:
            return set()
        busy = {agent.name: not agent.idle for agent in heard}
        return {
            instance_id
            for instance_id in instance_ids
            if (name := fleet.instances[fleet.rows[instance_id]].agent_name) in busy
            and (busy[name] or self._books.terminations[instance_id].reason in _WITHOUT_AGENT)
            and instance_id not in self._forced
        }

    def _must_drain_again(self, instance_id: str) -> bool:
        """Whether its agent may be at work again: a call had no effect, or a restart has forgotten the drain."""
        fleet, reason = self._books.fleet, self._books.terminations[instance_id].reason
        if not reason.needs_drain or instance_id in self._forced:
            return False
        if instance_id not in self._released:
            return True
        # It had nothing to do when it was released; a view that came since says otherwise.
        busy = fleet.agent[fleet.rows[instance_id]] == BUSY_AGENT
        return bool(busy) and fleet.agents is not self._released[instance_id]

    def _wait(self, instance_id: str, now: float) -> float | None:
        """Seconds until this instance is to be terminated (again); None when it is not this step's turn."""
        record, row = self._books.terminations[instance_id], self._books.fleet.rows.get(instance_id)
        if record.phase is not Phase.TERMINATING or row is None:
            return None
        if record.attempts == 0:
            return 0.0
        if record.error:
            pause = retry_delay(ErrorKind.TRANSIENT, record.attempts, 0.5)
        elif self._books.fleet.instances[row].state in _ENDING:
            pause = 10 * STILL_LISTED
        else:
            pause = STILL_LISTED
        return record.last_attempt_at + pause - now

    async def _terminate(self, instance_ids: list[str]) -> None:
        now = self._clock.now()
        try:
            async with asyncio.timeout(TERMINATE_DEADLINE):
                failures = await self._provider.terminate(instance_ids)
        except Exception as error:  # noqa: BLE001 - the instances are still listed, so they are asked to end again
            text = describe(error, TERMINATE_DEADLINE)
            failures = dict.fromkeys(instance_ids, ProviderError(ErrorKind.TRANSIENT, text))
        for instance_id in instance_ids:
            self._asked(instance_id, failures, now)
        self._on_answer()

    def _asked(self, instance_id: str, failures: Mapping[str, ProviderError], now: float) -> None:
        self._released.pop(instance_id, None)
        record = self._books.terminations.get(instance_id)
        if record is None:
            return
        error = failures.get(instance_id)
        if error is None:
            self._books.told_to_end(instance_id, now)
        # A provider that no longer knows the instance has said what the next listing will show.
        text = "" if error is None or error.kind is ErrorKind.GONE else describe(error)
        if text:
            self._log.warning("cannot terminate, trying again", id=instance_id, error=text)
        else:
            self._log.info("terminating", id=instance_id, reason=record.reason.value)
        asked = TerminationRecord(record.reason, record.since, record.phase, record.attempts + 1, now, text)
        self._books.put_termination(instance_id, asked)
