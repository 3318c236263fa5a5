"""`python -m mutants [NAME...]`: hunt all mutants, or those named. Exit status 1 = one survived or does not apply."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Final

from rich.console import Console

from mutants.catalogue import ALL
from mutants.hunt import Hunt, StoppedError, Verdict
from mutants.mutant import Mutant, NoLongerAppliesError
from mutants.results import Results
from mutants.show import Show, list_table, shown, verdicts_table
from slotsmith.clock import SystemClock

ROOT: Final = Path(__file__).resolve().parent.parent
RESULTS: Final = Path("build", "mutants.json")
SEEDS: Final = 5_000
"""A mutant that so many seeds do not find has survived."""


def main(arguments: Sequence[str], root: Path = ROOT, known: Sequence[Mutant] = ALL) -> int:
    """Do what the command line says; returns the exit status."""
    options = _options(arguments)
    unknown = set(options.names) - {mutant.name for mutant in known}
    if unknown:
        print(f"no mutant is called {', '.join(sorted(unknown))}; see python -m mutants --list", file=sys.stderr)
        return 2
    chosen = [mutant for mutant in known if not options.names or mutant.name in options.names]
    console = Console(width=None if sys.stdout.isatty() else 140)
    if options.list:
        console.print(list_table(chosen))
        return 0
    if problems := _problems(chosen, root):
        print("\n".join(problems), file=sys.stderr)
        return 1
    verdicts = _hunt_all(chosen, root, options, console)
    console.print(verdicts_table(chosen, verdicts))
    survivors = [verdict.name for verdict in verdicts.values() if verdict.survived]
    console.print(f"{len(chosen) - len(survivors)} of {len(chosen)} found", style="red" if survivors else "green")
    return 1 if survivors else 0


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m mutants", description="Faults on purpose, and the seed of each.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="run only these")
    parser.add_argument("--list", action="store_true", help="show what there is, and run nothing")
    parser.add_argument("--seeds", type=int, default=SEEDS, help=f"survived after so many (default {SEEDS})")
    parser.add_argument("--first", type=int, default=0, help="the seed to begin with (default 0)")
    parser.add_argument("--processes", type=int, default=2, help="run so many side by side (default 2)")
    parser.add_argument("--fresh", action="store_true", help="forget what earlier runs have found")
    return parser.parse_args(arguments)


def _problems(mutants: Sequence[Mutant], root: Path) -> list[str]:
    problems = []
    for mutant in mutants:
        try:
            compile(mutant.mutated(root), mutant.file, "exec")
        except NoLongerAppliesError as error:
            problems.append(str(error))
        except SyntaxError as error:
            problems.append(f"{mutant.name}: {mutant.path} is no Python any more: {error}")
    return problems


def _hunt_all(
    mutants: Sequence[Mutant], root: Path, options: argparse.Namespace, console: Console
) -> dict[str, Verdict]:
    """A verdict for each; those of earlier runs stand, as far as they went."""
    with (
        Hunt(root, SystemClock()) as hunt,
        shown(console, len(mutants)) as show,
        ThreadPoolExecutor(options.processes) as threads,
    ):
        results = Results(root / RESULTS, hunt.source)
        verdicts: dict[str, Verdict] = {}
        waiting = {}
        for mutant in mutants:
            kept = None if options.fresh else results.verdict(mutant)
            if kept is not None and (not kept.survived or kept.tried >= options.first + options.seeds):
                verdicts[mutant.name] = kept
                show.done(kept)
            else:
                waiting[threads.submit(_hunt_one, hunt, mutant, kept, options, show)] = mutant
        try:
            for future in as_completed(waiting):
                verdict = future.result()
                verdicts[verdict.name] = verdict
                results.keep(waiting[future], verdict)
                show.done(verdict)
        except BaseException:
            threads.shutdown(wait=False, cancel_futures=True)
            hunt.stop()
            raise
        return verdicts


def _hunt_one(hunt: Hunt, mutant: Mutant, kept: Verdict | None, options: argparse.Namespace, show: Show) -> Verdict:
    first = options.first if kept is None else max(options.first, kept.tried)
    seeds = range(first, options.first + options.seeds)
    with show.one(mutant, len(seeds)) as ticker:
        return hunt.hunt(mutant, seeds, ticker)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (KeyboardInterrupt, StoppedError):
        print("broken off; the next run goes on from here", file=sys.stderr)
        sys.exit(130)
