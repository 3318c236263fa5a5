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
`tasks` (with `groups`); a tick without `scaling_info` keeps the last. Keys that say what was expected, or anything else
that is not read here, are ignored, unless they look like a key that is.
"""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final, TypeVar

from slotsmith.model.agent import Agent
from slotsmith.model.instance import Instance, InstanceState
from slotsmith.model.launch import InFlight
from slotsmith.model.offering import Offering
from slotsmith.model.policy import Policy
from slotsmith.model.resources import Resources
from slotsmith.model.scaling_info import ScalingInfo
from slotsmith.model.task import Group, TaskClass

T = TypeVar("T")


class ReplayError(Exception):
    """The input cannot be read. The text is one line that names the file, or the case, tick and key, at fault."""


@dataclass(frozen=True, slots=True)
class ReplayTick:
    """What was seen at one time. `info` is None when nothing new was heard."""

    at: float
    instances: tuple[Instance, ...]
    info: ScalingInfo | None = None
    in_flight: tuple[InFlight, ...] = ()
    draining: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class ReplayCase:
    """One pool over some time: `offering` is what it launches."""

    name: str
    policy: Policy
    offering: Offering
    ticks: tuple[ReplayTick, ...]


Cases = tuple[ReplayCase, ...]

# Year 1, which is what the reference's vectors mean by no launch time.
_ZERO_DATE: Final = -62135596800.0

# Every whole number up to here is exact in JSON readers that know only floats.
_LARGEST: Final = 2**53

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
_WHOLE_KEYS: Final = ("min_instances", "max_instances", "launch_error_retries", "max_zero_slot_tasks_per_agent")
_POLICY_KEYS: Final = tuple(field.name for field in fields(Policy))


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
    cases = _Node(data, "").need("cases")
    return tuple(_case(node, number) for number, node in enumerate(cases.elements(), start=1))


@dataclass(frozen=True, slots=True)
class _Node:
    """A piece of the document, with the words that say where it stands."""

    value: Any
    where: str
    joint: str = "."

    def wrong(self, problem: str) -> ReplayError:
        return ReplayError(f"{self.where}: {problem}" if self.where else problem)

    def expected(self, what: str) -> ReplayError:
        shown = json.dumps(self.value)
        return self.wrong(f"expected {what}, got {shown if len(shown) <= 40 else shown[:37] + '...'}")

    def get(self, key: str) -> _Node | None:
        """The value of a key; None when it is missing or null."""
        value = self.mapping().get(key)
        return None if value is None else _Node(value, f"{self.where}{self.joint}{key}" if self.where else key)

    def need(self, key: str) -> _Node:
        node = self.get(key)
        if node is None:
            raise self.wrong(f"has no {key!r}")
        return node

    def mapping(self) -> dict[str, Any]:
        if not isinstance(self.value, dict):
            raise self.expected("an object")
        return self.value

    def elements(self) -> list[_Node]:
        if not isinstance(self.value, list):
            raise self.expected("a list")
        return [_Node(value, f"{self.where}[{number}]") for number, value in enumerate(self.value)]

    def text(self) -> str:
        if not isinstance(self.value, str):
            raise self.expected("a text")
        return self.value

    def flag(self) -> bool:
        if not isinstance(self.value, bool):
            raise self.expected("true or false")
        return self.value

    def number(self, low: float = -math.inf) -> float:
        """A finite number of at least `low`."""
        if isinstance(self.value, int | float) and not isinstance(self.value, bool):
            try:
                number = float(self.value)
            except OverflowError:
                number = math.inf
            if math.isfinite(number) and number >= low:
                return number
        raise self.expected("a number" if low == -math.inf else f"a number of at least {low:g}")

    def whole(self, low: int = 0) -> int:
        """A whole number of at least `low`, and small enough to count with."""
        if isinstance(self.value, int | float) and not isinstance(self.value, bool):
            if low <= self.value <= _LARGEST and self.value == int(self.value):
                return int(self.value)
        raise self.expected(f"a whole number of at least {low}")

    def each(self, key: str, read: Callable[[_Node], T]) -> tuple[T, ...]:
        """What `read` makes of each element of the list under `key`; nothing when there is no such key."""
        node = self.get(key)
        return () if node is None else tuple(read(element) for element in node.elements())

    def optional(self, key: str, read: Callable[[_Node], T], default: T) -> T:
        node = self.get(key)
        return default if node is None else read(node)

    def check_keys(self, known: Sequence[str], ignored: Sequence[str] = ()) -> None:
        """Refuse keys that look like a known one: a misspelt key would otherwise be left out without a word."""
        for key in self.mapping().keys() - {*known, *ignored}:
            meant = difflib.get_close_matches(key, known, n=1, cutoff=0.8)
            if meant:
                raise self.wrong(f"unknown key {key!r}, did you mean {meant[0]!r}?")


def _case(node: _Node, number: int) -> ReplayCase:
    name = node.optional("name", _Node.text, f"case {number}")
    node = _Node(node.value, f'case {number} ("{name}")', ", ")
    node.check_keys(("name", "config", "ticks"))
    config = node.optional("config", lambda found: found, _Node({}, node.where))
    policy, offering = _policy(config), _offering(config)
    ticks: list[ReplayTick] = []
    for position, tick in enumerate(node.need("ticks").elements(), start=1):
        at = _Node(tick.value, f"{node.where}, tick {position}", ", ")
        ticks.append(_tick(at, offering))
        if position > 1 and ticks[-1].at < ticks[-2].at:
            raise at.need("at").wrong(f"is {ticks[-1].at:g}, earlier than the {ticks[-2].at:g} of the tick before")
    return ReplayCase(name, policy, offering, tuple(ticks))


def _policy(config: _Node) -> Policy:
    known = (*_SHORT_KEYS, *_POLICY_KEYS, "slots_per_instance", "capacity")
    for key in config.mapping():
        if key not in known:
            meant = difflib.get_close_matches(key, known, n=1)
            hint = f", did you mean {meant[0]!r}?" if meant else f", expected one of {', '.join(known)}"
            raise config.wrong(f"unknown key {key!r}{hint}")
    values: dict[str, Any] = {}
    for key in (*_SHORT_KEYS, *_POLICY_KEYS):
        node, name = config.get(key), _SHORT_KEYS.get(key, key)
        if node is None:
            continue
        if name in values:
            raise config.wrong(f"has {name} under two names")
        values[name] = node.whole() if name in _WHOLE_KEYS else node.number(low=0)
    policy = Policy(**values)
    if policy.min_instances > policy.max_instances:
        raise config.wrong(f"the minimum {policy.min_instances} is above the maximum {policy.max_instances}")
    return policy


def _offering(config: _Node) -> Offering:
    slots, capacity = config.get("slots_per_instance"), config.get("capacity")
    if slots is not None and capacity is not None:
        raise config.wrong("has both slots_per_instance and capacity, expected one of them")
    if capacity is not None:
        return Offering("instance", _resources(capacity))
    return Offering("instance", Resources(slots=1 if slots is None else slots.whole()))


def _tick(node: _Node, offering: Offering) -> ReplayTick:
    node.check_keys(("at", "instances", "scaling_info", "in_flight", "draining"), ("expect",))
    at = node.need("at").number()
    in_flight = node.get("in_flight")
    return ReplayTick(
        at=at,
        instances=tuple(_instance(element) for element in node.need("instances").elements()),
        info=node.optional("scaling_info", _scaling_info, None),
        in_flight=() if in_flight is None else _in_flight(in_flight, offering, at),
        draining=frozenset(node.each("draining", _Node.text)),
    )


def _instance(node: _Node) -> Instance:
    node.check_keys(("id", "state", "launch", "agent", "token", "offering", "capacity", "detail"))
    id_, state = node.need("id").text(), node.need("state")
    if state.text() not in _STATES:
        raise state.wrong(f"unknown state {state.value!r}, expected one of {', '.join(_STATES)}")
    return Instance(
        id=id_,
        state=_STATES[state.value],
        launched_at=node.optional("launch", _Node.number, _ZERO_DATE),
        agent_name=node.optional("agent", _Node.text, id_),
        token=node.optional("token", _Node.text, ""),
        offering=node.optional("offering", _Node.text, ""),
        capacity=node.optional("capacity", _resources, None),
        detail=node.optional("detail", _Node.text, ""),
    )


def _scaling_info(node: _Node) -> ScalingInfo:
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


def _agent(node: _Node) -> Agent:
    node.check_keys(("name", "idle", "capacity", "used", "zero_slot_tasks", "draining", "activity"))
    return Agent(
        name=node.need("name").text(),
        idle=node.need("idle").flag(),
        capacity=node.optional("capacity", _resources, None),
        used=node.optional("used", _resources, None),
        zero_slot_tasks=node.optional("zero_slot_tasks", _Node.whole, 0),
        draining=node.optional("draining", _Node.flag, False),
        activity=node.optional("activity", _Node.whole, 0),
    )


def _task(node: _Node) -> TaskClass:
    node.check_keys(("id", "slots", "cpus", "mem_gib", "extras", "count", "gang", "group", "spans"))
    return TaskClass(
        resources=_resources(node),
        count=node.optional("count", lambda found: found.whole(low=1), 1),
        gang=node.optional("gang", lambda found: found.whole(low=1), 1),
        group=node.optional("group", _Node.text, None),
        spans=node.optional("spans", _Node.flag, False),
        example=node.optional("id", _Node.text, ""),
    )


def _group(node: _Node) -> Group:
    node.check_keys(("id", "max_slots", "used_slots"))
    return Group(
        id=node.need("id").text(),
        max_slots=node.optional("max_slots", _Node.whole, None),
        used_slots=node.optional("used_slots", _Node.whole, 0),
    )


def _resources(node: _Node) -> Resources:
    extras = node.get("extras")
    return Resources(
        slots=node.optional("slots", _Node.whole, 0),
        cpus=node.optional("cpus", _amount, 0.0),
        mem_gib=node.optional("mem_gib", _amount, 0.0),
        extras=() if extras is None else tuple((name, _amount(extras.need(name))) for name in extras.mapping()),
    )


def _amount(node: _Node) -> float:
    return node.number(low=0)


def _in_flight(node: _Node, offering: Offering, now: float) -> tuple[InFlight, ...]:
    if not isinstance(node.value, list):
        count = node.whole()
        return (InFlight("in flight", offering.name, count, now),) if count else ()

    def one(entry: _Node) -> InFlight:
        entry.check_keys(("token", "count", "at"))
        asked_at = entry.optional("at", _Node.number, now)
        return InFlight(entry.need("token").text(), offering.name, entry.need("count").whole(), asked_at)

    return tuple(one(entry) for entry in node.elements())
