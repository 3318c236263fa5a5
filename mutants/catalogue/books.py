"""Statistics that say something else than the bill."""

from typing import Final

from mutants.mutant import Mutant

BOOKS: Final = (
    Mutant(
        "vanished-is-paid-for-ever",
        "An instance that disappears (reclaimed, or ended by hand) is paid for in the statistics for ever.",
        ("I2", "W28"),
        "provisioner/books.py",
        "        self._paid.end(instance.id, min(now, there_until))\n",
        "",
    ),
    Mutant(
        "requests-are-paid-for",
        "A pending spot request counts as paid time.",
        ("W29",),
        "provisioner/paid_time.py",
        "PAID: Final = (InstanceState.STARTING, InstanceState.RUNNING)",
        "PAID: Final = (InstanceState.PENDING_REQUEST, InstanceState.STARTING, InstanceState.RUNNING)",
    ),
    Mutant(
        "ending-is-paid-for",
        "An instance that is terminating goes on being paid for in the statistics until it is gone.",
        ("W27",),
        "provisioner/paid_time.py",
        "_UNPAID: Final = (InstanceState.STOPPING, InstanceState.STOPPED, InstanceState.TERMINATING)",
        "_UNPAID: Final = (InstanceState.STOPPED,)",
    ),
    Mutant(
        "forget-open-spans",
        "What vanished while nobody looked is paid for in the statistics for ever.",
        ("I11", "W28"),
        "provisioner/books.py",
        "        self._paid.resume(spans, self.fleet.rows, month)\n",
        "",
    ),
    Mutant(
        "end-the-absent-at-the-start",
        "What vanished while nobody looked ends in the statistics when it began.",
        ("I11", "W28"),
        "provisioner/books.py",
        "self._heartbeat = kept.heartbeat or 0.0",
        "self._heartbeat = 0.0",
    ),
    Mutant(
        "adopted-for-free",
        "What was launched by others and adopted later is not in the statistics.",
        ("I2", "W28"),
        "provisioner/books.py",
        '"adopted")\n            self._paid.follow(instance, float(self.fleet.launched_at[row]), now)\n',
        '"adopted")\n',
    ),
    Mutant(
        "ended-twice-is-an-error",
        "An instance that was stopped and is gone later ends twice in the statistics, and the second time all fails.",
        ("W30", "W31"),
        "provisioner/paid_time.py",
        "self._open.pop(instance_id, None)",
        "self._open.pop(instance_id)",
    ),
)
