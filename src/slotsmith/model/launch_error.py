"""What the provider answered to failed launches, kept while it matters."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class ErrorKind(StrEnum):
    """What kind of answer a provider error is; the retry rule of each stands in `core.backoff`."""

    CAPACITY = "capacity"
    QUOTA = "quota"
    THROTTLED = "throttled"
    DENIED = "denied"
    INVALID = "invalid"
    TRANSIENT = "transient"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class LaunchFailures:
    """Consecutive failed launches of one offering. `failures` = 0 and no message: the last launch worked.

    `next_attempt_at` is when back-off permits another launch (epoch seconds).
    """

    failures: int = 0
    kind: ErrorKind | None = None
    message: str = ""
    last_at: float = 0.0
    next_attempt_at: float = 0.0


@dataclass(frozen=True, slots=True)
class JoinFailures:
    """Instances in a row that ended without their agent ever joining. `retry_at`: no launch before it."""

    failures: int = 0
    retry_at: float = 0.0
    last_id: str = ""


NO_LAUNCH_FAILURES = LaunchFailures()
NO_JOIN_FAILURES = JoinFailures()
