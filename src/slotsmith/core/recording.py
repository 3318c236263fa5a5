"""Views on record, so that a changed policy can be tried on yesterday: what changes is kept, and folded when wanted.

A row is JSON-ready. A complete one (`"complete": true`) has everything, the ones after it only what differs. Folded,
they are a file for `replay` (see `core.replay_cases` for its form).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, replace
from types import MappingProxyType
from typing import Any, Final

from slotsmith.core import replay_moves
from slotsmith.core.fleet import changed_positions
from slotsmith.core.view import View
from slotsmith.model.agent import Agent
from slotsmith.model.decision import Promise
from slotsmith.model.instance import Instance
from slotsmith.model.launch_error import NO_LAUNCH_FAILURES
from slotsmith.model.offering import Offering
from slotsmith.model.policy import LEARNED, Policy
from slotsmith.model.resources import Resources
from slotsmith.model.task import ANYWHERE, TaskClass

Row = Mapping[str, Any]
_IN_FORCE: Final = "in_force"


def view_change(before: View | None, after: View, policy: Policy, was: Policy | None = None) -> dict[str, Any]:
    """What a record of `after` must add to a record of `before` (None = say everything); empty when they are alike.

    A policy is told with everything; but what foresight makes of it changes all the time, so it is told when it differs
    from that of the policy that the record before `was` of.
    """
    learned = _learned(policy)
    if before is None:
        return {"complete": True, "config": _config(after, policy), **learned, **_all(after)}
    row: dict[str, Any] = {} if was is None or _learned(was) == learned else learned
    instances, gone = _difference(before.fleet.instances, after.fleet.instances)
    agents, lost = _difference(before.info.agents, after.info.agents)
    row |= {"instances": [_instance(i, named=bool(after.others)) for i in instances]} if instances else {}
    row |= {"gone": gone} if gone else {}
    row |= {"agents": [_agent(a) for a in agents]} if agents else {}
    row |= {"lost": lost} if lost else {}
    if before.info is not after.info:
        row |= {key: tell(after) for key, tell in _DEMAND.items() if _differ(key, before.info, after.info)}
    return row | {key: tell(after) for key, tell in _CIRCUMSTANCES.items() if _differ(key, before, after)}


def differ_in_what_is_set(policy: Policy, other: Policy | None) -> bool:
    """Whether two policies differ in more than what foresight makes of them."""
    if other is None or policy.foresight is None or other.foresight is None:
        return policy != other
    return replace(policy, **_learned(other)[_IN_FORCE]) != other


def _learned(policy: Policy) -> dict[str, Any]:
    if policy.foresight is None:
        return {}
    return {_IN_FORCE: {name: getattr(policy, name) for name in LEARNED}}


def same_offerings(one: View, other: View) -> bool:
    """Whether the same may be launched in both."""
    return (
        one.offering == other.offering
        and len(one.others) == len(other.others)
        and all(
            a.offering is b.offering or a.offering == b.offering for a, b in zip(one.others, other.others, strict=True)
        )
    )


def _differ(name: str, before: object, after: object) -> bool:
    was, now = getattr(before, name), getattr(after, name)
    return was is not now and bool(was != now)


def fold(pool: str, rows: Iterable[tuple[float, Row]]) -> dict[str, Any]:
    """A replay file from rows in order of time; a new case begins where the policy or the offering changed."""
    cases: list[dict[str, Any]] = []
    state: dict[str, Any] = {}
    instances: dict[str, Any] = {}
    agents: dict[str, Any] = {}
    for at, row in rows:
        if row.get("complete"):
            instances, agents, state = {}, {}, {}
            if not cases or cases[-1]["config"] != row["config"]:
                cases.append({"name": f"{pool} from {at:.0f}", "config": row["config"], "ticks": []})
        if not cases:
            continue
        instances = _patched(instances, row.get("instances", ()), row.get("gone", ()), "id")
        agents = _patched(agents, row.get("agents", ()), row.get("lost", ()), "name")
        state = state | {key: row[key] for key in (*_DEMAND, *_CIRCUMSTANCES, _IN_FORCE) if key in row}
        cases[-1]["ticks"].append(_tick(at, instances, agents, state))
    return {"cases": cases}


def _tick(at: float, instances: dict[str, Any], agents: dict[str, Any], state: dict[str, Any]) -> dict[str, Any]:
    return {
        "at": at,
        "instances": list(instances.values()),
        "scaling_info": {
            "agents": list(agents.values()),
            **{key: state[key] for key in _DEMAND if state.get(key) is not None},
        },
        **{key: state[key] for key in (*_CIRCUMSTANCES, _IN_FORCE) if key in state},
    }


def _patched(old: dict[str, Any], new: Iterable[Any], gone: Iterable[str], key: str) -> dict[str, Any]:
    left = {name: value for name, value in old.items() if name not in set(gone)}
    return left | {value[key]: value for value in new}


def _difference(before: tuple[Any, ...], after: tuple[Any, ...]) -> tuple[list[Any], list[str]]:
    """What is new or changed, and the first fields of what is gone."""
    positions = changed_positions(before, after)
    if positions is not None:
        return [after[position] for position in positions], []
    was = {entry[0]: entry for entry in before}
    now = {entry[0] for entry in after}
    return [entry for entry in after if was.get(entry[0]) != entry], [name for name in was if name not in now]


def _all(view: View) -> dict[str, Any]:
    return {
        "instances": [_instance(instance, named=bool(view.others)) for instance in view.fleet.instances],
        "agents": [_agent(agent) for agent in view.info.agents],
        **{key: tell(view) for key, tell in (*_DEMAND.items(), *_CIRCUMSTANCES.items())},
    }


def _config(view: View, policy: Policy) -> dict[str, Any]:
    config = asdict(policy) | {"group_priorities": dict(policy.group_priorities)}
    untold = {"foresight"} if policy.foresight is None else {"foresight", *LEARNED}
    config = {key: value for key, value in config.items() if value is not None and value != {} and key not in untold}
    offerings = [_offering(each.offering) for each in view.on_offer]
    # What is launched from the only one has no name in a replay.
    priced = view.others or view.offering.price is not None
    return {**config, **({"offerings": offerings} if priced else {"capacity": _resources(view.offering.capacity)})}


def _offering(offering: Offering) -> dict[str, Any]:
    told = {"type": offering.instance_type, "zone": offering.zone, "market": offering.market, "price": offering.price}
    return {key: value for key, value in told.items() if value not in (None, "")} | {
        "capacity": _resources(offering.capacity)
    }


def _resources(resources: Resources) -> dict[str, Any]:
    amounts = {name: amount for name, amount in resources.items() if amount and name in ("slots", "cpus", "mem_gib")}
    return amounts | ({"extras": dict(resources.extras)} if resources.extras else {})


def _instance(instance: Instance, *, named: bool) -> dict[str, Any]:
    """`named`: which offering it is of matters, where there are several."""
    more: dict[str, Any] = {"token": instance.token} if instance.token else {}
    more |= {"offering": instance.offering} if named and instance.offering else {}
    more |= {"reclaimed": True} if instance.reclaimed else {}
    return {
        "id": instance.id,
        "launch": instance.launched_at,
        "agent": instance.agent_name,
        "state": instance.state.value,
        **more,
    }


def _agent(agent: Agent) -> dict[str, Any]:
    told: dict[str, Any] = {"name": agent.name, "idle": agent.idle}
    told |= {"capacity": _resources(agent.capacity)} if agent.capacity is not None else {}
    told |= {"used": _resources(agent.used)} if agent.used is not None else {}
    numbers = {
        "zero_slot_tasks": agent.zero_slot_tasks,
        "draining": agent.draining,
        "activity": agent.activity,
        "movable": agent.movable,
    }
    return told | {key: value for key, value in numbers.items() if value}


def _task(kind: TaskClass) -> dict[str, Any]:
    told = {"id": kind.example, **_resources(kind.resources), "count": kind.count}
    told |= {"gang": kind.gang} if kind.gang > 1 else {}
    told |= {"group": kind.group} if kind.group is not None else {}
    told |= {"spans": True} if kind.spans else {}
    wants = {} if kind.constraints == ANYWHERE else asdict(kind.constraints)
    return told | ({"constraints": wants} if wants else {})


def _in_flight(view: View) -> list[dict[str, Any]]:
    told = [{"token": i.token, "count": i.count, "at": i.asked_at} for i in view.in_flight]
    if not view.others:
        return told
    # Which offering it is of matters where there are several.
    return [{**row, "offering": i.offering} for row, i in zip(told, view.in_flight, strict=True)]


def _others(view: View) -> dict[str, Any]:
    failed = (each for each in view.others if each.failures != NO_LAUNCH_FAILURES)
    return {each.offering.name: asdict(each.failures) for each in failed}


def _shortages(view: View) -> dict[str, Any]:
    return {name: asdict(each) for name, each in sorted(view.shortages.items())}


def _promised(view: View) -> dict[str, Any]:
    return {token: [_promise(each) for each in promises] for token, promises in sorted(view.promised.items())}


def _promise(promise: Promise) -> dict[str, Any]:
    members = [{"task": _task(held.tasks), "units": held.units, "of": held.of} for held in promise.members]
    return {"count": promise.count, "members": members}


_DEMAND: Final[Mapping[str, Callable[[View], Any]]] = MappingProxyType(
    {
        "tasks": lambda view: [_task(kind) for kind in view.info.tasks],
        "groups": lambda view: [asdict(group) for group in view.info.groups],
        "desired_new": lambda view: view.info.desired_new,
    }
)
"""What the scheduler asks for: the fields of scaling info with what is told of each."""
_CIRCUMSTANCES: Final[Mapping[str, Callable[[View], Any]]] = MappingProxyType(
    {
        "in_flight": _in_flight,
        "draining": lambda view: sorted(view.draining),
        "strays": lambda view: sorted(view.strays),
        "kept": lambda view: sorted(view.kept),
        "launch_failures": lambda view: asdict(view.launch_failures),
        "join_failures": lambda view: asdict(view.join_failures),
        "blind": lambda view: view.blind,
        "others": _others,
        "shortages": _shortages,
        "promised": _promised,
        "spent_this_month": lambda view: view.spent_this_month,
        "moves": lambda view: replay_moves.told(view.moves),
    }
)
"""The other fields of a view, likewise."""
