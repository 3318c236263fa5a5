"""A compact model of the reference: the agent provisioner of Determined AI, as of November 2023.

It exists so that both sets of rules can be run side by side (`replay --rules reference`), and so that parity with the
reference is shown by its own test cases. Everything here is pure: frozen values in and out, no clock. Names such as
W17 are the project's numbers for known weaknesses of the reference; where one is repeated here, that is on purpose.
Times are epoch seconds, periods are seconds.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from slotsmith.model.agent import Agent
from slotsmith.model.decision import Reason, StateSets, Termination
from slotsmith.model.instance import Instance, InstanceState
from slotsmith.model.policy import Policy
from slotsmith.model.record import StatisticsSpan
from slotsmith.model.scaling_info import ScalingInfo
from slotsmith.model.task import Group, TaskClass

# --- Demand ----------------------------------------------------------------------------------------------------------


def desired_new_agents(
    tasks: Iterable[TaskClass],
    groups: Iterable[Group] | None,
    slots_per_agent: int,
    max_zero_slot_tasks_per_agent: int,
) -> int:
    """How many new agents these pending tasks call for.

    Slots are summed and divided, not packed (W33), and slots that a group uses already do not count toward its
    maximum (W32). The reference knows no gangs: each member is a task. A task larger than an agent must be a
    multiple of it, any other is dropped without a word (W34). A group that is not given has no maximum.
    """
    slots_by_group: dict[str | None, int] = defaultdict(int)
    zero_slot_tasks = 0
    for task in tasks:
        slots, members = task.resources.slots, task.count * task.gang
        if slots == 0:
            zero_slot_tasks += members
        elif slots_per_agent and (slots <= slots_per_agent or slots % slots_per_agent == 0):
            slots_by_group[task.group] += slots * members
    limits = {group.id: group.max_slots for group in groups or ()}
    total = 0
    for group_id, slots in slots_by_group.items():
        limit = limits.get(group_id) if group_id is not None else None
        total += slots if limit is None else min(limit, slots)
    return max(_parts(zero_slot_tasks, max_zero_slot_tasks_per_agent), _parts(total, slots_per_agent))


def pool_scaling_info(info: ScalingInfo, slots_per_agent: int, max_zero_slot_tasks_per_agent: int) -> ScalingInfo:
    """What the reference's resource pool tells its provisioner: a number, and each agent's name and idleness.

    Two results are equal exactly when the reference would not send the second one. An agent is idle when it has
    neither a slot in use nor a task without slots; where the scheduler does not say what is used, its word counts.
    """
    idle = {agent.name: _is_idle(agent) for agent in info.agents}
    desired = info.desired_new
    if desired is None:
        desired = desired_new_agents(info.tasks, info.groups, slots_per_agent, max_zero_slot_tasks_per_agent)
    return ScalingInfo(agents=tuple(Agent(name, idle[name]) for name in sorted(idle)), desired_new=desired)


def _is_idle(agent: Agent) -> bool:
    if agent.used is None:
        return agent.idle
    return agent.used.slots == 0 and agent.zero_slot_tasks == 0


def _parts(amount: int, size: int) -> int:
    """How many parts of `size` hold `amount`; none when there is no size."""
    return -(-amount // size) if size else 0


# --- Scale decider ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Memory:
    """What the decider keeps between ticks: the last listing by id, what the pool last sent, and two kinds of timer.

    `agents` maps the name of each connected agent to whether it is idle; `idle` and `disconnected` map instance ids
    to the time since when they are so.
    """

    snapshot: Mapping[str, Instance] = field(default_factory=dict)
    desired: int = 0
    agents: Mapping[str, bool] = field(default_factory=dict)
    idle: Mapping[str, float] = field(default_factory=dict)
    disconnected: Mapping[str, float] = field(default_factory=dict)


NO_MEMORY = Memory()


@dataclass(frozen=True, slots=True)
class ReferenceTick:
    """What one tick of the decider came to.

    `changed`: the listing differs from the one before. `sets` are those of before the terminations, which is what
    both numbers were computed from (W22). `desired` is the number of new instances asked for before any limit.
    """

    launch: int
    terminations: tuple[Termination, ...]
    sets: StateSets
    desired: int
    changed: bool


def tick(
    memory: Memory, policy: Policy, now: float, listing: Sequence[Instance], info: ScalingInfo | None = None
) -> tuple[Memory, ReferenceTick]:
    """One tick: take in what is new, classify, choose what goes, count what is launched.

    `info` is one from `pool_scaling_info`; None = nothing new was sent.
    """
    if info is not None:
        memory, _ = update_scaling_info(memory, info)
    memory, changed = update_snapshot(memory, listing)
    sets = classify(memory, policy, now)
    terminations = choose_terminations(sets, _launch_times(memory), policy)
    chosen = {termination.id for termination in terminations}
    memory = replace(
        memory,
        # A chosen instance loses its timer at once, whatever becomes of its termination (W18).
        idle={id_: since for id_, since in sets.idle.items() if id_ not in chosen},
        disconnected={id_: since for id_, since in sets.disconnected.items() if id_ not in chosen},
    )
    launch = launch_count(memory.desired, len(sets.recently_launched), len(sets.counted), policy)
    return memory, ReferenceTick(launch, terminations, sets, memory.desired, changed)


def update_scaling_info(memory: Memory, info: ScalingInfo) -> tuple[Memory, bool]:
    """Take over what the pool sent (a number and agents), and say whether anything changed by it."""
    if info.desired_new is None:
        raise ValueError("scaling info has no number of new instances, expected one from pool_scaling_info")
    agents = {agent.name: agent.idle for agent in info.agents}
    changed = info.desired_new != memory.desired or agents != memory.agents
    return replace(memory, desired=info.desired_new, agents=agents), changed


def update_snapshot(memory: Memory, listing: Sequence[Instance]) -> tuple[Memory, bool]:
    """Take over a listing, and say whether it differs from the last one (always, when it holds an id twice: W8)."""
    changed = len(listing) != len(memory.snapshot) or any(
        not _same(instance, memory.snapshot.get(instance.id)) for instance in listing
    )
    return replace(memory, snapshot={instance.id: instance for instance in listing}) if changed else memory, changed


def _same(one: Instance, other: Instance | None) -> bool:
    """Whether two are equal in all that the reference knows of an instance: id, state, launch time, agent name."""
    return other is not None and one[:4] == other[:4]


def classify(memory: Memory, policy: Policy, now: float) -> StateSets:
    """Sort the listed instances into the state sets; timers go on only for those that have kept their condition."""
    pending, recent, stopped, counted = [], [], [], []
    idle: dict[str, float] = {}
    disconnected: dict[str, float] = {}
    for id_, instance in sorted(memory.snapshot.items()):
        if instance.state is InstanceState.STOPPED:
            stopped.append(id_)
        if instance.state not in _COUNTED:
            continue  # Stopping, terminating and unknown ones are in no set: neither counted nor ever terminated (W9).
        counted.append(id_)
        if instance.state is InstanceState.PENDING_REQUEST:
            pending.append(id_)
            recent.append(id_)
        elif instance.agent_name in memory.agents:
            if memory.agents[instance.agent_name]:
                idle[id_] = memory.idle.get(id_, now)
        elif instance.launched_at + policy.max_agent_starting_period > now:
            recent.append(id_)
        else:
            disconnected[id_] = memory.disconnected.get(id_, now)
    return StateSets(
        counted=tuple(counted),
        pending=tuple(pending),
        recently_launched=tuple(recent),
        stopped=tuple(stopped),
        idle=idle,
        disconnected=disconnected,
        long_idle=_longer_than(policy.max_idle_agent_period, idle, now),
        long_disconnected=_longer_than(policy.max_agent_disconnect_period, disconnected, now),
    )


_COUNTED = frozenset({InstanceState.PENDING_REQUEST, InstanceState.STARTING, InstanceState.RUNNING})


def _longer_than(period: float, since: Mapping[str, float], now: float) -> tuple[str, ...]:
    return tuple(id_ for id_, start in since.items() if now > start + period)


def choose_terminations(sets: StateSets, launched: Mapping[str, float], policy: Policy) -> tuple[Termination, ...]:
    """Which instances go, each with the reason of the rule that first chose it; `launched` maps ids to launch times.

    Where the reference leaves the order to chance (W16): longest idle or disconnected first, then by launch time,
    then by id.
    """
    chosen: dict[str, Reason] = {}

    def remaining() -> int:
        # Stopped ones were never counted and are subtracted all the same (W17).
        return len(sets.counted) - len(chosen)

    def oldest_first(ids: Iterable[str], since: Mapping[str, float]) -> list[str]:
        return sorted(ids, key=lambda id_: (since.get(id_, 0.0), launched.get(id_, 0.0), id_))

    for id_ in sets.stopped:
        chosen[id_] = Reason.STOPPED
    for id_ in oldest_first(sets.long_disconnected, sets.disconnected):
        chosen.setdefault(id_, Reason.LONG_DISCONNECTED)
    for id_ in oldest_first(sets.long_idle, sets.idle):
        if remaining() > policy.min_instances:
            chosen.setdefault(id_, Reason.LONG_IDLE)

    def over_maximum() -> Iterator[str]:
        yield from oldest_first(sets.pending, {})
        yield from oldest_first(sets.idle, sets.idle)
        yield from oldest_first(sets.disconnected, sets.disconnected)
        yield from sorted(sets.counted, key=lambda id_: (-launched.get(id_, 0.0), id_))

    for id_ in over_maximum():
        if remaining() <= policy.max_instances:
            break
        chosen.setdefault(id_, Reason.OVER_MAXIMUM)
    return tuple(Termination(id_, reason) for id_, reason in chosen.items())


def launch_count(desired: int, recently_launched: int, counted: int, policy: Policy) -> int:
    """How many instances to launch, with at least the minimum and at most the maximum in existence afterwards."""
    return max(0, clamp(desired - recently_launched, policy.min_instances - counted, policy.max_instances - counted))


def clamp(value: int, low: int, high: int) -> int:
    """`value`, or the nearer limit when it lies outside them.

    Raises:
        ValueError: `low` is above `high`.
    """
    if low > high:
        raise ValueError(f"the lower limit {low} is above the upper limit {high}")
    return min(max(value, low), high)


def _launch_times(memory: Memory) -> dict[str, float]:
    return {id_: instance.launched_at for id_, instance in memory.snapshot.items()}


def statistics_calls(
    sets: StateSets, pool: str, slots: int, now: float
) -> tuple[tuple[StatisticsSpan, ...], tuple[str, ...]]:
    """The database calls of a tick whose listing changed: spans to open for whatever is counted, ids to end.

    A disconnected instance is ended though it is still paid for (W27).
    """
    spans = tuple(StatisticsSpan(pool, id_, slots, now) for id_ in sets.counted)
    return spans, (*sets.disconnected, *sets.stopped)


# --- Launch error ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StickyError:
    """The last launch error, shown once more than `retries` launches in a row have failed.

    Each failure must come within `timeout` seconds of the one before, and the last one is shown for as long (up to
    and including that moment). A timeout of 0 or less: never shown.
    """

    timeout: float
    retries: int
    error: str | None = None
    failed_again: int = 0
    set_at: float | None = None

    def get(self, now: float) -> str | None:
        """The error in force now."""
        return None if self.failed_again < self.retries or self._expired(now) else self.error

    def set(self, now: float, error: str | None) -> tuple[StickyError, str | None]:
        """After a launch that gave `error` (None = it worked): the new value, and the error then in force."""
        failed_again = self.failed_again
        if error is None or self._expired(now):
            failed_again = 0
        elif self.error is not None:
            failed_again += 1
        after = replace(self, error=error, failed_again=failed_again, set_at=now)
        return after, after.get(now)

    def _expired(self, now: float) -> bool:
        return self.timeout <= 0 or self.set_at is None or now > self.set_at + self.timeout


# --- Provisioner -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ProvisionerTick:
    """What one tick of the whole provisioner did.

    `terminated` and `launched` are what the provider was asked for (nothing when empty, or 0). `decided` is None when
    the listing failed. `error` is what the launch returned: only an error in force, not one that may yet go away.
    """

    decided: ReferenceTick | None = None
    terminated: tuple[str, ...] = ()
    launched: int = 0
    error: str | None = None


def provision(
    memory: Memory,
    launch_error: StickyError,
    policy: Policy,
    now: float,
    listing: Sequence[Instance] | None,
    launch_answer: str | None = None,
) -> tuple[Memory, StickyError, ProvisionerTick]:
    """One tick against a provider that lists `listing` (None = it failed) and answers a launch with `launch_answer`.

    A failed listing ends the tick. While an error is in force the provider is not asked to launch.
    """
    if listing is None:
        return memory, launch_error, ProvisionerTick()
    memory, decided = tick(memory, policy, now, listing)
    terminated = tuple(termination.id for termination in decided.terminations)
    error = launch_error.get(now)
    if not decided.launch or error is not None:
        return memory, launch_error, ProvisionerTick(decided, terminated, 0, error if decided.launch else None)
    launch_error, error = launch_error.set(now, launch_answer)
    return memory, launch_error, ProvisionerTick(decided, terminated, decided.launch, error)
