"""What `slotsmith simulate` and `advise` tell people: the figures of one run, of a sweep, of several choices."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from slotsmith.cli.output import plural, span, table

if TYPE_CHECKING:
    from rich.console import RenderableType

    from slotsmith.simulation.advice import Figures
    from slotsmith.simulation.plot import SweepPoint

MOST_VIOLATIONS = 20
"""Violations that are told one by one."""

NO_PRICE = "not known (the instance type has no price)"


def run_table(figures: Figures) -> RenderableType:
    """One run: a line for each figure, with its unit."""
    return table(("figure", "value", ""), _lines(figures))


def sweep_table(parameter: str, labels: Sequence[str], runs: Sequence[Figures]) -> RenderableType:
    """A sweep: a line for each value."""
    columns = (
        "value",
        "instance-hours",
        "x work",
        "x clairvoyant",
        "cost",
        "utilisation",
        "launches",
        "peak",
        "mean wait",
        "p50",
        "p95",
        "p99",
        "no wait",
        "broken promises",
    )
    rows = [_row(label, figures) for label, figures in zip(labels, runs, strict=True)]
    return table(columns, rows, title=parameter)


def choices_table(labels: Sequence[str], runs: Sequence[Figures]) -> RenderableType:
    """Choices, a line for each; the first is what the others are compared with."""
    columns = ("choice", "instance-hours", "cost", "compared", "mean wait", "compared", "p95", "fit nowhere", "killed")
    return table(columns, [_choice(label, run, runs[0]) for label, run in zip(labels, runs, strict=True)])


def sweep_points(labels: Sequence[str], runs: Sequence[Figures]) -> tuple[str, list[SweepPoint]]:
    """What costs are counted in, and a point for each run."""
    from slotsmith.simulation.plot import SweepPoint

    priced = all(run["cost_usd"] for run in runs)
    unit, key = ("cost in US dollars", "cost_usd") if priced else ("instance-hours", "instance_hours")
    points = [
        SweepPoint(label, run[key], run["wait_s"]["mean"], run["wait_s"]["p95"])
        for label, run in zip(labels, runs, strict=True)
    ]
    return unit, points


def digest_line(figures: Figures) -> str:
    """By what two runs are compared."""
    return f"digest {figures['digest']} (of all events of seed {figures['seed']})"


def violation_lines(figures: Figures) -> Iterator[str]:
    """Each promise that was broken in a run."""
    violations = figures["violations"]
    for each in violations[:MOST_VIOLATIONS]:
        yield f"broken promise {each['promise']} at {each['at']:.3f} s: {each['text']}"
    if len(violations) > MOST_VIOLATIONS:
        yield f"and {plural(len(violations) - MOST_VIOLATIONS, 'more broken promise')}"


def _lines(figures: Figures) -> Iterator[tuple[str, str, str]]:
    wait, tasks, bound = figures["wait_s"], figures["tasks"], figures["lower_bound"]
    yield "paid for", f"{figures['instance_hours']:,.1f} instance-hours", _against_bounds(figures)
    yield "cost", _dollars(figures["cost_usd"]) or NO_PRICE, ""
    yield "utilisation", _percent(figures["utilisation"]), "of the paid slots had work"
    yield "launches", plural_of(figures["launches"], "instance"), ""
    yield "largest fleet", plural_of(figures["peak_instances"], "instance"), ""
    yield "tasks completed", f"{tasks['completed']:,}", ""
    yield "tasks that fit nowhere", f"{tasks['unschedulable']:,}", "can never run on this pool"
    yield "tasks killed", f"{tasks['killed']:,}", "with their instance, and run again"
    yield "wait, mean", _wait(wait["mean"]), "from submission to start"
    for key, share in (("p50", "half of the tasks"), ("p95", "95 of 100 tasks"), ("p99", "99 of 100 tasks")):
        yield f"wait, {share}", _wait(wait[key]), "or less"
    yield "no wait", _percent(wait["zero_fraction"]), "of the tasks started at once"
    yield "least, by work", _hours(bound["work_hours"]), "if every task started at once on full instances"
    yield "least, clairvoyant", _hours(bound["clairvoyant_hours"]), "if demand were known one boot time ahead"
    calls = ", ".join(f"{count:,} {name}" for name, count in figures["api_calls"].items())
    yield "calls to the cloud", calls or "none", ""
    yield "broken promises", f"{len(figures['violations'])}" if figures["violations"] else "none", ""


def _row(label: str, figures: Figures) -> tuple[object, ...]:
    wait = figures["wait_s"]
    hours, bound = figures["instance_hours"], figures["lower_bound"]
    return (
        label,
        f"{hours:,.1f}",
        _ratio(hours, bound["work_hours"]) or "-",
        _ratio(hours, bound["clairvoyant_hours"]) or "-",
        _dollars(figures["cost_usd"]) or "-",
        _percent(figures["utilisation"]),
        f"{figures['launches']:,}",
        f"{figures['peak_instances']:,}",
        *(f"{wait[key]:,.1f} s" for key in ("mean", "p50", "p95", "p99")),
        _percent(wait["zero_fraction"]),
        len(figures["violations"]) or "none",
    )


def _choice(label: str, run: Figures, first: Figures) -> tuple[object, ...]:
    wait, priced = run["wait_s"], first["cost_usd"] and run["cost_usd"] is not None
    key = "cost_usd" if priced else "instance_hours"
    return (
        label,
        f"{run['instance_hours']:,.1f}",
        _dollars(run["cost_usd"]) or "-",
        _change(run[key], first[key]) if run is not first else "",
        f"{wait['mean']:,.1f} s",
        _change(wait["mean"], first["wait_s"]["mean"]) if run is not first else "",
        f"{wait['p95']:,.1f} s",
        f"{run['tasks']['unschedulable']:,}",
        f"{run['tasks']['killed']:,}",
    )


def _change(value: float, before: float) -> str:
    return f"{100 * (value / before - 1):+.1f} %" if before else "-"


def plural_of(count: int, word: str) -> str:
    """`1 task`, `2,000 tasks`."""
    return f"{count:,} {word}" if count == 1 else f"{count:,} {word}s"


def _against_bounds(figures: Figures) -> str:
    hours, bound = figures["instance_hours"], figures["lower_bound"]
    told = (
        (_ratio(hours, bound["work_hours"]), "the work itself"),
        (_ratio(hours, bound["clairvoyant_hours"]), "what a clairvoyant would pay"),
    )
    return ", ".join(f"{ratio} x {what}" for ratio, what in told if ratio)


def _ratio(value: float, bound: float) -> str:
    return f"{value / bound:.3f}" if bound else ""


def _hours(hours: float) -> str:
    return f"{hours:,.1f} instance-hours"


def _dollars(cost: float | None) -> str:
    return "" if cost is None else f"${cost:,.2f}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _wait(seconds: float) -> str:
    return f"{seconds:,.1f} s" + (f" ({span(seconds)})" if seconds >= 100 else "")
