"""Every set of rules between the reference's and the default ones.

The default rules differ from the reference by a number of separate changes. `Between` is a plain, slow decider in
which each of them can be switched on by its name: with none it must decide as the reference does, with all of them as
the default rules do. What lies between shows which change is behind a difference.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from slotsmith.core.replay import ReplayCase, ReplayTick, Told
from slotsmith.model.agent import Agent
from slotsmith.model.decision import Reason, StateSets, Termination
from slotsmith.model.instance import Instance, InstanceState
from slotsmith.model.policy import Policy

COUNTED = (InstanceState.PENDING_REQUEST, InstanceState.STARTING, InstanceState.RUNNING)


@dataclass(frozen=True)
class Seen:
    """What is remembered of one listed instance; the two timers may stand still.

    `down`: it was not up when its state could last be read.
    """

    instance: Instance
    first_seen: float
    launched_at: float
    down: bool = True
    joined: bool = False
    activity: int | None = None
    idle_since: float | None = None
    missing_since: float | None = None


@dataclass
class Found:
    """The ids by condition."""

    counted: set[str]
    pending: set[str]
    recent: set[str]
    stopped: set[str]
    never_joined: set[str]
    idle: dict[str, float]
    disconnected: dict[str, float]
    long_idle: set[str]
    long_disconnected: set[str]


NOT_UP = (InstanceState.PENDING_REQUEST, InstanceState.STOPPING, InstanceState.STOPPED)
"""From these, an instance that is up begins a new life, with a new launch time."""


class Between:
    """A decider with some of the changes; it is fed the ticks of one case."""

    def __init__(self, case: ReplayCase, changes: Iterable[str]) -> None:
        self.policy: Policy = case.policy
        self.changes = frozenset(changes)
        self.seen: dict[str, Seen] = {}
        self.agents: dict[str, Agent] = {}
        self.desired = 0
        self.heard = False

    def has(self, change: str) -> bool:
        return change in self.changes

    def tick(self, tick: ReplayTick) -> Told:
        if tick.info is not None:
            self.heard = True
            self.desired = tick.info.desired_new or 0
            self.agents = {agent.name: agent for agent in tick.info.agents}
        self.seen = {id_: self._look(id_, instance, tick.at) for id_, instance in self._listing(tick).items()}
        found = self._sort(tick)
        chosen = self._choose(found, tick)
        launch = self._launch(found, chosen, tick)
        if not self.has("W18"):
            for id_ in chosen:
                self.seen[id_] = replace(self.seen[id_], idle_since=None, missing_since=None)
        sets = StateSets(
            counted=tuple(sorted(found.counted)),
            pending=tuple(sorted(found.pending)),
            recently_launched=tuple(sorted(found.recent)),
            stopped=tuple(sorted(found.stopped)),
            idle=dict(sorted(found.idle.items())),
            disconnected=dict(sorted(found.disconnected.items())),
            long_idle=tuple(sorted(found.long_idle)),
            long_disconnected=tuple(sorted(found.long_disconnected)),
        )
        return Told(tick.at, launch, tuple(Termination(id_, reason) for id_, reason in chosen.items()), sets)

    def _blind(self, tick: ReplayTick) -> bool:
        return self.has("unheard") and (tick.blind or not self.heard)

    def _listing(self, tick: ReplayTick) -> dict[str, Instance]:
        """What is listed, by id; without W8 a listing of the old length, all of whose entries are known, is no news."""
        before = {id_: seen.instance for id_, seen in self.seen.items()}
        known = len(tick.instances) == len(before) and all(before.get(i.id) == i for i in tick.instances)
        return before if known and not self.has("W8") else {i.id: i for i in tick.instances}

    def _look(self, id_: str, instance: Instance, now: float) -> Seen:
        """Take in one listed instance, and run its timers."""
        launched_at = min(instance.launched_at, now) if self.has("W11") else instance.launched_at
        before = self.seen.get(id_, Seen(instance, now, launched_at))
        down = before.down if instance.state is InstanceState.UNKNOWN else instance.state in NOT_UP
        seen = replace(before, instance=instance, down=down)
        if before.down and instance.state in COUNTED[1:]:
            seen = replace(seen, launched_at=launched_at)
        if not self.has("W11"):
            seen = replace(seen, launched_at=instance.launched_at)
        if not self.heard and self.has("unheard"):
            return seen
        agent = self.agents.get(instance.agent_name)
        on = instance.state in COUNTED[1:]
        worked = agent is not None and seen.activity is not None and agent.activity != seen.activity
        idle_since = None if worked and self.has("W13") else seen.idle_since
        joined = seen.joined or (on and agent is not None)
        missing = on and agent is None and (self._past_starting(seen, now) or (joined and self.has("W12")))
        return replace(
            seen,
            joined=joined,
            activity=None if agent is None else agent.activity,
            idle_since=_run(idle_since, on and agent is not None and agent.idle, now),
            missing_since=_run(seen.missing_since, missing, now),
        )

    def _past_starting(self, seen: Seen, now: float) -> bool:
        return seen.launched_at + self.policy.max_agent_starting_period <= now

    def _is_down(self, instance: Instance) -> bool:
        agent = self.agents.get(instance.agent_name)
        at_work = self.has("W20") and agent is not None and not agent.idle
        return instance.state is InstanceState.STOPPED and not at_work

    def _sort(self, tick: ReplayTick) -> Found:
        draining = tick.draining if self.has("W20") else frozenset()
        strays = tick.strays if self.has("W49") else frozenset()
        ours = {id_: seen for id_, seen in self.seen.items() if id_ not in draining | strays}
        counted = {id_ for id_, seen in ours.items() if seen.instance.state in COUNTED}
        pending = {id_ for id_ in counted if ours[id_].instance.state is InstanceState.PENDING_REQUEST}
        if self.has("W26"):
            pending = {id_ for id_ in pending if ours[id_].instance.agent_name not in self.agents}
        silent = {id_ for id_ in counted - pending if ours[id_].instance.agent_name not in self.agents}
        gone: dict[str, float] = {}
        never_joined = set()
        for id_ in silent:
            seen = ours[id_]
            if seen.joined and self.has("W12"):
                gone[id_] = _since(seen.missing_since, tick.at)
            elif not self._past_starting(seen, tick.at):
                continue
            elif seen.joined or not self.has("W14"):
                gone[id_] = _since(seen.missing_since, tick.at)
            elif self._past_starting(seen, seen.first_seen):
                gone[id_] = seen.first_seen
            else:
                never_joined.add(id_)
        idle = {id_: seen.idle_since for id_, seen in ours.items() if id_ in counted and seen.idle_since is not None}
        found = Found(
            counted=counted,
            pending=pending,
            recent=pending | (silent - gone.keys() - never_joined),
            stopped={id_ for id_, seen in ours.items() if self._is_down(seen.instance)},
            never_joined=never_joined,
            idle=idle,
            disconnected=gone,
            long_idle={id_ for id_ in idle if tick.at > idle[id_] + self.policy.max_idle_agent_period},
            long_disconnected={id_ for id_ in gone if tick.at > gone[id_] + self.policy.max_agent_disconnect_period},
        )
        if self._blind(tick):
            found.never_joined, found.long_idle, found.long_disconnected = set(), set(), set()
            found.disconnected = {}
        return found

    def _choose(self, found: Found, tick: ReplayTick) -> dict[str, Reason]:
        policy = self.policy
        kept = tick.kept if self.has("W20") else frozenset()
        chosen = dict.fromkeys(found.stopped - kept, Reason.STOPPED)
        chosen |= dict.fromkeys(found.long_disconnected, Reason.LONG_DISCONNECTED)
        chosen |= dict.fromkeys(found.never_joined, Reason.NEVER_JOINED)
        # How many stopped ones are taken off a number in which they never were.
        ghosts = 0 if self.has("W17") else len(found.stopped)
        working = found.counted - (self._silent(found) if self.has("W23") else chosen.keys())
        spare = len(working) - ghosts - policy.min_instances
        long_idle = self._oldest(found.long_idle - kept, found.idle)
        chosen |= dict.fromkeys(long_idle[: max(0, spare)], Reason.LONG_IDLE)
        over = len(found.counted - chosen.keys()) - ghosts - policy.max_instances
        order = [id_ for id_ in self._over_maximum(found) if id_ not in chosen and id_ not in kept]
        chosen |= dict.fromkeys(list(dict.fromkeys(order))[: max(0, over)], Reason.OVER_MAXIMUM)
        if self.has("W26"):
            chosen |= dict.fromkeys(self._surplus(found, chosen, kept, tick), Reason.NOT_NEEDED)
        return chosen

    def _over_maximum(self, found: Found) -> list[str]:
        return [
            *self._oldest(found.pending, {}),
            *self._oldest(found.idle, found.idle),
            *self._oldest(found.disconnected, found.disconnected),
            *(self._newest(found.recent) if self.has("W21") else ()),
            *self._newest(found.counted),
        ]

    def _surplus(self, found: Found, chosen: dict[str, Reason], refused: frozenset[str], tick: ReplayTick) -> list[str]:
        """Pending requests beyond demand and the minimum, newest first; none while demand cannot be heard."""
        if self._blind(tick):
            return []
        in_flight = self._in_flight(tick)
        beyond_demand = len(found.recent - chosen.keys()) + in_flight - self.desired
        kept = found.counted - chosen.keys() - (self._silent(found) if self.has("W23") else set())
        beyond_minimum = len(kept) + in_flight - self.policy.min_instances
        pending = self._newest(found.pending - chosen.keys() - refused)
        return pending[: max(0, min(beyond_demand, beyond_minimum))]

    def _launch(self, found: Found, chosen: dict[str, Reason], tick: ReplayTick) -> int:
        leaving = chosen.keys() if self.has("W22") else set()
        in_flight = self._in_flight(tick)
        present = found.counted - leaving - (self._silent(found) if self.has("W23") else set())
        wanted = max(
            0 if self._blind(tick) else self.desired - len(found.recent - leaving) - in_flight,
            self.policy.min_instances - len(present) - in_flight,
        )
        filling = len(self.seen) if self.has("W9") else len(found.counted)
        allowed = self.policy.max_instances - filling - in_flight
        if self.has("W2") and tick.at < tick.launch_failures.next_attempt_at:
            allowed = 0
        in_a_row = tick.join_failures.failures + len(found.never_joined)
        if self.has("W4") and in_a_row >= 3:
            paused = found.never_joined or tick.at < tick.join_failures.retry_at
            allowed = min(allowed, 0 if paused else 1 - len(found.recent) - in_flight)
        return max(0, min(wanted, allowed))

    def _in_flight(self, tick: ReplayTick) -> int:
        return sum(launch.count for launch in tick.in_flight) if self.has("W24") else 0

    def _silent(self, found: Found) -> set[str]:
        return found.disconnected.keys() | found.never_joined

    def _oldest(self, ids: Iterable[str], since: dict[str, float]) -> list[str]:
        return sorted(ids, key=lambda id_: (since.get(id_, 0.0), self.seen[id_].launched_at, id_))

    def _newest(self, ids: Iterable[str]) -> list[str]:
        return sorted(ids, key=lambda id_: (-self.seen[id_].launched_at, id_))


def _run(since: float | None, condition: bool, now: float) -> float | None:
    """A timer that starts with its condition and is forgotten with it."""
    if not condition:
        return None
    return now if since is None else since


def _since(since: float | None, now: float) -> float:
    return now if since is None else since
