"""What the store says of a pool, and what of it is being ended or is not as it should be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from slotsmith.reports.words import ago, moment, plural

DAEMON_SILENT = 30.0
"""Seconds without a sign of life (there is one at least every five) after which a daemon is called not running."""


@dataclass(frozen=True, slots=True)
class PoolReport:
    """What the store says of one pool. `configured`: it stands in the configuration (None = there was none to read)."""

    name: str
    configured: bool | None
    summary: Mapping[str, Any] | None

    def alive(self, now: float) -> bool:
        """Whether a daemon has written about the pool just now."""
        summary = self.summary
        return summary is not None and not summary.get("stopped") and now - float(summary["at"]) < DAEMON_SILENT

    def as_json(self, now: float) -> dict[str, Any]:
        """The report as `status --json` prints it."""
        seen_at = None if self.summary is None else self.summary["at"]
        return {
            "pool": self.name,
            "configured": self.configured,
            "daemon": {"alive": self.alive(now), "seen_at": seen_at},
            "summary": self.summary,
        }


def ending(each: dict[str, Any], now: float) -> str:
    """What is being done to end an instance, empty when it stays."""
    termination = each["termination"]
    if not termination:
        return ""
    error = f", {termination['error']}" if termination["error"] else ""
    return f"{termination['phase']} for {ago(termination['since'], now)}: {termination['reason']}{error}"


def troubles(report: PoolReport, now: float) -> Iterator[str]:
    """What is not as it should be, a line each."""
    if report.configured is False:
        yield "not in the configuration any more; `slotsmith down` ends what it left"
    if report.summary is not None:
        yield from _by_hand(report.summary, now)
        yield from _silent(report.summary, now)
        yield from _kept_back(report.summary, now)


def _by_hand(summary: Mapping[str, Any], now: float) -> Iterator[str]:
    # What an older version wrote has none of it.
    paused = summary.get("paused")
    if paused:
        yield f"paused {ago(paused['since'], now)} ago by {paused['who']}: {paused['why']}"
    for name, value in sorted(summary.get("limits_by_hand", {}).items()):
        yield f"{name} is {value:g} by hand, whatever the file says"


def _silent(summary: Mapping[str, Any], now: float) -> Iterator[str]:
    for part in ("scheduler", "provider"):
        if summary[part]["error"]:
            at = summary[part]["at"]
            last = "no answer yet" if at is None else f"last answer {ago(at, now)} ago"
            yield f"{part}: {summary[part]['error']} ({last})"
        elif summary[part]["at"] is None and not summary["provider"]["error"]:
            yield f"{part}: no answer yet"


def _kept_back(summary: Mapping[str, Any], now: float) -> Iterator[str]:
    for unmet in summary["unmet"]:
        yield f"unmet: {unmet['what']}: {unmet['reason']}"
    yield from _launch_troubles(summary, now)
    if summary["strays"]:
        yield f"{plural(len(summary['strays']), 'instance')} unknown to this store; see `slotsmith adopt`"


def _launch_troubles(summary: Mapping[str, Any], now: float) -> Iterator[str]:
    if summary["launch_error"]:
        yield f"launch error: {summary['launch_error']}"
    offerings = summary.get("offerings", ())
    for each in offerings if len(offerings) > 1 else ():
        if each["error"]:
            yield f"{each['name']} is not tried before {moment(each['next_attempt_at'], now)}: {each['error']}"
        # What an older version wrote has none.
        elif each.get("shortage"):
            until = moment(each["shortage"]["until"], now)
            yield f"{each['name']} is tried last until {until}, for there was no room: {each['shortage']['reason']}"
    if summary["next_attempt_at"] is not None:
        yield f"no launch before {moment(summary['next_attempt_at'], now)}"
