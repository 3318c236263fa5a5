"""Runs many seeds, in processes side by side, and says what they have exercised and broken.

    python -m slotsmith.simulation.swarm --seeds 1000          # seeds 0 to 999
    python -m slotsmith.simulation.swarm --seeds 5000:6000

Results go to a file, chunk by chunk, from which a run that was interrupted goes on; they hold for the code that made
them, and are made anew when it has changed. The exit status is 1 when a promise was broken, or when at least 1,000
seeds have left a fault or a legal move out.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import slotsmith
from slotsmith.simulation.coverage import never_seen
from slotsmith.simulation.draw import draw
from slotsmith.simulation.world import collect_rarely, run_scenario

CHUNK: Final = 20
"""Seeds that a process takes at a time, and that stand in one line of the results."""
ENOUGH: Final = 1000
"""Seeds from which on everything must have been exercised."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """What a number of seeds have given, from `first` on. `failures`: seed, promise, and the violation as text."""

    first: int
    count: int
    events: int = 0
    hours: float = 0.0
    generations: int = 0
    coverage: dict[str, int] = field(default_factory=dict)
    failures: list[tuple[int, str, str]] = field(default_factory=list)
    digest: str = ""


@dataclass(frozen=True, slots=True)
class Summary:
    """A whole swarm. `hours` are virtual; `digest` is that of all seeds' digests in their order."""

    seeds: int
    events: int
    hours: float
    generations: int
    coverage: Counter[str]
    failures: tuple[tuple[int, str, str], ...]
    digest: str

    @property
    def missing(self) -> tuple[str, ...]:
        """What should have been exercised by so many seeds and was not."""
        return never_seen(self.coverage) if self.seeds >= ENOUGH else ()


def run_chunk(bounds: tuple[int, int]) -> Chunk:
    """Run `count` seeds from `first` on, given as a pair."""
    first, count = bounds
    coverage: Counter[str] = Counter()
    failures: list[tuple[int, str, str]] = []
    events, generations, hours, digest = 0, 0, 0.0, hashlib.sha256()
    for seed in range(first, first + count):
        try:
            outcome = run_scenario(draw(seed))
        except Exception as error:  # noqa: BLE001 - the other seeds are run all the same
            failures.append((seed, "world", f"the run itself failed: {type(error).__name__}: {error}"))
            continue
        coverage += outcome.coverage
        events, generations = events + outcome.events, generations + outcome.generations
        hours += outcome.ended_at / 3600
        digest.update(outcome.digest.encode())
        failures += [(seed, violation.promise, str(violation)) for violation in outcome.violations[:1]]
    return Chunk(
        first, count, events, round(hours, 3), generations, dict(sorted(coverage.items())), failures, digest.hexdigest()
    )


def swarm(
    first: int,
    end: int,
    *,
    processes: int = 2,
    results: Path | None = None,
    progress: Callable[[int, int], None] = lambda _done, _failed: None,
) -> Summary:
    """Run the seeds from `first` to before `end`; `progress` is told how many are done and how many have failed.

    With `results`, what stands there already is not run again, and what is run is added.
    """
    wanted = [(start, min(CHUNK, end - start)) for start in range(first, end, CHUNK)]
    chunks = {(chunk.first, chunk.count): chunk for chunk in _kept(results)}
    chunks = {bounds: chunks[bounds] for bounds in wanted if bounds in chunks}
    todo = [bounds for bounds in wanted if bounds not in chunks]

    def told() -> None:
        progress(sum(count for _, count in chunks), sum(len(chunk.failures) for chunk in chunks.values()))

    told()
    for chunk in _run(todo, processes):
        chunks[chunk.first, chunk.count] = chunk
        _keep(results, chunk)
        told()
    return _sum(chunks[bounds] for bounds in wanted)


def _run(todo: Sequence[tuple[int, int]], processes: int) -> Iterator[Chunk]:
    if processes <= 1 or len(todo) <= 1:
        yield from map(run_chunk, todo)
        return
    # Not forked: a progress bar draws in a thread, and a fork of a process with threads may hang.
    with multiprocessing.get_context("spawn").Pool(processes, initializer=collect_rarely) as pool:
        yield from pool.imap_unordered(run_chunk, todo)


def _sum(chunks: Iterable[Chunk]) -> Summary:
    seeds, events, hours, generations, digest = 0, 0, 0.0, 0, hashlib.sha256()
    coverage: Counter[str] = Counter()
    failures: list[tuple[int, str, str]] = []
    for chunk in chunks:
        seeds, events, hours = seeds + chunk.count, events + chunk.events, hours + chunk.hours
        generations += chunk.generations
        coverage.update(chunk.coverage)
        failures += chunk.failures
        digest.update(chunk.digest.encode())
    return Summary(seeds, events, hours, generations, coverage, tuple(failures), digest.hexdigest())


# What was run before


def code_digest() -> str:
    """Of all that the results depend on: the package's own source."""
    root = Path(slotsmith.__file__).parent
    total = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        total.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return total.hexdigest()


def _kept(results: Path | None) -> list[Chunk]:
    """The chunks in a file of results; a file that other code has made is emptied."""
    if results is None:
        return []
    code = code_digest()
    lines = results.read_text().splitlines() if results.exists() else []
    if not lines or json.loads(lines[0]) != {"code": code}:
        results.parent.mkdir(parents=True, exist_ok=True)
        results.write_text(json.dumps({"code": code}) + "\n")
        return []
    found = []
    for line in lines[1:]:
        try:
            found.append(_chunk(json.loads(line)))
        except ValueError:
            break  # the last line of a run that was cut off
    return found


def _chunk(body: dict[str, Any]) -> Chunk:
    return Chunk(**{**body, "failures": [(seed, promise, text) for seed, promise, text in body["failures"]]})


def _keep(results: Path | None, chunk: Chunk) -> None:
    if results is not None:
        with results.open("a") as file:
            file.write(json.dumps(asdict(chunk)) + "\n")


# The command


def main(arguments: Sequence[str] | None = None) -> int:
    """`python -m slotsmith.simulation.swarm`; the exit status."""
    from slotsmith.simulation.telling import follow, tell_failures, tell_summary

    parser = argparse.ArgumentParser(prog="python -m slotsmith.simulation.swarm", description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=_bounds, default=(0, ENOUGH), metavar="N or FROM:TO", help="which [1000]")
    parser.add_argument("--processes", type=int, default=2, metavar="N", help="side by side [2]")
    parser.add_argument("--results", type=Path, metavar="FILE", help="keep results here, and go on from them")
    parser.add_argument("--shrink", type=int, default=1, metavar="N", help="make so many failures small [1]")
    options = parser.parse_args(arguments)
    first, end = options.seeds
    with follow(end - first) as progress:
        try:
            summary = swarm(first, end, processes=options.processes, results=options.results, progress=progress)
        except KeyboardInterrupt:
            print("interrupted: the same command goes on from the results", file=sys.stderr)
            return 130
    tell_summary(summary)
    tell_failures(summary, options.shrink)
    return 1 if summary.failures or summary.missing else 0


def _bounds(text: str) -> tuple[int, int]:
    first, colon, end = text.partition(":")
    bounds = (int(first), int(end)) if colon else (0, int(first))
    if not 0 <= bounds[0] < bounds[1]:
        raise ValueError(text)
    return bounds


if __name__ == "__main__":
    sys.exit(main())
