"""What `status` and `explain` tell of a pool, as JSON-ready data."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

import numpy as np

from slotsmith.core.backoff import launch_error_of_all
from slotsmith.core.conditions import Conditions, conditions
from slotsmith.core.fleet import BUSY_AGENT, IDLE_AGENT
from slotsmith.core.view import OnOffer, View
from slotsmith.model.decision import Decision
from slotsmith.model.launch_error import NO_LAUNCH_FAILURES, JoinFailures, LaunchFailures
from slotsmith.model.offering import Shortage
from slotsmith.model.policy import Policy
from slotsmith.model.record import TerminationRecord
from slotsmith.model.steering import UNSTEERED, Steering
from slotsmith.provisioner.observer import Observer
from slotsmith.provisioner.paid_time import PAID
from slotsmith.store.base import PoolBooks

MOST_INSTANCES: Final = 1000
"""A summary names at most this many instances; the counts are always of all."""
_KEPT: Final = (
    *("instances", "instances_omitted", "counts", "strays", "offering", "offerings", "priced_at"),
    *("dollars_per_hour", "without_price", "dollars_this_month"),
)
_FAILURE: Final = ("error", "next_attempt_at", "shortage")


def summarize(
    view: View,
    policy: Policy,
    decision: Decision,
    now: float,
    terminations: dict[str, TerminationRecord],
    launch_error: str | None,
    listings: Observer[Any],
    views: Observer[Any],
    steering: Steering = UNSTEERED,
    spent_this_month: float = 0.0,
    priced_at: float | None = None,
    foresight: Mapping[str, Any] | None = None,
    searches: Mapping[str, Any] | None = None,
    *,
    most: int | None = MOST_INSTANCES,
) -> dict[str, Any]:
    """The pool at `now`, after its last decision, with at most so many instances. Times are epoch seconds."""
    fleet = view.fleet
    found = conditions(view, policy, now)
    shown = range(len(fleet) if most is None else min(len(fleet), most))
    offerings = [_offering(each, view.shortages.get(each.offering.name), now) for each in view.on_offer]
    return {
        "at": now,
        "policy": asdict(policy),
        "offering": {key: value for key, value in offerings[0].items() if key not in _FAILURE},
        "offerings": offerings,
        "priced_at": priced_at,
        "instances": [_instance(view, found, row, terminations) for row in shown],
        "instances_omitted": len(fleet) - len(shown),
        "counts": dict(Counter(instance.state.value for instance in fleet.instances)),
        "in_flight": view.in_flight_count,
        "pending_tasks": sum(kind.count * kind.gang for kind in view.info.tasks),
        "pending_slots": sum(kind.count * kind.gang * kind.resources.slots for kind in view.info.tasks),
        "desired_new": decision.desired_new,
        "unmet": [
            {"what": str(unmet.tasks or f"{unmet.count} instances"), "count": unmet.count, "reason": unmet.reason}
            for unmet in decision.unmet
        ],
        "moves": [asdict(each) for each in decision.proposals],
        "launch_error": launch_error,
        "next_attempt_at": _next_attempt([each.failures for each in view.on_offer], view.join_failures, now),
        "join_failures": view.join_failures.failures,
        "scheduler": _observer(views),
        "provider": _observer(listings),
        "strays": sorted(view.strays),
        "next": _next(view, policy, found, now),
        "foresight": foresight,
        "searches": searches,
        **_money(view, spent_this_month),
        **_by_hand(steering, now),
    }


def _money(view: View, spent_this_month: float) -> dict[str, Any]:
    """Dollars: what the instances that are paid for cost per hour, as far as their prices are known."""
    prices = {each.offering.name: each.offering.price for each in view.on_offer}
    # One whose provider does not say what it is can only be the first that is on offer.
    prices[""] = view.offering.price
    paid = Counter(each.offering for each in view.fleet.instances if each.state in PAID)
    known = {name: price for name in paid if (price := prices.get(name)) is not None}
    return {
        "dollars_per_hour": round(sum(paid[name] * price for name, price in sorted(known.items())), 6),
        "without_price": sum(count for name, count in paid.items() if name not in known),
        "dollars_this_month": round(spent_this_month, 4),
    }


def _by_hand(steering: Steering, now: float) -> dict[str, Any]:
    """What people have set; None = until it is taken back."""
    pause = steering.pause
    return {
        "paused": pause and {"since": pause.since, "who": pause.who, "why": pause.why},
        "limits_by_hand": dict(steering.limits),
        "kept": {i: None if math.isinf(until) else until for i, until in sorted(steering.kept.items()) if until > now},
    }


def summarize_unready(
    last: Mapping[str, Any] | None, books: PoolBooks, policy: Policy, trouble: str, now: float
) -> dict[str, Any]:
    """A pool whose provider is not ready: its instances are those of the `last` summary, its offering may be None."""
    last = last or {}
    refused = books.launch_failures
    newest = max(refused.values(), key=lambda each: each.last_at, default=NO_LAUNCH_FAILURES)
    offerings = last.get("offerings") or ([last["offering"]] if last.get("offering") else [])
    failures = [refused.get(each["name"], NO_LAUNCH_FAILURES) for each in offerings] or [newest]
    kept = {key: last[key] for key in _KEPT if key in last}
    never = {"ok": False, "error": None, "at": None}
    return {
        "offering": None,
        "offerings": [],
        "priced_at": None,
        "instances": [],
        "instances_omitted": 0,
        "counts": {},
        "in_flight": 0,
        "pending_tasks": 0,
        "pending_slots": 0,
        "desired_new": 0,
        "unmet": [],
        "moves": [],
        "launch_error": launch_error_of_all(
            failures, retries=policy.launch_error_retries, timeout=policy.launch_error_timeout, now=now
        ),
        "next_attempt_at": _next_attempt(failures, books.join_failures, now),
        "join_failures": books.join_failures.failures,
        "strays": [],
        "foresight": None,
        "searches": None,
        "next": [],
        "dollars_per_hour": 0.0,
        "without_price": 0,
        "dollars_this_month": 0.0,
        **kept,
        **_by_hand(books.steering, now),
        "at": now,
        "policy": asdict(policy),
        "scheduler": never,
        "provider": {**never, "error": trouble, "at": last.get("provider", never)["at"]},
    }


def _instance(view: View, found: Conditions, row: int, terminations: dict[str, TerminationRecord]) -> dict[str, Any]:
    fleet = view.fleet
    instance = fleet.instances[row]
    ending = terminations.get(instance.id)
    return {
        "id": instance.id,
        "state": instance.state.value,
        "offering": instance.offering,
        "detail": instance.detail,
        "launched_at": float(fleet.launched_at[row]),
        "agent": _agent(view, found, row),
        "idle_since": _clock(fleet.idle_since[row]),
        "missing_since": _clock(found.disconnected_since[row]) if found.disconnected[row] else None,
        "termination": ending
        and {
            "reason": ending.reason.value,
            "phase": ending.phase.value,
            "since": ending.since,
            "attempts": ending.attempts,
            "error": ending.error or None,
        },
    }


def _agent(view: View, found: Conditions, row: int) -> str:
    agent = view.fleet.agent[row]
    if agent == IDLE_AGENT:
        return "idle"
    if agent == BUSY_AGENT:
        return "busy"
    if found.disconnected[row]:
        return "disconnected"
    return "starting" if found.recently_launched[row] else "none"


def _clock(value: np.float64) -> float | None:
    return None if np.isnan(value) else float(value)


def _observer(observer: Observer[Any]) -> dict[str, Any]:
    return {
        "ok": observer.error is None and observer.latest is not None,
        "error": observer.error,
        "at": observer.latest.began if observer.latest else None,
    }


def _offering(each: OnOffer, shortage: Shortage | None, now: float) -> dict[str, Any]:
    """What may be launched, and why it may not be, or only where nothing else will do, for now."""
    offering, waits = each.offering, each.failures.next_attempt_at > now
    return {
        "name": offering.name,
        "instance_type": offering.instance_type,
        "price": offering.price,
        **dict(offering.capacity.items()),
        "error": each.failures.message if waits else None,
        "next_attempt_at": each.failures.next_attempt_at if waits else None,
        "shortage": asdict(shortage) if shortage and now < shortage.until else None,
    }


def _next_attempt(refused: Sequence[LaunchFailures], unjoined: JoinFailures, now: float) -> float | None:
    """When launches go on that something keeps back: the first offering that is free again, and the brake."""
    times = (min((each.next_attempt_at for each in refused), default=0.0), unjoined.retry_at)
    return max((time for time in times if time > now), default=None)


def _next(view: View, policy: Policy, found: Conditions, now: float) -> list[dict[str, Any]]:
    """What will happen next if nothing else does, soonest first."""
    fleet = view.fleet
    waiting = (
        (found.idle & ~found.long_idle, fleet.idle_since, policy.max_idle_agent_period, "terminate {} (long idle)"),
        (
            found.disconnected & ~found.long_disconnected,
            found.disconnected_since,
            policy.max_agent_disconnect_period,
            "terminate {} (long disconnected) unless its agent returns",
        ),
        (
            found.recently_launched & ~found.pending,
            fleet.launched_at,
            policy.max_agent_starting_period,
            "give up {} (never joined) unless its agent joins",
        ),
    )
    events = [
        {"at": float(since[row]) + period, "what": text.format(fleet.instances[row].id)}
        for mask, since, period, text in waiting
        for row in np.flatnonzero(mask)[:20]
    ]
    attempt = _next_attempt([each.failures for each in view.on_offer], view.join_failures, now)
    if attempt is not None:
        events.append({"at": attempt, "what": "try to launch again"})
    if view.others:
        retries = ((each.offering.name, each.failures.next_attempt_at) for each in view.on_offer)
        events += [{"at": at, "what": f"{name} may be tried again"} for name, at in retries if at > now]
        scarce = ((name, each.until) for name, each in sorted(view.shortages.items()))
        events += [{"at": at, "what": f"{name} is launched again like any other"} for name, at in scarce if at > now]
    return sorted(events, key=lambda event: (event["at"], event["what"]))[:20]
