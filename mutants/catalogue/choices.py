"""Choosing the wrong ones, in no order, or without saying why."""

from typing import Final

from mutants.mutant import Mutant

CHOICES: Final = (
    Mutant(
        "sort-by-set-order",
        "Which of several idle instances go is left to the order of a set.",
        ("I9", "W16"),
        "core/conditions.py",
        "    return [instance_id for _, _, instance_id in keys]\n",
        "    return list({instance_id for _, _, instance_id in keys})\n",
        differs=True,
    ),
    Mutant(
        "undrain-in-set-order",
        "The order in which agents are given back to the scheduler is that of a set.",
        ("I9", "W16"),
        "provisioner/terminating.py",
        "cancel_drain(sorted(draining - asked))",
        "cancel_drain(list(draining - asked))",
        differs=True,
    ),
    Mutant(
        "in-order-of-the-listing",
        "Among idle instances the first in the listing goes, not the one that has been idle longest.",
        ("I9", "W16"),
        "core/conditions.py",
        "    keys = sorted((float(since[row])",
        "    keys = list((float(since[row])",
    ),
    Mutant(
        "newest-go-even-if-busy",
        "Over the maximum the newest instances go first, whatever runs on them.",
        ("I4", "W21"),
        "core/terminations.py",
        "    yield from in_order(fleet, found.pending, fleet.launched_at)\n"
        "    yield from in_order(fleet, found.idle, fleet.idle_since)\n",
        "    yield from newest_first(fleet, found.counted)\n",
    ),
    Mutant(
        "gangs-run-out-of-patience",
        "The first agents of a gang are given up as idle while the last one still boots, and so on for ever.",
        ("I5", "W25"),
        "core/free_capacity.py",
        "    if coming_count(view, found):\n        return []\n",
        "",
    ),
    Mutant(
        "idle-below-the-minimum",
        "Long idle instances go even when that leaves fewer than the minimum.",
        ("I5", "W17"),
        "core/terminations.py",
        "        choose(unneeded, Reason.LONG_IDLE, max(places_lacking, working - policy.min_instances))\n",
        "        choose(unneeded, Reason.LONG_IDLE)\n",
    ),
    Mutant(
        "dead-agents-fill-the-minimum",
        "Instances that have lost their agent count toward the minimum.",
        ("I5", "W23"),
        "core/conditions.py",
        "self.counted & ~self.disconnected & ~self.never_joined",
        "self.counted & ~self.never_joined",
    ),
    Mutant(
        "forget-the-minimum",
        "The minimum is kept when instances are given up, and never launched.",
        ("I5",),
        "core/launches.py",
        "    needed = max(for_tasks + for_headroom, for_minimum)\n",
        "    needed = for_tasks + for_headroom\n",
    ),
    Mutant(
        "unschedulable-goes-unsaid",
        "Tasks that no launch can help wait without a reason that anybody could read.",
        ("I6", "W34"),
        "core/decider.py",
        "        unmet=(*wanted.unschedulable, *unmet),\n",
        "        unmet=unmet,\n",
    ),
    Mutant(
        "limits-go-unsaid",
        "What a limit or a pause keeps from being launched waits without a reason.",
        ("I6", "W38"),
        "core/launches.py",
        "    if count < needed:\n",
        "    if 0 < count < needed:\n",
    ),
    Mutant(
        "every-refusal-expires-at-once",
        "A refused launch leaves no launch error behind, so nobody learns why nothing starts.",
        ("I6", "W38", "W57"),
        "core/backoff.py",
        "or now > failures.next_attempt_at + timeout:",
        "or now > failures.last_at:",
    ),
)
