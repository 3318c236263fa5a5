"""The process that a mutant runs in: `python -m mutants.child FIRST END`, with the mutant's source first on its path.

Runs the swarm's seeds from FIRST up to END and prints a line of JSON for each:
`{"seed", "digest", "violations": [[invariant, text], ...]}`. Ends after the first that has a violation.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any, Final

SECONDS_PER_SEED: Final = float(os.environ.get("SLOTSMITH_SECONDS_PER_SEED", "60"))
"""Of CPU time. A seed takes a fraction of a second, so one that takes this long goes round in circles."""
RAISED: Final = "raised"
"""The provisioner, or the world around it, has failed with an exception."""
ENDLESS: Final = "endless"
"""A seed has used up its CPU time."""

Found = Sequence[tuple[str, str]]


def main(first: int, end: int) -> None:
    # Here and not above: whoever reads this module's names is not in the mutant's process.
    from slotsmith.simulation.draw import draw
    from slotsmith.simulation.world import collect_rarely, run_scenario

    _be_quiet()
    collect_rarely()
    for seed in range(first, end):
        _limit_time(seed)
        found, digest = _run(lambda seed: run_scenario(draw(seed)), seed)
        _say(seed, digest, found)
        if found:
            return


def _run(run: Callable[[int], Any], seed: int) -> tuple[Found, str]:
    try:
        outcome = run(seed)
    except Exception as error:  # noqa: BLE001 - a mutant may fail in any way, and each is a way of being found
        return [(RAISED, f"{type(error).__name__}: {error}")], ""
    return [(each.promise, each.text) for each in outcome.violations], outcome.digest


def _be_quiet() -> None:
    """Standard output is for the results, and nobody reads the pools' logs."""
    import structlog

    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))


def _limit_time(seed: int) -> None:
    def give_up(_signal: int, _frame: FrameType | None) -> None:
        _say(seed, "", [(ENDLESS, f"the seed has not ended after {SECONDS_PER_SEED:g} s of CPU time")])
        os._exit(0)  # an exception could be caught by whatever runs in circles

    signal.signal(signal.SIGVTALRM, give_up)
    signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS_PER_SEED)


def _say(seed: int, digest: str, found: Found) -> None:
    line = {"seed": seed, "digest": digest, "violations": [list(each) for each in found]}
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
