"""A pool's state and history as sentences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from slotsmith.reports.report import PoolReport, ending, troubles
from slotsmith.reports.words import ago, moment, plural, span

MOST_INSTANCES = 40
"""Instances that are told one by one."""


def narrate(report: PoolReport, history: Mapping[str, Any], now: float) -> Iterator[str]:
    """The lines of `slotsmith explain` for one pool; those under a heading begin with two spaces."""
    summary = report.summary
    if summary is None:
        yield f"{report.name}: there is nothing to tell, no daemon has run this pool yet."
        return
    yield f"{report.name}: {_fleet(summary, now)}"
    yield f"  {_daemon(report, summary, now)}"
    yield f"  {_demand(summary)}"
    yield from _foresight(summary)
    yield from _searches(summary)
    yield from _section("Instances", _instances(summary, now))
    yield from _section("Launches on the way", _intents(history, now))
    yield from _section("Not as it should be", troubles(report, now))
    yield from _section("Moves that would save money", _proposals(summary))
    yield from _section("Next, if nothing else happens", _next(summary, now))
    yield from _section("Decisions", _decisions(history, now))
    yield from _section("History", _moves(history, now))


def _section(title: str, lines: Iterator[str]) -> Iterator[str]:
    told = list(lines)
    if told:
        yield f"{title}:"
        yield from (f"  {line}" for line in told)


def _fleet(summary: Mapping[str, Any], now: float) -> str:
    counts, policy = summary["counts"], summary["policy"]
    states = ", ".join(f"{count} {state}" for state, count in sorted(counts.items()))
    flight = f", and {summary['in_flight']} asked for and not listed yet" if summary["in_flight"] else ""
    fleet = f"{plural(sum(counts.values()), 'instance')}{f' ({states})' if states else ''}{flight}"
    limits = f"at least {policy['min_instances']} and at most {policy['max_instances']}"
    kind = f" of {summary['offering']['name']}" if summary["offering"] else ""
    several = len(summary.get("offerings", ()))
    kind = f", of whichever of {several} offerings are cheapest" if several > 1 else kind
    priced_at = summary.get("priced_at")
    prices = f" at prices of {ago(priced_at, now)} ago" if priced_at is not None else ""
    return f"{fleet}; {limits}{kind}{prices}."


def _daemon(report: PoolReport, summary: Mapping[str, Any], now: float) -> str:
    seen = ago(summary["at"], now)
    if report.alive(now):
        return f"The daemon is running; this is how things stood {seen} ago."
    return f"No daemon is running: nothing has been written for {seen}, and nothing below will happen until one starts."


def _demand(summary: Mapping[str, Any]) -> str:
    if summary["scheduler"]["at"] is None:
        return "What is pending is not known: the scheduler has not been heard yet."
    if not summary["pending_tasks"] and not summary["desired_new"]:
        return "Nothing is pending."
    tasks = f"{plural(summary['pending_tasks'], 'task')} pending ({plural(summary['pending_slots'], 'slot')})"
    return f"{tasks}; beyond what is there, that asks for {plural(summary['desired_new'], 'new instance')}."


def _foresight(summary: Mapping[str, Any]) -> Iterator[str]:
    told = summary.get("foresight")
    if told is None:
        return
    idle = span(summary["policy"]["max_idle_agent_period"])
    if told["why_so_long"] is not None:
        yield f"  How long idle agents are kept is learned, {idle} now:"
        yield f"    {told['why_so_long']}."
    if told["why"] is None:
        return
    if told["holds"]:
        slots = plural(told["headroom_slots"], "slot")
        yield f"  Foresight keeps {slots} free, and idle agents beyond them for {idle}:"
    else:
        yield "  Foresight holds no spare:"
    yield f"    {told['why']}."
    if told["used"] or told["extra_instance_seconds"]:
        hours, saved = told["extra_instance_seconds"] / 3600, span(max(0.0, told["saved_seconds"]))
        yield (
            f"    So far it has found room {plural(told['used'], 'time')} when there would have been none, saved "
            f"{saved} of waiting and cost {hours:+.1f} instance-hours, all by its own reckoning."
        )


def _searches(summary: Mapping[str, Any]) -> Iterator[str]:
    told = summary.get("searches")
    if told is None:
        return
    outcomes = told["outcomes"]
    waits = f"{plural(sum(outcomes.values()), 'time')}, {span(told['waited_seconds'])} in all"
    yield f"  Launches have waited for a search for cheaper ones {waits}, since the daemon began:"
    texts = {
        "cheaper": f"it found some, ${told['saved_dollars_per_hour']:,.2f} per hour cheaper in all",
        "none_cheaper": "there were none",
        "news": "something new came first",
        "late": "it had not ended in time",
        "failed": "it failed",
    }
    ends = [f"{plural(outcomes[key], 'time')} {text}" for key, text in texts.items() if outcomes[key]]
    yield f"    {'; '.join(ends)}."


def _instances(summary: Mapping[str, Any], now: float) -> Iterator[str]:
    for each in summary["instances"][:MOST_INSTANCES]:
        yield f"{each['id']}: {each['state']}, launched {ago(each['launched_at'], now)} ago; {why(each, summary, now)}"
    left = sum(summary["counts"].values()) - min(MOST_INSTANCES, len(summary["instances"]))
    if left > 0:
        yield f"and {left} more"


def why(each: dict[str, Any], summary: Mapping[str, Any], now: float) -> str:
    """Why an instance is there still."""
    going, policy = ending(each, now), summary["policy"]
    if going:
        return f"it goes: {going}"
    if each["id"] in summary["strays"]:
        return "unknown to this store, so it is left alone"
    if each["agent"] == "busy":
        return "its agent works"
    if each["agent"] == "idle":
        idle = ago(each["idle_since"], now)
        if policy.get("headroom_slots") and now - each["idle_since"] > policy["max_idle_agent_period"]:
            return f"its agent has been idle for {idle}, and is kept free"
        return f"its agent has been idle for {idle} of {span(policy['max_idle_agent_period'])}"
    if each["agent"] == "disconnected":
        missing = ago(each["missing_since"], now)
        return f"its agent has been missing for {missing} of {span(policy['max_agent_disconnect_period'])}"
    if each["agent"] == "starting":
        return f"its agent has {span(policy['max_agent_starting_period'])} from the launch to join"
    return each.get("detail") or "it has no agent"


def _intents(history: Mapping[str, Any], now: float) -> Iterator[str]:
    for each in history["intents"]:
        error = f"; {each['error']}" if each["error"] else ""
        asked = f"{each['count']} x {each['offering']}, asked {ago(each['asked_at'], now)} ago"
        yield f"{asked} ({each['state']}): {each['reason']}{error}"


def _proposals(summary: Mapping[str, Any]) -> Iterator[str]:
    # What an older version wrote has none.
    for each in summary.get("moves", ()):
        money = f"saves ${each['saves']:,.2f} per hour, costs ${each['costs']:,.2f} once at the most"
        yield f"{each['id']}: {each['what']}; {money}; {each['held'] or 'it is begun'}"


def _next(summary: Mapping[str, Any], now: float) -> Iterator[str]:
    for each in summary["next"]:
        when = f"in {span(each['at'] - now)}" if each["at"] > now else "due"
        yield f"{when} ({moment(each['at'], now)}): {each['what']}"


def decided(each: Mapping[str, Any]) -> str:
    """One decision on record as a sentence."""
    parts = [f"launch {launch['count']} x {launch['offering']} ({launch['reason']})" for launch in each["launch"]]
    parts += [f"terminate {one['id']} ({one['reason']})" for one in each["terminate"]]
    for one in each["unmet"]:
        parts.append(f"leave unmet {one['tasks'] or plural(one['count'], 'instance')} ({one['reason']})")
    return "; ".join(parts)


def _decisions(history: Mapping[str, Any], now: float) -> Iterator[str]:
    for each in history["decisions"]:
        yield f"{moment(each['at'], now)}: {decided(each)}"


def _moves(history: Mapping[str, Any], now: float) -> Iterator[str]:
    for each in history["moves"]:
        note = f" ({each['note']})" if each["note"] else ""
        change = f"{each['before'] or 'first seen'} -> {each['after'] or 'gone'}"
        yield f"{moment(each['at'], now)}: {each['id']} {change}{note}"
