"""The default rules decide as the reference does, except where the table below says how and why not.

Each line of the table is a change that `rules_between.Between` can make by itself. With no change it is the reference,
with all of them it is the default rules; that both hold on every case is what proves that nothing else differs. Going
from one to the other line by line tells which line is behind each difference.

Two weaknesses of the reference have no line, because the model of it has a defined order where the reference leaves
the choice to chance (W16), and keeps the first reason where the reference overwrites it (W19).
"""

import random
from collections import Counter
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from random_cases import random_case
from rules_between import Between

from slotsmith.core.replay import ReplayCase, Told, run_case

DIFFERENCES = {
    "unheard": "While the scheduler has said nothing yet, or cannot be heard, nothing is concluded from silence or "
    "idleness, and nothing is launched for what it may have asked for; the reference takes every agent for gone, or "
    "goes by what it heard last.",
    "W8": "A listing is taken as it is; the reference looks only at its length and for unknown entries, so an id that "
    "comes twice hides that another is gone.",
    "W11": "A launch time in the future, by a cloud whose clock is ahead, counts as now: it would lengthen the "
    "starting period.",
    "W13": "An agent that has worked between two looks starts a new idle period, even if both looks find it idle.",
    "W12": "An agent that joined once and is missing is disconnected from then on; the reference calls a young one "
    "recently launched again.",
    "W14": "An instance that never joined is given up when its starting period is over, and not after a further "
    "disconnect period; one that was found past its starting period gets the disconnect period, from then on.",
    "W18": "A timer goes on until the instance is gone; the reference forgets it when it decides to terminate.",
    "W20": "What is being drained is in no set and is not chosen again, and it fills the pool until it is gone; what "
    "the scheduler has just refused to give up is left alone for a while.",
    "W49": "An instance under our tags that is not known to be ours is never touched, and fills the pool.",
    "W17": "Stopped instances are not subtracted from a count that they are not in.",
    "W21": "Over the maximum, an instance that has not joined goes before one at work.",
    "W26": "Pending requests that neither demand nor the minimum needs are cancelled.",
    "W22": "What is terminated in this pass neither serves demand nor counts toward the minimum: its replacement is "
    "asked for at once.",
    "W23": "What is disconnected or never joined does not count toward the minimum.",
    "W24": "Launches in flight count as coming, and toward the maximum.",
    "W9": "All that is listed fills the pool until it is gone: stopped, stopping, terminating, unknown.",
    "W2": "After a failed launch there is a pause; the reference asks again on every tick.",
    "W4": "After three instances in a row that never joined, one at a time is launched, each after a pause.",
}


def decisions(told: Told) -> tuple[Any, ...]:
    """What can be compared of a tick: whatever the order of terminations may be."""
    return told.launch, sorted((t.id, t.reason) for t in told.terminations), told.sets


def explained(case: ReplayCase) -> Counter[str]:
    """Check that both ends are what they should be; count the ticks that each line of the table makes differ."""
    between = [Between(case, tuple(DIFFERENCES)[:number]) for number in range(len(DIFFERENCES) + 1)]
    lines, both = Counter[str](), zip(run_case(case, "reference"), run_case(case, "slotsmith"), strict=True)
    for tick, (theirs, ours) in zip(case.ticks, both, strict=True):
        steps = [decisions(rules.tick(tick)) for rules in between]
        assert steps[0] == decisions(theirs)
        assert steps[-1] == decisions(ours), f"a difference that no line explains, at {tick.at}"
        lines.update(
            name for name, before, after in zip(DIFFERENCES, steps, steps[1:], strict=False) if before != after
        )
        lines["the same"] += decisions(theirs) == decisions(ours)
        lines["ticks"] += 1
    return lines


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.randoms(use_true_random=False))
def test_no_difference_is_without_an_explanation(rng: random.Random) -> None:
    explained(random_case(rng))


def test_every_line_explains_something() -> None:
    lines = Counter[str]()
    for seed in range(600):
        lines += explained(random_case(random.Random(seed)))
        if seed > 60 and all(lines[name] >= 3 for name in DIFFERENCES):
            break
    assert {name for name in DIFFERENCES if lines[name] < 3} == set(), lines
    assert lines["the same"] > lines["ticks"] / 4, lines
