"""`slotsmith status`: how the pools stand, from the store alone."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from slotsmith.cli.books import Source, open_readable
from slotsmith.cli.options import DEFAULT_CONFIG, AnyPoolArgument, ConfigOption, JsonOption, StoreOption
from slotsmith.cli.output import ago, console, plural, table, write_json
from slotsmith.clock import Clock, SystemClock
from slotsmith.reports.report import PoolReport, ending, troubles

if TYPE_CHECKING:
    from rich.console import RenderableType

WATCH_PERIOD = 1.0
"""Seconds between two looks with `--watch`."""
MOST_ROWS = 40
"""Instances of a pool that are listed; the rest is counted."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("status")(status)


def status(
    pool: AnyPoolArgument = None,
    config: ConfigOption = DEFAULT_CONFIG,
    store: StoreOption = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Keep showing it until Ctrl-C.")] = False,
    json_output: JsonOption = False,
) -> None:
    """Show how the pools stand, and what is unmet and why.

    Reads the store only, so it never waits for a cloud, and works while the daemon runs and when it does not.
    """
    import asyncio

    source = Source.of(Path(config), store)
    clock = SystemClock()
    if watch:
        asyncio.run(_watch(source, pool, json_output, clock))
        return
    now, reports = clock.now(), _reports(source, pool)
    if json_output:
        write_json(_as_json(reports, now))
    else:
        _print(reports, now)


def _print(reports: Sequence[PoolReport], now: float) -> None:
    screen = console()
    for part in render(reports, now):
        screen.print(part)


def _reports(source: Source, pool: str | None) -> list[PoolReport]:
    with open_readable(source.url) as store:
        return [source.report(store, name) for name in source.names(store, pool)]


def _as_json(reports: Sequence[PoolReport], now: float) -> dict[str, Any]:
    return {"at": now, "pools": [report.as_json(now) for report in reports]}


async def _watch(source: Source, pool: str | None, json_output: bool, clock: Clock) -> None:
    if json_output:
        while True:
            write_json(_as_json(_reports(source, pool), clock.now()), indent=None)
            sys.stdout.flush()
            await clock.sleep(WATCH_PERIOD)
    if not sys.stdout.isatty():
        while True:
            _print(_reports(source, pool), clock.now())
            sys.stdout.flush()
            await clock.sleep(WATCH_PERIOD)
    from rich.console import Group
    from rich.live import Live

    with Live(console=console(), auto_refresh=False, screen=False) as live:
        while True:
            now = clock.now()
            live.update(Group(*render(_reports(source, pool), now)), refresh=True)
            await clock.sleep(WATCH_PERIOD)


def render(reports: Sequence[PoolReport], now: float) -> Iterator[RenderableType]:
    """One line for each pool, then the instances of each, then what is unmet or in trouble."""
    columns = ("pool", "daemon", "instances", "limits", "states", "agents", "pending", "unmet")
    yield table(columns, [_pool_row(report, now) for report in reports])
    for report in reports:
        summary = report.summary
        if summary is not None and summary["instances"]:
            rows = [_instance_row(each, now) for each in summary["instances"][:MOST_ROWS]]
            yield table(("instance", "state", "age", "agent", "for", ""), rows, title=report.name)
            omitted = sum(summary["counts"].values()) - len(rows)
            if omitted > 0:
                yield f"  and {omitted} more"
    for report in reports:
        for line in troubles(report, now):
            yield f"{report.name}: {line}"


def _pool_row(report: PoolReport, now: float) -> tuple[object, ...]:
    summary = report.summary
    if summary is None:
        return (report.name, "never run", *("-",) * 6)
    silent = "stopped for" if summary.get("stopped") else "not seen for"
    daemon = "running" if report.alive(now) else f"{silent} {ago(summary['at'], now)}"
    states = [f"{count} {state}" for state, count in sorted(summary["counts"].items())]
    if summary["in_flight"]:
        states.append(f"{summary['in_flight']} in flight")
    agents = Counter(each["agent"] for each in summary["instances"])
    policy = summary["policy"]
    return (
        report.name,
        daemon,
        sum(summary["counts"].values()),
        f"{policy['min_instances']} to {policy['max_instances']}",
        ", ".join(states) or "-",
        ", ".join(f"{count} {agent}" for agent, count in sorted(agents.items()) if agent != "none") or "-",
        _pending(summary),
        len(summary["unmet"]) or "-",
    )


def _pending(summary: Mapping[str, Any]) -> str:
    if summary["scheduler"]["at"] is None:
        return "not known"
    return f"{plural(summary['pending_tasks'], 'task')}, {plural(summary['pending_slots'], 'slot')}"


def _instance_row(each: dict[str, Any], now: float) -> tuple[object, ...]:
    since = each["idle_since"] if each["agent"] == "idle" else each["missing_since"]
    return (
        each["id"],
        each["state"],
        ago(each["launched_at"], now),
        each["agent"],
        ago(since, now),
        ending(each, now) or each.get("detail") or "",
    )
