"""Losing in a crash what was known before."""

from typing import Final

from mutants.mutant import Mutant

RESTARTS: Final = (
    Mutant(
        "lose-the-idle-clock",
        "A restart gives every idle agent a fresh idle period.",
        ("I11", "W10"),
        "core/fleet.py",
        "        idle_since=column(lambda record: record.idle_since),\n",
        "        idle_since=column(lambda record: None),\n",
    ),
    Mutant(
        "lose-the-disconnect-clock",
        "A restart gives every agent that is missing a fresh disconnect period.",
        ("I11", "W10"),
        "store/codec.py",
        '        "missing_since": record.missing_since,\n',
        '        "missing_since": None,\n',
    ),
    Mutant(
        "idle-clock-goes-unsaved",
        "That an agent has become idle is not written, so after a restart it has not been.",
        ("I11", "W10"),
        "core/fleet.py",
        "        (before.idle_since, after.idle_since),\n",
        "",
    ),
    Mutant(
        "forget-who-has-joined",
        "After a restart an agent that is missing counts as one that never joined.",
        ("I11", "W12"),
        "core/fleet.py",
        "    joined_at = column(lambda record: record.joined_at)\n",
        "    joined_at = column(lambda record: None)\n",
    ),
    Mutant(
        "restart-only-what-is-open",
        "A restart forgets launches that were granted and are not listed yet.",
        ("I1", "I11", "W24"),
        "store/sql.py",
        "_LIVE = (IntentState.OPEN.value, IntentState.GRANTED.value)",
        "_LIVE = (IntentState.OPEN.value,)",
    ),
    Mutant(
        "open-launches-stay-open",
        "A restart does not ask again for launches that were never answered, so they are on their way for ever.",
        ("I5", "W65"),
        "provisioner/running.py",
        "            self._pool.resume_launches()\n",
        "",
    ),
    Mutant(
        "forget-terminations",
        "A restart forgets what the cloud was told to end, and gives those agents back to the scheduler.",
        ("I7", "I11", "W18"),
        "provisioner/books.py",
        "            record.instance.id: record.termination for record in kept.instances if record.termination\n",
        "            record.instance.id: record.termination\n"
        "            for record in kept.instances\n"
        "            if record.termination and record.termination.phase is Phase.DRAINING\n",
    ),
    Mutant(
        "forget-launch-errors",
        "A restart forgets that launches were refused, and asks again at once.",
        ("I11",),
        "provisioner/books.py",
        "dict(kept.launch_failures)",
        "{}",
    ),
    Mutant(
        "forget-the-brake",
        "A restart forgets that instances never join.",
        ("I11", "W4"),
        "provisioner/joining.py",
        "        self.failures = failures\n",
        "        self.failures = backoff.joined()\n",
    ),
    Mutant(
        "what-failed-to-be-written-is-lost",
        "When the store fails, what was to be written is dropped instead of written later.",
        ("I11", "W31"),
        "provisioner/recorder.py",
        "            self._books.pending.put_back(seen)\n",
        "",
    ),
    Mutant(
        "late-write-wins",
        "A write that hangs and fails at last puts its rows back over those that were written behind it.",
        ("I7", "I11", "W31"),
        "provisioner/pending.py",
        "        if changes is self._under_way:\n            self._under_way = None\n            self._add_below",
        "        if changes:\n            self._under_way = None\n            self._add_below",
    ),
    Mutant(
        "refused-by-the-disk-and-launched-later",
        "An intent whose record timed out stays open on disk, and the next start launches it.",
        ("I3", "W31"),
        "provisioner/recorder.py",
        'self._books.pending.intent(replace(intent, state=IntentState.REFUSED, error="never asked for"))',
        "pass",
    ),
)
