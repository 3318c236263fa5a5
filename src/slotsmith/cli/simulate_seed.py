"""`slotsmith simulate --seed N`: a seed of the swarm again, with everything that happened in it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import typer

from slotsmith.cli.errors import DONE, FAILED
from slotsmith.cli.output import plural, span, write_json
from slotsmith.text import one_line

if TYPE_CHECKING:
    from slotsmith.simulation.scenario import Scenario
    from slotsmith.simulation.world import Outcome


def replay_seed(seed: int, json_output: bool) -> int:
    """Run the seed and tell its events in their order; the exit status is 1 when a promise was broken."""
    from slotsmith.simulation.draw import draw
    from slotsmith.simulation.world import run_scenario

    scenario = draw(seed)
    outcome = run_scenario(scenario, timeline=True)
    if json_output:
        write_json(
            {
                "seed": seed,
                "digest": outcome.digest,
                "events": outcome.events,
                "ended_at_s": outcome.ended_at,
                "violations": [violation._asdict() for violation in outcome.violations],
                "coverage": dict(sorted(outcome.coverage.items())),
                "timeline": outcome.timeline,
            }
        )
    else:
        for line in _story(scenario, outcome):
            typer.echo(line)
    return FAILED if outcome.violations else DONE


def _story(scenario: Scenario, outcome: Outcome) -> Iterator[str]:
    """What the seed has drawn, then the events, then what came of it."""
    yield f"seed {scenario.seed}: {_pool(scenario)}"
    yield f"  {_work(scenario)}"
    faults = sorted(name.removeprefix("fault ") for name in outcome.coverage if name.startswith("fault "))
    yield f"  faults until {span(scenario.faulty_until)}; those that came: {', '.join(faults) or 'none'}"
    yield ""
    yield "What happened, with the seconds since the start; what the program logged is indented:"
    yield from map(_event, outcome.timeline)
    yield ""
    yield from (one_line(f"violation: {violation}") for violation in outcome.violations)
    yield (
        f"{plural(outcome.events, 'event')} in {span(outcome.ended_at)}, {plural(outcome.generations, 'start')} of the "
        f"program, {plural(len(outcome.violations), 'violation')}; digest {outcome.digest}"
    )


def _event(line: str) -> str:
    """A line of the timeline with its seconds in a column; the text of a log line begins with two spaces."""
    seconds, _, text = line.partition(" ")
    indent = " " * (len(text) - len(text.lstrip()))
    return f"{seconds:>10}  {indent}{one_line(text)}"


def _pool(scenario: Scenario) -> str:
    policy, offering = scenario.policy, scenario.provider.largest
    second = ", beside a second pool" if scenario.second_pool else ""
    others = len(scenario.provider.offerings) - 1
    second = (f", or one of {plural(others, 'other offering')}" if others else "") + second
    return (
        f"{policy.min_instances} to {policy.max_instances} instances of {offering.capacity}, idle for "
        f"{span(policy.max_idle_agent_period)}; boot {span(scenario.provider.boot_time)}{second}"
    )


def _work(scenario: Scenario) -> str:
    changes = f", {plural(len(scenario.policies), 'change')} of the policy" if scenario.policies else ""
    strays = f", {plural(len(scenario.strays), 'stray')}" if scenario.strays else ""
    return f"{plural(len(scenario.jobs), 'task')}, views by {scenario.delivery.value}{changes}{strays}"
