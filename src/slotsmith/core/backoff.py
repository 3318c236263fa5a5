"""When to try again: launch errors by offering, and the brake on instances that never join.

Both are values: the caller keeps them, hands in what happened and the time, and gets the next value.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from slotsmith.model.launch_error import (
    NO_JOIN_FAILURES,
    ErrorKind,
    JoinFailures,
    LaunchFailures,
)


@dataclass(frozen=True, slots=True)
class RetryRule:
    """What follows from one kind of provider error.

    `definite`: nothing was launched and asking the same thing again is of no use, so the token is spent and the launch
    has failed. If not definite, the same token is sent again. `knows_token`: a provider says this only after it has
    looked the token up, so that it also tells of earlier calls; otherwise one of those may have launched. `base` and
    `cap` bound the back-off in seconds, which doubles between them.
    """

    definite: bool
    base: float
    cap: float
    knows_token: bool = False


RETRY_RULES: Final[Mapping[ErrorKind, RetryRule]] = MappingProxyType(
    {
        # Capacity comes back within minutes; asking more often than that only brings throttling.
        ErrorKind.CAPACITY: RetryRule(definite=True, base=30.0, cap=1800.0, knows_token=True),
        # A quota is raised by a person.
        ErrorKind.QUOTA: RetryRule(definite=True, base=60.0, cap=1800.0, knows_token=True),
        # Rights and parameters are mended by a person, who then expects the next try soon.
        ErrorKind.DENIED: RetryRule(definite=True, base=15.0, cap=600.0),
        ErrorKind.INVALID: RetryRule(definite=True, base=15.0, cap=600.0),
        # For a launch: what it is made from (an image, a template) does not exist.
        ErrorKind.GONE: RetryRule(definite=True, base=15.0, cap=600.0),
        # The provider is there and well, it only asks for patience: the launch has not failed.
        ErrorKind.THROTTLED: RetryRule(definite=False, base=2.0, cap=120.0),
        # No answer, or one that says nothing of what was done.
        ErrorKind.TRANSIENT: RetryRule(definite=False, base=1.0, cap=60.0),
    }
)

BRAKE_AFTER: Final = 3
"""Instances in a row that end without joining before the pool slows down: one is chance, three are a broken image."""
BRAKE_BASE: Final = 60.0
BRAKE_CAP: Final = 1800.0


def _delay(base: float, cap: float, failures: int, jitter: float) -> float:
    """Seconds to wait after so many failures in a row: doubling, with the upper half drawn by `jitter` in [0, 1)."""
    # 2**60 seconds is beyond every cap; the limit only keeps the power from overflowing.
    full = min(cap, base * 2.0 ** min(failures - 1, 60))
    return full * (1.0 + jitter) / 2.0


def retry_delay(kind: ErrorKind, attempts: int, jitter: float) -> float:
    """Seconds to wait after so many attempts in a row that ended in this kind of error; `jitter` in [0, 1)."""
    rule = RETRY_RULES[kind]
    return _delay(rule.base, rule.cap, attempts, jitter)


def launch_failed(previous: LaunchFailures, kind: ErrorKind, message: str, now: float, jitter: float) -> LaunchFailures:
    """One more refused launch of this offering."""
    failures = previous.failures + 1
    return LaunchFailures(failures, kind, message, now, now + retry_delay(kind, failures, jitter))


def launch_fell_short(
    previous: LaunchFailures, kind: ErrorKind, message: str, now: float, jitter: float
) -> LaunchFailures:
    """Some were launched, not all: the rest waits for a first back-off; the count neither grows nor is forgotten."""
    return LaunchFailures(previous.failures, kind, message, now, now + retry_delay(kind, 1, jitter))


def launch_error(failures: LaunchFailures, *, retries: int, timeout: float, now: float) -> str | None:
    """The launch error in force, or None.

    It is in force after more than `retries` consecutive failures, however far apart they are, and until `timeout`
    seconds after the next attempt that back-off permits: a failing attempt renews it, a working one ends it, and when
    nothing is attempted it expires. A `timeout` of 0 means never.
    """
    if timeout <= 0 or failures.failures <= max(0, retries) or now > failures.next_attempt_at + timeout:
        return None
    return failures.message


def launch_error_of_all(failures: Iterable[LaunchFailures], *, retries: int, timeout: float, now: float) -> str | None:
    """The launch error of a pool with several offerings: in force when each of them has one; then the last of these."""
    newest_last = sorted(failures, key=lambda each: (each.last_at, each.message))
    errors = [launch_error(each, retries=retries, timeout=timeout, now=now) for each in newest_last]
    return errors[-1] if errors and None not in errors else None


def never_joined(previous: JoinFailures, instance_ids: list[str], now: float, jitter: float) -> JoinFailures:
    """These instances ended without their agent ever joining."""
    if not instance_ids:
        return previous
    failures = previous.failures + len(instance_ids)
    over = failures - BRAKE_AFTER
    retry_at = now + _delay(BRAKE_BASE, BRAKE_CAP, over + 1, jitter) if over >= 0 else 0.0
    return JoinFailures(failures, retry_at, instance_ids[-1])


def joined() -> JoinFailures:
    """An agent joined: whatever was wrong is over."""
    return NO_JOIN_FAILURES


def brake_is_on(failures: JoinFailures) -> bool:
    """Whether launches are slowed down to one at a time, each after a longer pause."""
    return failures.failures >= BRAKE_AFTER
