"""The file format of `replay`: what a pool was shown, tick by tick, as JSON.

    {"cases": [{"name": "...",
                "config": {"max_idle": 300, "max_starting": 600, "max_disconnect": 600, "min": 0, "max": 8,
                           "slots_per_instance": 4},
                "ticks": [{"at": 5,
                           "instances": [{"id": "i1", "launch": -60, "agent": "i1", "state": "running"}],
                           "scaling_info": {"desired_new": 1, "agents": [{"name": "i1", "idle": true}]},
                           "in_flight": [{"token": "t1", "count": 1, "at": 0}],
                           "draining": ["i1"]}]}]}

All times and periods are seconds. A launch time of null is one before all others. Demand is either `desired_new` or
`tasks` (with `groups`); a tick without `scaling_info` keeps the last, everything else is said anew in each tick.
`in_flight` may also be a plain number. Instead of `slots_per_instance`, `offerings` may list what the pool can launch,
each as `{"type": "a", "zone": "", "market": "on-demand", "price": 1.0, "capacity": {"slots": 4}}`. An instance with
`"reclaimed": true` is one that the cloud takes away soon. What else a pass of the default rules was decided from may be
there too: `strays`, `kept`, `blind`, `launch_failures` (of the first offering), `others` (those of other offerings, by
name), `shortages`, `join_failures`, `promised`, `moves` and `spent_this_month`, as in `View`. Keys that say what was
expected, or anything else that is not read here, are ignored, unless they look like a key that is.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final, TypeVar

from slotsmith.core.replay_moves import consolidation, moves
from slotsmith.core.replay_node import LONGEST_VALUE, Node, ReplayError
from slotsmith.core.view import NO_MOVES, Moves
from slotsmith.model.agent import Agent
from slotsmith.model.decision import Held, Promise
from slotsmith.model.instance import Instance, InstanceState
from slotsmith.model.launch import InFlight
from slotsmith.model.launch_error import (
    NO_JOIN_FAILURES,
    NO_LAUNCH_FAILURES,
    ErrorKind,
    JoinFailures,
    LaunchFailures,
)
from slotsmith.model.offering import Offering, Shortage
from slotsmith.model.policy import LEARNED, Policy
from slotsmith.model.resources import Resources
from slotsmith.model.scaling_info import ScalingInfo
from slotsmith.model.task import ANYWHERE, Constraints, Group, TaskClass
from slotsmith.text import one_line, quoted, suggestion

T = TypeVar("T")

__all__ = ["Cases", "ReplayCase", "ReplayError", "ReplayTick", "load_cases", "parse_cases"]


@dataclass(frozen=True, slots=True)
class ReplayTick:
    """What was seen at one time. `info` is None when nothing new was heard; the rest is as in `View`."""

    at: float
    instances: tuple[Instance, ...]
    info: ScalingInfo | None = None
    in_flight: tuple[InFlight, ...] = ()
    draining: frozenset[str] = frozenset()
    strays: frozenset[str] = frozenset()
    kept: frozenset[str] = frozenset()
    launch_failures: LaunchFailures = NO_LAUNCH_FAILURES
    join_failures: JoinFailures = NO_JOIN_FAILURES
    blind: bool = False
    others: Mapping[str, LaunchFailures] = field(default_factory=dict)
    shortages: Mapping[str, Shortage] = field(default_factory=dict)
    promised: Mapping[str, tuple[Promise, ...]] = field(default_factory=dict)
    spent_this_month: float = 0.0
    in_force: Mapping[str, Any] = field(default_factory=dict)
    moves: Moves = NO_MOVES


@dataclass(frozen=True, slots=True)
class ReplayCase:
    """One pool over some time: `offering` is what it launches, `others` what else it may launch."""

    name: str
    policy: Policy
    offering: Offering
    ticks: tuple[ReplayTick, ...]
    others: tuple[Offering, ...] = ()


Cases = tuple[ReplayCase, ...]

# Year 1, which is what the reference's vectors mean by no launch time.
_ZERO_DATE: Final = -62135596800.0

_STATES: Final = {state.value: state for state in InstanceState} | {
    "SpotRequestPendingAWS": InstanceState.PENDING_REQUEST,
    "Starting": InstanceState.STARTING,
    "Running": InstanceState.RUNNING,
    "Stopping": InstanceState.STOPPING,
    "Stopped": InstanceState.STOPPED,
    "Terminating": InstanceState.TERMINATING,
    "Unknown": InstanceState.UNKNOWN,
}
_SHORT_KEYS: Final = {
    "min": "min_instances",
    "max": "max_instances",
    "max_idle": "max_idle_agent_period",
    "max_starting": "max_agent_starting_period",
    "max_disconnect": "max_agent_disconnect_period",
}
_WHOLE_KEYS: Final = (
    "min_instances",
    "max_instances",
    "launch_error_retries",
    "max_zero_slot_tasks_per_agent",
    "max_slots",
    "headroom_slots",
)
_POLICY_KEYS: Final = tuple(field.name for field in fields(Policy) if field.name != "foresight")


def load_cases(path: Path | str) -> Cases:
    """The cases of a file.

    Raises:
        ReplayError: the file cannot be read, is not JSON (the text names line and column), or says what makes no sense.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ReplayError(f"{path}: not UTF-8 text (byte {error.start})") from error
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ReplayError(f"{path}: cannot be read: {reason}") from error
    try:
        return parse_cases(json.loads(text))
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        cut = error.pos >= len(text.rstrip()) or error.msg.startswith("Unterminated string")
        problem = "the file ends too early" if cut else error.msg
        raise ReplayError(f"{path}: not JSON: {where}: {problem}") from error
    except RecursionError as error:
        raise ReplayError(f"{path}: not a replay file: nested too deeply") from error
    except ValueError as error:  # a whole number with more digits than Python reads
        raise ReplayError(f"{path}: not JSON that can be read: {error}") from error
    except ReplayError as error:
        raise ReplayError(f"{path}: {error}") from error


def parse_cases(data: Any) -> Cases:
    """The cases of a JSON document that has been read already.

    Raises:
        ReplayError: it is not of the form described above.
    """
    cases = Node(data, "").need("cases")
    return tuple(_case(node, number) for number, node in enumerate(cases.elements(), start=1))


def _case(node: Node, number: int) -> ReplayCase:
    name = node.optional("name", Node.text, f"case {number}")
    node = Node(node.value, f'case {number} ("{one_line(name, LONGEST_VALUE)}")', ", ")
    node.check_keys(("name", "config", "ticks"))
    config = node.optional("config", lambda found: found, Node({}, node.where))
    policy, (offering, *others) = _policy(config), _offerings(config)
    ticks: list[ReplayTick] = []
    for position, tick in enumerate(node.need("ticks").elements(), start=1):
        at = Node(tick.value, f"{node.where}, tick {position}", ", ")
        ticks.append(_tick(at, offering))
        if position > 1 and ticks[-1].at < ticks[-2].at:
            raise at.need("at").wrong(f"is {ticks[-1].at:g}, earlier than the {ticks[-2].at:g} of the tick before")
    return ReplayCase(name, policy, offering, tuple(ticks), tuple(others))


def _policy(config: Node) -> Policy:
    known = (*_SHORT_KEYS, *_POLICY_KEYS, "slots_per_instance", "capacity", "offerings")
    for key in config.mapping():
        if key not in known:
            raise config.wrong(f"unknown key {quoted(key)}{suggestion(key, known)}")
    values: dict[str, Any] = {}
    for key in (*_SHORT_KEYS, *_POLICY_KEYS):
        node, name = config.get(key), _SHORT_KEYS.get(key, key)
        if node is None:
            continue
        if name in values:
            raise config.wrong(f"has {name} under two names")
        if name == "consolidation":
            values[name] = consolidation(node)
        elif name == "group_priorities":
            values[name] = tuple((group, node.need(group).whole()) for group in sorted(node.mapping()))
        else:
            values[name] = node.whole() if name in _WHOLE_KEYS else node.number(low=0)
    policy = Policy(**values)
    if policy.min_instances > policy.max_instances:
        raise config.wrong(f"the minimum {policy.min_instances} is above the maximum {policy.max_instances}")
    return policy


def _offerings(config: Node) -> tuple[Offering, ...]:
    slots, capacity, offerings = config.get("slots_per_instance"), config.get("capacity"), config.get("offerings")
    if slots is not None and capacity is not None:
        raise config.wrong("has both slots_per_instance and capacity, expected one of them")
    if offerings is not None:
        if slots is not None or capacity is not None:
            raise config.wrong("has both offerings and what an instance is, expected one of them")
        found = config.each("offerings", _offering)
        if not found:
            raise offerings.expected("at least one offering")
        if len(found) > 1 and not all(each.price for each in found):
            raise offerings.expected("a price of more than 0 for each of several offerings")
        if len({each.name for each in found}) < len(found):
            raise offerings.expected("each type, zone and market once")
        return found
    if capacity is not None:
        return (Offering("instance", _resources(capacity)),)
    return (Offering("instance", Resources(slots=1 if slots is None else slots.whole())),)


def _offering(node: Node) -> Offering:
    node.check_keys(("type", "zone", "market", "price", "capacity"))
    return Offering(
        node.need("type").text(),
        _resources(node.need("capacity")),
        node.optional("zone", Node.text, ""),
        node.optional("market", Node.text, "on-demand"),
        node.optional("price", lambda found: found.number(low=0), None),
    )


def _tick(node: Node, offering: Offering) -> ReplayTick:
    node.check_keys(tuple(field.name for field in fields(ReplayTick)), also=("scaling_info", "expect"))
    at = node.need("at").number()
    in_flight = node.get("in_flight")
    return ReplayTick(
        at=at,
        instances=tuple(_instance(element) for element in node.need("instances").elements()),
        info=node.optional("scaling_info", _scaling_info, None),
        in_flight=() if in_flight is None else _in_flight(in_flight, offering, at),
        draining=frozenset(node.each("draining", Node.text)),
        strays=frozenset(node.each("strays", Node.text)),
        kept=frozenset(node.each("kept", Node.text)),
        launch_failures=node.optional("launch_failures", _launch_failures, NO_LAUNCH_FAILURES),
        join_failures=node.optional("join_failures", _join_failures, NO_JOIN_FAILURES),
        blind=node.optional("blind", Node.flag, False),
        others=_by_name(node, "others", _launch_failures),
        shortages=_by_name(node, "shortages", _shortage),
        promised=_by_name(node, "promised", _promises),
        spent_this_month=node.optional("spent_this_month", _amount, 0.0),
        in_force=node.optional("in_force", _in_force, {}),
        moves=node.optional("moves", moves, NO_MOVES),
    )


def _in_force(node: Node) -> dict[str, Any]:
    node.check_keys(LEARNED)
    return {
        key: found.whole() if key in _WHOLE_KEYS else found.number(low=0)
        for key in LEARNED
        if (found := node.get(key)) is not None
    }


def _by_name(node: Node, key: str, read: Callable[[Node], T]) -> dict[str, T]:
    found = node.get(key)
    return {} if found is None else {name: read(found.need(name)) for name in found.mapping()}


def _shortage(node: Node) -> Shortage:
    node.check_keys(("until", "reason"))
    return Shortage(node.need("until").number(), node.optional("reason", Node.text, ""))


def _promises(node: Node) -> tuple[Promise, ...]:
    def promise(entry: Node) -> Promise:
        entry.check_keys(("count", "members"))
        return Promise(entry.need("count").whole(low=1), entry.each("members", held))

    def held(entry: Node) -> Held:
        entry.check_keys(("task", "units", "of"))
        return Held(_task(entry.need("task")), entry.need("units").whole(low=1), entry.need("of").whole(low=1))

    return tuple(promise(entry) for entry in node.elements())


def _instance(node: Node) -> Instance:
    node.check_keys(("id", "state", "launch", "agent", "token", "offering", "capacity", "detail", "reclaimed"))
    id_, state = node.need("id").text(), node.need("state")
    if state.text() not in _STATES:
        raise state.wrong(f"unknown state {quoted(state.value)}, expected one of {', '.join(_STATES)}")
    return Instance(
        id=id_,
        state=_STATES[state.value],
        launched_at=node.optional("launch", Node.number, _ZERO_DATE),
        agent_name=node.optional("agent", Node.text, id_),
        token=node.optional("token", Node.text, ""),
        offering=node.optional("offering", Node.text, ""),
        capacity=node.optional("capacity", _resources, None),
        detail=node.optional("detail", Node.text, ""),
        reclaimed=node.optional("reclaimed", Node.flag, False),
    )


def _scaling_info(node: Node) -> ScalingInfo:
    node.check_keys(("desired_new", "agents", "tasks", "groups"))
    desired = node.get("desired_new")
    tasks = node.each("tasks", _task)
    if desired is not None and tasks:
        raise node.wrong("has both tasks and desired_new, expected one of them")
    return ScalingInfo(
        agents=node.each("agents", _agent),
        tasks=tasks,
        groups=node.each("groups", _group),
        desired_new=None if desired is None else desired.whole(),
    )


def _agent(node: Node) -> Agent:
    node.check_keys(("name", "idle", "capacity", "used", "zero_slot_tasks", "draining", "activity", "movable"))
    return Agent(
        name=node.need("name").text(),
        idle=node.need("idle").flag(),
        capacity=node.optional("capacity", _resources, None),
        used=node.optional("used", _resources, None),
        zero_slot_tasks=node.optional("zero_slot_tasks", Node.whole, 0),
        draining=node.optional("draining", Node.flag, False),
        activity=node.optional("activity", Node.whole, 0),
        movable=node.optional("movable", Node.flag, False),
    )


def _task(node: Node) -> TaskClass:
    node.check_keys(("id", "slots", "cpus", "mem_gib", "extras", "count", "gang", "group", "spans", "constraints"))
    return TaskClass(
        resources=_resources(node),
        count=node.optional("count", lambda found: found.whole(low=1), 1),
        gang=node.optional("gang", lambda found: found.whole(low=1), 1),
        group=node.optional("group", Node.text, None),
        spans=node.optional("spans", Node.flag, False),
        constraints=node.optional("constraints", _constraints, ANYWHERE),
        example=node.optional("id", Node.text, ""),
    )


def _constraints(node: Node) -> Constraints:
    node.check_keys(("instance_types", "zones", "markets", "labels"))
    return Constraints(
        instance_types=node.each("instance_types", Node.text),
        zones=node.each("zones", Node.text),
        markets=node.each("markets", Node.text),
        labels=node.each("labels", _label),
    )


def _label(node: Node) -> tuple[str, str]:
    pair = node.elements()
    if len(pair) != 2:
        raise node.expected("a pair of name and value")
    return pair[0].text(), pair[1].text()


def _group(node: Node) -> Group:
    node.check_keys(("id", "max_slots", "used_slots"))
    return Group(
        id=node.need("id").text(),
        max_slots=node.optional("max_slots", Node.whole, None),
        used_slots=node.optional("used_slots", Node.whole, 0),
    )


def _resources(node: Node) -> Resources:
    extras = node.get("extras")
    return Resources(
        slots=node.optional("slots", Node.whole, 0),
        cpus=node.optional("cpus", _amount, 0.0),
        mem_gib=node.optional("mem_gib", _amount, 0.0),
        extras=() if extras is None else tuple((name, _amount(extras.need(name))) for name in extras.mapping()),
    )


def _amount(node: Node) -> float:
    return node.number(low=0)


def _in_flight(node: Node, offering: Offering, now: float) -> tuple[InFlight, ...]:
    if not isinstance(node.value, list):
        count = node.whole()
        return (InFlight("in flight", offering.name, count, now),) if count else ()

    def one(entry: Node) -> InFlight:
        entry.check_keys(("token", "count", "at", "offering"))
        asked_at = entry.optional("at", Node.number, now)
        name = entry.optional("offering", Node.text, offering.name)
        return InFlight(entry.need("token").text(), name, entry.need("count").whole(), asked_at)

    return tuple(one(entry) for entry in node.elements())


def _launch_failures(node: Node) -> LaunchFailures:
    node.check_keys(("failures", "kind", "message", "last_at", "next_attempt_at"))
    kind = node.get("kind")
    if kind is not None and kind.text() not in list(ErrorKind):
        raise kind.expected(f"one of {', '.join(ErrorKind)}")
    return LaunchFailures(
        failures=node.need("failures").whole(),
        kind=None if kind is None else ErrorKind(kind.value),
        message=node.optional("message", Node.text, ""),
        last_at=node.optional("last_at", Node.number, 0.0),
        next_attempt_at=node.optional("next_attempt_at", Node.number, 0.0),
    )


def _join_failures(node: Node) -> JoinFailures:
    node.check_keys(("failures", "retry_at", "last_id"))
    return JoinFailures(
        failures=node.need("failures").whole(),
        retry_at=node.optional("retry_at", Node.number, 0.0),
        last_id=node.optional("last_id", Node.text, ""),
    )
