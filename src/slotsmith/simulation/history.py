"""Tasks from a pool's own record: when each came, how long it ran and what it asked for, as far as views tell.

Views say how many tasks of each kind wait, and how many slots of each agent are in use, and name no task. So a task is
what enters a queue; it starts when it has left the queue and some agent has more in use than before, and ends when that
agent has less. Of tasks that are alike, the one that came first starts first and ends first. Work that no view has seen
waiting came when it was first seen. What came and went between two views is not known, nor is the rest of what still
runs at the end: that counts as ended then.
"""

from __future__ import annotations

import statistics
from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any, Final, NamedTuple

from slotsmith.model.offering import Offering
from slotsmith.model.resources import Resources
from slotsmith.schedulers.simulated.job import Job

_UNKNOWN_DURATION: Final = 600.0
"""Seconds for a task that has not started, where none has ended that could tell how long they run."""
_MOST_ALIKE: Final = 8


class Kind(NamedTuple):
    """What a task asks for in all."""

    slots: int
    cpus: float = 0.0
    mem_gib: float = 0.0
    spans: bool = False


@dataclass(frozen=True, slots=True)
class History:
    """The tasks of a record that is `seconds` long, `submit_s` counting from its start.

    `offerings` are those on offer at its end. `starting_s` is the median time from an instance's launch to its agent's
    first view, None when no instance has joined. `unseen`: the scheduler counts instances itself and tells no tasks.
    """

    jobs: tuple[Job, ...]
    seconds: float
    offerings: tuple[Offering, ...]
    starting_s: float | None
    unseen: bool


def history_of(cases: Sequence[Mapping[str, Any]]) -> History:
    """The history in the cases of `core.recording.fold`, which are not empty."""
    reader = _Reader(cases[0]["ticks"][0]["at"])
    for case in cases:
        for tick in case["ticks"]:
            reader.read(tick)
    jobs = sorted(reader.jobs(), key=lambda job: job.submit_s)
    starting = statistics.median(reader.starting) if reader.starting else None
    offerings = tuple(_offerings(cases[-1]["config"]))
    return History(tuple(jobs), reader.now, offerings, starting, reader.unseen)


def _offerings(config: Mapping[str, Any]) -> Iterable[Offering]:
    if "offerings" not in config:
        yield Offering("instance", _resources(config["capacity"]))
        return
    for told in config["offerings"]:
        names = {key: told[key] for key in ("zone", "market", "price") if key in told}
        yield Offering(told.get("type", "instance"), _resources(told["capacity"]), **names)


def _resources(told: Mapping[str, Any]) -> Resources:
    return Resources(told.get("slots", 0), told.get("cpus", 0.0), told.get("mem_gib", 0.0))


@dataclass(slots=True, eq=False)
class _Run:
    """A task that runs: `shares` are its slots on each agent, and `missing` those that no agent has shown yet."""

    kind: Kind
    submitted: float
    started: float
    missing: int
    shares: dict[str, int] = field(default_factory=dict)


class _Reader:
    def __init__(self, start: float) -> None:
        self.now = 0.0
        self.starting: list[float] = []
        self.unseen = False
        self._start = start
        self._waiting: dict[Kind, deque[float]] = {}
        self._running: dict[str, list[_Run]] = {}
        self._agents: set[str] = set()
        self._done: list[Job] = []
        self._durations: list[float] = []

    def read(self, tick: Mapping[str, Any]) -> None:
        """Take in the next view."""
        self.now = tick["at"] - self._start
        told = tick["scaling_info"]
        self.unseen |= told.get("desired_new") is not None
        agents = {agent["name"]: agent for agent in told["agents"]}
        self._joined(tick["instances"], agents)
        begun = self._left_the_queue(told.get("tasks", ()))
        for name in [name for name in self._running if name not in agents]:
            for run in list(self._running[name]):
                self._leave(run, name)
        rises = {name: _used(agent) - self._known(name) for name, agent in agents.items()}
        for run in [run for run in begun if run.kind.slots]:
            if self._place(run, rises):
                begun.remove(run)
        for name, agent in agents.items():
            self._settle(name, rises[name])
            self._settle_without_slots(name, agent.get("zero_slot_tasks", 0), begun)
        for run in begun:
            # It shows nowhere: it has ended already.
            self._note(run, self.now)

    def jobs(self) -> list[Job]:
        """All of them, once everything is read."""
        for run in {id(run): run for runs in self._running.values() for run in runs}.values():
            self._note(run, self.now)
        typical = statistics.median(self._durations) if self._durations else _UNKNOWN_DURATION
        for kind, times in self._waiting.items():
            for submitted in times:
                self._add(kind, submitted, typical)
        return self._done

    def _joined(self, instances: Iterable[Mapping[str, Any]], agents: Mapping[str, Any]) -> None:
        launched = {each["agent"]: each["launch"] - self._start for each in instances}
        for name in agents.keys() - self._agents:
            if launched.get(name, -1.0) >= 0.0:
                self.starting.append(self.now - launched[name])
        self._agents |= agents.keys()

    def _left_the_queue(self, tasks: Iterable[Mapping[str, Any]]) -> list[_Run]:
        """What waits no longer, the largest first."""
        counts: Counter[Kind] = Counter()
        for told in tasks:
            counts[_kind(told)] += told["count"]
        begun = []
        for kind in [*self._waiting, *(kind for kind in counts if kind not in self._waiting)]:
            queue = self._waiting.setdefault(kind, deque())
            queue.extend([self.now] * (counts[kind] - len(queue)))
            while len(queue) > counts[kind]:
                begun.append(_Run(kind, queue.popleft(), self.now, kind.slots))
        return sorted(begun, key=lambda run: -run.kind.slots)

    def _known(self, name: str) -> int:
        """The slots of what is known to run on an agent."""
        return sum(run.shares[name] for run in self._running.get(name, ()))

    def _place(self, run: _Run, rises: dict[str, int]) -> bool:
        """Put what has begun where so much more is in use; or where it shows less, since something else has ended."""
        slots = run.kind.slots
        if run.kind.spans:
            if sum(rise for rise in rises.values() if rise > 0) < slots:
                return self._take_over(run)
            for name, rise in rises.items():
                share = min(run.missing, rise)
                if share > 0:
                    self._put(run, name, share)
                    rises[name] -= share
            return True
        enough = [name for name, rise in rises.items() if rise >= slots]
        if enough:
            name = min(enough, key=rises.__getitem__)
            self._put(run, name, slots)
            rises[name] -= slots
            return True
        for name, rise in rises.items():
            ended = self._oldest(name, slots - rise)
            if ended is not None:
                self._leave(ended, name)
                self._put(run, name, slots)
                rises[name] = 0
                return True
        return False

    def _take_over(self, run: _Run) -> bool:
        """Put what spans where another of its size has ended at once."""
        running = {id(each): each for runs in self._running.values() for each in runs if each.started < self.now}
        same = [each for each in running.values() if sum(each.shares.values()) == run.kind.slots]
        if not same:
            return False
        ended = min(same, key=lambda each: each.started)
        for name, share in tuple(ended.shares.items()):
            self._leave(ended, name)
            self._put(run, name, share)
        return True

    def _oldest(self, name: str, share: int) -> _Run | None:
        """What has run longest on an agent with such a share of it; None = nothing has."""
        runs = (run for run in self._running.get(name, ()) if run.shares[name] == share and run.started < self.now)
        return min(runs, key=lambda run: run.started, default=None)

    def _settle(self, name: str, rise: int) -> None:
        """End what an agent shows no more; whatever is in use beyond what is known has begun unseen."""
        if rise < 0 and self._oldest(name, -rise) is None:
            self._exchange(name, -rise)
        while rise < 0:
            run = self._oldest(name, -rise) or next(run for run in self._running[name] if run.shares[name])
            rise += run.shares[name]
            self._leave(run, name)
        if rise:
            self._put(_Run(Kind(rise), self.now, self.now, rise), name, rise)

    def _exchange(self, name: str, share: int) -> None:
        """Tasks may have been taken for each other's: three slots are one task here, and two there."""
        taken = _by_sum(self._alone(name), name)
        for other in sorted(self._running.keys() - {name}):
            there = self._alone(other)
            ended = next((run for run in there if run.shares[other] == share), None)
            if ended is None:
                continue
            given = _by_sum([run for run in there if run is not ended], other)
            equal = next((left for left in given if left + share in taken), None)
            if equal is not None:
                self._move(taken[equal + share], name, other)
                self._move((ended, *given[equal]), other, name)
                return

    def _alone(self, name: str) -> list[_Run]:
        """What is on this agent and no other; more than a few of them nobody tells apart."""
        return [run for run in self._running[name] if len(run.shares) == 1][:_MOST_ALIKE]

    def _move(self, runs: Sequence[_Run], name: str, other: str) -> None:
        for run in runs:
            self._running[name].remove(run)
            run.shares[other] = run.shares.pop(name)
            self._running[other].append(run)

    def _settle_without_slots(self, name: str, count: int, begun: list[_Run]) -> None:
        here = [run for run in self._running.get(name, ()) if not run.shares[name]]
        for run in here[: max(0, len(here) - count)]:
            self._leave(run, name)
        for _ in range(count - len(here)):
            waited = next((run for run in begun if not run.kind.slots), None)
            if waited is not None:
                begun.remove(waited)
            self._put(waited or _Run(Kind(0), self.now, self.now, 0), name, 0)

    def _put(self, run: _Run, name: str, share: int) -> None:
        run.shares[name] = share
        run.missing -= share
        self._running.setdefault(name, []).append(run)

    def _leave(self, run: _Run, name: str) -> None:
        """It has ended on an agent; on all of them once it is on none."""
        del run.shares[name]
        self._running[name].remove(run)
        if not self._running[name]:
            del self._running[name]
        if not run.shares:
            self._note(run, self.now)
            self._durations.append(self.now - run.started)

    def _note(self, run: _Run, ended: float) -> None:
        self._add(run.kind, run.submitted, max(0.0, ended - run.started))

    def _add(self, kind: Kind, submitted: float, duration: float) -> None:
        resources = Resources(kind.slots, kind.cpus, kind.mem_gib)
        self._done.append(Job(f"task-{len(self._done) + 1}", submitted, duration, resources, kind.spans))


def _by_sum(runs: Sequence[_Run], name: str) -> dict[int, tuple[_Run, ...]]:
    """The fewest of these that have so many slots on an agent together, by that number."""
    found: dict[int, tuple[_Run, ...]] = {}
    for count in range(len(runs) + 1):
        for some in combinations(runs, count):
            found.setdefault(sum(run.shares[name] for run in some), some)
    return found


def _kind(told: Mapping[str, Any]) -> Kind:
    gang = told.get("gang", 1)
    amounts = (told.get("slots", 0), told.get("cpus", 0.0), told.get("mem_gib", 0.0))
    slots, cpus, mem_gib = (amount * gang for amount in amounts)
    return Kind(int(slots), cpus, mem_gib, bool(slots) and (gang > 1 or told.get("spans", False)))


def _used(agent: Mapping[str, Any]) -> int:
    """Slots in use; all of them where the scheduler only says that something runs."""
    if "used" in agent:
        return int(agent["used"].get("slots", 0))
    if agent["idle"] or agent.get("zero_slot_tasks"):
        return 0
    return int(agent.get("capacity", {}).get("slots", 1))
