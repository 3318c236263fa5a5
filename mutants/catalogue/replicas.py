"""Two that lead at once."""

from typing import Final

from mutants.mutant import Mutant

REPLICAS: Final = (
    Mutant(
        "act-without-a-sign-of-life",
        "A process that stood still asks the cloud as if it led, before it has looked whether it does.",
        ("I3",),
        "replicas/candidate.py",
        "return self._mine is not None and self._clock.now() < self._fresh_until",
        "return self._mine is not None",
    ),
    Mutant(
        "take-from-the-living",
        "A process that waits takes the lease of one that shows signs of life.",
        ("I3",),
        "replicas/candidate.py",
        "over = asked - self._seen_since >= TERM",
        "over = True",
    ),
    Mutant(
        "lead-on-without-the-lease",
        "A process whose lease has been taken goes on as if it had it.",
        ("I3", "I5"),
        "replicas/candidate.py",
        "            self._mine = None\n            self._forget()\n\n    async def _look",
        "            pass\n\n    async def _look",
    ),
    Mutant(
        "terminate-without-the-lease",
        "A process that does not lead any more still has instances terminated.",
        ("I3", "I7"),
        "replicas/guarded.py",
        "        self._check()\n        return await self._provider.terminate(instance_ids)",
        "        return await self._provider.terminate(instance_ids)",
    ),
    Mutant(
        "two-run-the-pools",
        "The pools of a process that has lost its lease go on beside those of the next one.",
        ("I3",),
        "replicas/turns.py",
        "                await self._pools.rest()\n",
        "",
    ),
    Mutant(
        "wait-for-the-dead",
        "Nobody takes the lease of a process that has died.",
        ("I5", "I8"),
        "replicas/candidate.py",
        "if found is None or found.free or ours or over:",
        "if found is None or found.free or ours:",
    ),
)
