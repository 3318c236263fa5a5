"""The instances of a pool with the clocks that a decision needs, in columns.

A listing of 100,000 instances is looked at on every pass, and nearly nothing in it changes. So what is known of an
instance lies in one row of several arrays, the decider works on whole columns, and a listing that differs little from
the last one only touches the rows that differ. Both ways of building give the same fleet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import repeat
from operator import itemgetter
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from slotsmith.model.agent import Agent
from slotsmith.model.instance import Instance, InstanceState
from slotsmith.model.record import InstanceRecord

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

STATES: Final = tuple(InstanceState)
STATE_CODE: Final[dict[InstanceState, int]] = {state: code for code, state in enumerate(STATES)}
_COUNTED: Final = (InstanceState.PENDING_REQUEST, InstanceState.STARTING, InstanceState.RUNNING)
_IS_COUNTED: Final[Mask] = np.array([state in _COUNTED for state in STATES])
_CAN_HAVE_AGENT: Final[Mask] = np.array([state in _COUNTED[1:] for state in STATES])
# A granted request, and one that was stopped and is started again (which listings may show before they show the stop).
_DOWN: Final = (_COUNTED[0], InstanceState.STOPPING, InstanceState.STOPPED)
_NOT_UP_YET: Final[Mask] = np.array([state in _DOWN for state in STATES])
_UNREAD: Final = STATE_CODE[InstanceState.UNKNOWN]

_IDLE: Final = Agent._fields.index("idle")
_ACTIVITY: Final = Agent._fields.index("activity")
_RECLAIMED: Final = Instance._fields.index("reclaimed")

# What stands for an activity that nobody has told: that of a record from before it was kept.
_NOT_TOLD: Final = int(np.iinfo(np.int64).min)

NO_AGENT: Final = 0
BUSY_AGENT: Final = 1
IDLE_AGENT: Final = 2

# Equal stretches of two listings are skipped a block at a time; a block is what one comparison in C handles.
_BLOCK: Final = 16
# More changes than this in each block, on average from the first few blocks on, are not few.
_FEW: Final = 4


@dataclass(frozen=True, slots=True, eq=False)
class Fleet:
    """Everything listed, each instance one row, in the order of the listing.

    `agent_rows` has, for each of `agents`, the row of its instance, -1 where there is none. Times are epoch seconds,
    NaN where the clock does not run. `launched_at` is never in the future (a cloud's clock may be ahead of ours) and is
    the time of the launch intent where that is known. `reclaimed`: the provider takes it away soon. `down`: whether it
    was not up yet, or no more, when its state could last be read. `activity` is what its agent last told, also before
    this run. `first_seen`: when it came into the books, which for one that we launched is when it was asked for.
    `joined_at`: when its agent was first seen. `idle_since`: since when its agent has been connected and idle.
    `missing_since`: since when the agent of an instance that has joined has been missing. `settled`: the clocks are in
    step with the other columns; not so in a fleet from the books, or while the scheduler has not been heard.
    `shared_agents`: several instances have the same agent.
    """

    instances: tuple[Instance, ...]
    agents: tuple[Agent, ...]
    rows: Mapping[str, int]
    agent_rows: NDArray[np.int64]
    state: NDArray[np.uint8]
    reclaimed: Mask
    down: Mask
    agent: NDArray[np.uint8]
    activity: NDArray[np.int64]
    launched_at: Floats
    first_seen: Floats
    joined_at: Floats
    idle_since: Floats
    missing_since: Floats
    settled: bool = True
    shared_agents: bool = False

    def __len__(self) -> int:
        return len(self.instances)

    @property
    def counted(self) -> Mask:
        """Pending requests, starting and running instances."""
        mask: Mask = _IS_COUNTED[self.state]
        return mask

    @property
    def joined(self) -> Mask:
        """The rows whose agent was connected once."""
        mask: Mask = np.isfinite(self.joined_at)
        return mask

    @property
    def can_have_agent(self) -> Mask:
        """Starting and running instances."""
        mask: Mask = _CAN_HAVE_AGENT[self.state]
        return mask

    def is_in(self, state: InstanceState) -> Mask:
        """The rows in one state."""
        mask: Mask = self.state == STATE_CODE[state]
        return mask

    def mask(self, ids: Iterable[str]) -> Mask:
        """The rows of these ids; ids that are not listed are ignored."""
        result = np.zeros(len(self), dtype=np.bool_)
        for instance_id in ids:
            row = self.rows.get(instance_id)
            if row is not None:
                result[row] = True
        return result

    def ids(self, mask: Mask) -> list[str]:
        """The ids of the rows in the mask, in the order of the listing."""
        return [self.instances[row].id for row in np.flatnonzero(mask)]

    def activity_of(self, row: int) -> int | None:
        """What the agent of a row told when its idle clock began; None when that does not run, or was not kept."""
        told = int(self.activity[row])
        return None if told == _NOT_TOLD or np.isnan(self.idle_since[row]) else told

    def clocks(self, mask: Mask, since: Floats) -> dict[str, float]:
        """Id -> clock for the rows in the mask, sorted by id."""
        return dict(sorted((self.instances[row].id, float(since[row])) for row in np.flatnonzero(mask)))


def _empty() -> Fleet:
    codes, counts, clocks = np.zeros(0, np.uint8), np.zeros(0, np.int64), np.zeros(0)
    none = np.zeros(0, np.bool_)
    return Fleet((), (), {}, counts, codes, none, none, codes, counts, clocks, clocks, clocks, clocks, clocks)


EMPTY_FLEET: Final = _empty()


def restore(records: Sequence[InstanceRecord]) -> Fleet:
    """The fleet as the books left it: clocks go on, agents are not known until a view comes."""
    fleet = _rebuild(EMPTY_FLEET, tuple(record.instance for record in records), None, {}, now=0.0)

    def column(pick: Callable[[InstanceRecord], float | None]) -> Floats:
        return np.array([np.nan if (value := pick(record)) is None else value for record in records], np.float64)

    joined_at = column(lambda record: record.joined_at)
    activity = [_NOT_TOLD if record.activity is None else record.activity for record in records]
    return replace(
        fleet,
        # What it was before it could not be read is not on record: one that has joined was up.
        down=np.where(fleet.state == _UNREAD, np.isnan(joined_at), fleet.down),
        activity=np.array(activity, np.int64),
        launched_at=column(lambda record: record.instance.launched_at),
        first_seen=column(lambda record: record.first_seen),
        joined_at=joined_at,
        idle_since=column(lambda record: record.idle_since),
        missing_since=column(lambda record: record.missing_since),
    )


def changed_rows(before: Fleet, after: Fleet) -> list[int]:
    """The rows of `after` that are new or of which something differs from `before` that is kept on record."""
    if after is before:
        return []
    if after.rows is before.rows:
        same = np.ones(len(after), np.bool_)
        rows: NDArray[np.int64] | slice = slice(None)
    else:
        rows = np.fromiter(map(before.rows.get, after.rows, repeat(-1)), np.int64, len(after))
        same = rows >= 0
        if not len(before):
            return list(range(len(after)))
    same = same & (before.state[rows] == after.state)
    for old, new in (
        (before.joined_at, after.joined_at),
        (before.idle_since, after.idle_since),
        (before.missing_since, after.missing_since),
    ):
        if old is not new or after.rows is not before.rows:
            # As bits: a clock that does not run is like another.
            same &= old[rows].view(np.int64) == new.view(np.int64)
    # An activity matters to an idle clock, which a change begins anew; here it was not known before.
    same &= (before.activity[rows] == after.activity) | np.isnan(after.idle_since)
    changed: list[int] = (~same).nonzero()[0].tolist()
    return changed


def observe(
    previous: Fleet,
    listing: Sequence[Instance],
    agents: Sequence[Agent] | None,
    now: float,
    launched_within: Mapping[str, tuple[float, float]] | None = None,
) -> Fleet:
    """Carry the fleet forward to a new listing and a new view of the agents.

    `agents` is None while the scheduler has said nothing: then the agents' clocks stand still. `launched_within`
    gives, by token, the earliest and the latest time at which instances can have been launched by our own clock, which
    is better than the cloud's. An id that comes twice counts once, as it comes last.
    """
    listing = tuple(listing)
    agents = None if agents is None else tuple(agents)
    if agents is not None and len(agents) == len(previous.agents) and not previous.shared_agents:
        listed = changed_positions(previous.instances, listing)
        heard = None if listed is None else changed_positions(previous.agents, agents)
        if listed is not None and heard is not None and not _reborn(previous, listing, listed):
            return _update(previous, listing, agents, listed, heard, now)
    return _rebuild(previous, listing, agents, launched_within or {}, now)


def _reborn(previous: Fleet, listing: tuple[Instance, ...], rows: list[int]) -> bool:
    """Whether one of these rows has another agent's name than before, or begins its life with this listing."""
    return any(
        previous.instances[row].agent_name != listing[row].agent_name
        or (previous.down[row] and _CAN_HAVE_AGENT[STATE_CODE[listing[row].state]])
        for row in rows
    )


def changed_positions(old: tuple[Any, ...], new: tuple[Any, ...]) -> list[int] | None:
    """The positions at which two sequences of tuples differ.

    None when a position holds another name than before, or when so much differs that looking at each is no gain.
    """
    if old is new:
        return []
    if len(old) != len(new):
        return None
    changed: list[int] = []
    for start in range(0, len(new), _BLOCK):
        before, after = old[start : start + _BLOCK], new[start : start + _BLOCK]
        if before == after:
            continue
        changed += [
            row
            for row, (one, other) in enumerate(zip(before, after, strict=True), start)
            if one is not other and one != other
        ]
        if len(changed) > _FEW * (start // _BLOCK + 16):
            return None
    return None if any(old[row][0] != new[row][0] for row in changed) else changed


def _update(
    previous: Fleet,
    listing: tuple[Instance, ...],
    agents: tuple[Agent, ...],
    listed: list[int],
    heard: list[int],
    now: float,
) -> Fleet:
    """The same instances and agents in the same places, a few of them changed."""
    state, down, agent, activity = previous.state, previous.down, previous.agent, previous.activity
    reclaimed = previous.reclaimed
    if listed:
        state, down, reclaimed = state.copy(), down.copy(), reclaimed.copy()
        for row in listed:
            reclaimed[row] = listing[row].reclaimed
            state[row] = code = STATE_CODE[listing[row].state]
            down[row] = down[row] if code == _UNREAD else _NOT_UP_YET[code]
    if heard:
        agent, activity = agent.copy(), activity.copy()
        for position in heard:
            row = previous.agent_rows[position]
            if row >= 0:
                agent[row] = IDLE_AGENT if agents[position].idle else BUSY_AGENT
                activity[row] = agents[position].activity
    carried = replace(
        previous, instances=listing, agents=agents, state=state, reclaimed=reclaimed, down=down, agent=agent
    )
    if not listed and not heard and previous.settled:
        return carried
    return _run_clocks(carried, previous, activity, now)


def _rebuild(
    previous: Fleet,
    listing: tuple[Instance, ...],
    agents: tuple[Agent, ...] | None,
    launched_within: Mapping[str, tuple[float, float]],
    now: float,
) -> Fleet:
    """Build all columns anew, and take over by id what is remembered."""
    size = len(listing)
    ids, names = list(map(itemgetter(0), listing)), list(map(itemgetter(3), listing))
    if ids == list(previous.rows) and names == list(map(itemgetter(3), previous.instances)):
        rows: Mapping[str, int] = previous.rows
        before = np.arange(size)
    else:
        rows = dict(zip(ids, range(size), strict=True))
        before = np.fromiter(map(previous.rows.get, ids, repeat(-1)), np.int64, size)
    if len(rows) < size:
        once = tuple(listing[row] for row in sorted(rows.values()))
        return _rebuild(previous, once, agents, launched_within, now)
    known = before >= 0
    rows_by_agent = rows if names == ids else dict(zip(names, range(size), strict=True))
    heard, agent_rows = _agent_rows(previous, previous.agents if agents is None else agents, rows, rows_by_agent)
    agent, activity = _agent_columns(heard, agent_rows, size)
    shared = len(rows_by_agent) < size
    if shared:
        # An agent's row is the last of those that name it; the others show what that one shows.
        last_named = np.fromiter(map(rows_by_agent.__getitem__, names), np.int64, size)
        agent, activity = agent[last_named], activity[last_named]

    def carry(column: NDArray[Any], otherwise: NDArray[Any]) -> NDArray[Any]:
        return np.where(known, column[before], otherwise) if len(previous) else otherwise

    never = np.full(size, np.nan)
    earliest, latest = np.full(size, -np.inf), np.full(size, now)
    if launched_within:
        for row in np.flatnonzero(~known):
            begin, end = launched_within.get(listing[row].token, (-np.inf, now))
            earliest[row], latest[row] = begin, min(end, now)
    state = np.fromiter(map(STATE_CODE.__getitem__, map(itemgetter(1), listing)), np.uint8, size)
    told = np.fromiter(map(itemgetter(2), listing), np.float64, size)
    # A request may be fulfilled long after its launch was answered, so only what cannot be is put right.
    launched_at = np.where(told > now, latest, np.maximum(told, earliest))
    kept_launched_at = carry(previous.launched_at, launched_at)
    # A second life does not begin before the first: then the cloud's clock is wrong, and ours must do.
    begun_anew = np.where(known & (told < kept_launched_at), now, launched_at)
    # Nobody has seen yet what is new and cannot be read at work.
    down = np.where(state == _UNREAD, carry(previous.down, np.ones(size, np.bool_)), _NOT_UP_YET[state])
    starts_anew = carry(previous.down, np.zeros(size, np.bool_)) & _CAN_HAVE_AGENT[state]
    carried = Fleet(
        instances=listing,
        agents=heard,
        rows=rows,
        agent_rows=agent_rows,
        state=state,
        reclaimed=np.fromiter(map(itemgetter(_RECLAIMED), listing), np.bool_, size),
        down=down,
        agent=agent,
        activity=carry(previous.activity, activity) if agents is None else activity,
        launched_at=np.where(starts_anew, begun_anew, kept_launched_at),
        first_seen=carry(previous.first_seen, np.where(np.isfinite(earliest), launched_at, now)),
        joined_at=carry(previous.joined_at, never),
        idle_since=carry(previous.idle_since, never),
        missing_since=carry(previous.missing_since, never),
        settled=False,
        shared_agents=shared,
    )
    if agents is None:
        return carried
    # What the rows showed last time, in the new order: an unknown row showed no agent.
    last = replace(
        carried,
        agent=carry(previous.agent, np.zeros(size, np.uint8)),
        activity=carry(previous.activity, activity),
    )
    return _run_clocks(carried, last, activity, now)


def _agent_rows(
    previous: Fleet, agents: tuple[Agent, ...], rows: Mapping[str, int], rows_by_agent: Mapping[str, int]
) -> tuple[tuple[Agent, ...], NDArray[np.int64]]:
    """The agents, each once (the last of two with one name stands), and the row of each."""
    names = list(map(itemgetter(0), agents))
    if rows is previous.rows and names == list(map(itemgetter(0), previous.agents)):
        return agents, previous.agent_rows
    if len(set(names)) < len(names):
        once = tuple({agent.name: agent for agent in agents}.values())
        return _agent_rows(previous, once, rows, rows_by_agent)
    return agents, np.fromiter(map(rows_by_agent.get, names, repeat(-1)), np.int64, len(names))


def _agent_columns(
    agents: tuple[Agent, ...], agent_rows: NDArray[np.int64], size: int
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """What each row's agent is doing, and its activity."""
    idle = np.fromiter(map(itemgetter(_IDLE), agents), np.bool_, len(agents))
    worked = np.fromiter(map(itemgetter(_ACTIVITY), agents), np.int64, len(agents))
    ours = agent_rows >= 0
    agent, activity = np.zeros(size, np.uint8), np.zeros(size, np.int64)
    agent[agent_rows[ours]] = np.where(idle[ours], IDLE_AGENT, BUSY_AGENT)
    activity[agent_rows[ours]] = worked[ours]
    return agent, activity


def _run_clocks(fleet: Fleet, last: Fleet, activity: NDArray[np.int64], now: float) -> Fleet:
    """Start, keep or stop each row's clocks by what the row shows now; `last` is what the rows showed before."""
    can_join, joined = fleet.can_have_agent, fleet.joined
    connected = can_join & (fleet.agent != NO_AGENT)
    fresh = connected & ~joined
    idle = connected & (fleet.agent == IDLE_AGENT)
    missing, was_missing = can_join & joined & ~connected, np.isfinite(fleet.missing_since)
    # A clock that runs has an activity that it began with; what was done while nobody looked shows in it too.
    worked = (last.activity != activity) & (last.activity != _NOT_TOLD)
    keeps_idle = idle & np.isfinite(fleet.idle_since) & ~worked
    # A column in which nothing changes stays the same object, so that this shows at a glance.
    joined_at, missing_since = fleet.joined_at, fleet.missing_since
    if fresh.any():
        joined_at = np.where(fresh, now, joined_at)
    if (missing != was_missing).any():
        missing_since = np.where(missing, np.where(was_missing, missing_since, now), np.nan)
    return replace(
        fleet,
        activity=activity,
        joined_at=joined_at,
        idle_since=np.where(keeps_idle, fleet.idle_since, np.where(idle, now, np.nan)),
        missing_since=missing_since,
        settled=True,
    )
