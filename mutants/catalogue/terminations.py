"""Ending what works, not ending what should, and taking the answer for the deed."""

from typing import Final

from mutants.mutant import Mutant

TERMINATIONS: Final = (
    Mutant(
        "terminate-without-drain",
        "An idle agent is terminated without asking the scheduler, which may have placed a task on it.",
        ("I4", "W20"),
        "provisioner/terminating.py",
        "                answers = await self._scheduler.drain(list(agents), when_done=when_done)\n",
        "                answers = {name: DrainAnswer(DrainOutcome.RELEASED) for name in agents}\n",
    ),
    Mutant(
        "refused-is-released",
        "An agent that the scheduler refuses to give up is terminated all the same.",
        ("I4", "W20"),
        "provisioner/terminating.py",
        "        if answer.outcome is DrainOutcome.RELEASED:\n",
        "        if answer.outcome is not DrainOutcome.WAITING:\n",
    ),
    Mutant(
        "waiting-is-released",
        "An agent that still works on its tasks is terminated as soon as it gets no new ones.",
        ("I4", "W21"),
        "provisioner/terminating.py",
        "        if answer.outcome is DrainOutcome.RELEASED:\n",
        "        if answer.outcome is not DrainOutcome.REFUSED:\n",
    ),
    Mutant(
        "unanswered-drain-is-a-release",
        "When the scheduler cannot be asked, its agents are terminated without its leave.",
        ("I4", "W20"),
        "provisioner/terminating.py",
        "            self._drain_failed(list(agents.values()), describe(error, DRAIN_DEADLINE))\n            return\n",
        "            self._drain_failed(list(agents.values()), describe(error, DRAIN_DEADLINE))\n"
        "            answers = dict.fromkeys(agents, DrainAnswer(DrainOutcome.RELEASED))\n",
    ),
    Mutant(
        "forget-to-undrain",
        "An agent whose termination was called off, or forgotten in a crash, is never given tasks again.",
        ("I5",),
        "provisioner/terminating.py",
        "        cancelled = await self._cancel_drains()\n",
        "        cancelled = True\n",
    ),
    Mutant(
        "do-not-look-again",
        "An agent that joins between the decision and the call is terminated for never having joined.",
        ("I4", "W14"),
        "provisioner/terminating.py",
        "if record.reason in _WITHOUT_AGENT and",
        "if record.reason in _WITHOUT_AGENT and record.error and",
    ),
    Mutant(
        "repeat-without-a-drain",
        "A termination that had no effect is repeated without a new drain, though the agent may be at work again.",
        ("I4", "W20"),
        "provisioner/terminating.py",
        "[instance_id for instance_id in due if self._must_drain_again(instance_id)]",
        "[]",
    ),
    Mutant(
        "terminate-once",
        "A termination is asked for once, and forgotten when the cloud does not carry it out.",
        ("I7", "W18", "W45"),
        "provisioner/terminating.py",
        "        return record.last_attempt_at + pause - now\n",
        "        return None\n",
    ),
    Mutant(
        "done-at-the-answer",
        "A termination is struck off when the cloud has answered, before the instance is seen gone.",
        ("I7", "W18"),
        "provisioner/terminating.py",
        "        self._books.put_termination(instance_id, asked)\n",
        "        self._books.put_termination(instance_id, asked if text else None)\n",
    ),
    Mutant(
        "ended-before-seen-gone",
        "The statistics end when the cloud is asked to terminate, whether or not it does.",
        ("I7", "W27"),
        "provisioner/books.py",
        "            self.terminations[instance_id] = record\n        self._save",
        "            self.terminations[instance_id] = record\n"
        "            if record.attempts:\n"
        "                self._paid.end(instance_id, record.last_attempt_at)\n"
        "        self._save",
    ),
    Mutant(
        "unjoined-stay",
        "An instance whose agent never joins keeps its place for ever.",
        ("I5", "W14"),
        "core/terminations.py",
        "    choose(in_order(fleet, found.never_joined, fleet.launched_at), Reason.NEVER_JOINED)\n",
        "",
    ),
    Mutant(
        "disconnected-stay",
        "An instance that has lost its agent keeps its place for ever.",
        ("I5", "W23"),
        "core/terminations.py",
        "    choose(in_order(fleet, found.long_disconnected, found.disconnected_since), Reason.LONG_DISCONNECTED)\n",
        "",
    ),
    Mutant(
        "stopped-stay",
        "An instance that was stopped behind our back keeps its place for ever.",
        ("I5", "W9"),
        "core/terminations.py",
        "    choose(stopped, Reason.STOPPED)\n",
        "",
    ),
    Mutant(
        "keep-unneeded-requests",
        "A pending spot request is not cancelled when nothing waits for it any more.",
        ("I5", "W15", "W26"),
        "core/terminations.py",
        "    choose(surplus, Reason.NOT_NEEDED)\n",
        "",
    ),
    Mutant(
        "one-over-the-maximum-stays",
        "A pool keeps one instance above its maximum.",
        ("I1", "W17"),
        "core/terminations.py",
        "    if over > 0:\n",
        "    if over > 1:\n",
    ),
)
