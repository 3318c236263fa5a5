"""What can go wrong in the simulated cloud, how often and how badly.

Every fault is a `Chance`: how often it strikes when the matter comes up (a call, a launch, a machine's start), and how
long it takes or lasts. What the cloud has promised holds under all of them: no listing lags behind by more than
`consistency_window`, a token launches once within `token_lifetime`, what was granted is never denied later, and what
was refused for want of capacity or quota is not granted later to a request that was sent before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Final

Tell = Callable[..., None]
"""`tell(what, /, **fields)`: something has happened. The fields are texts, numbers or None."""


def tell_nobody(what: str, /, **details: str | int | float | None) -> None:
    """For a cloud whose events nobody follows."""


@dataclass(frozen=True, slots=True)
class Chance:
    """How often one fault strikes, and its lengths.

    `rate` is the probability each time the matter comes up. The fault takes `least` to `most` seconds, short ones more
    often than long ones. One that strikes in the middle of a machine's life does so up to `after` seconds after that
    machine came up, early more often than late.
    """

    rate: float = 0.0
    least: float = 0.0
    most: float = 0.0
    after: float = 0.0

    def __post_init__(self) -> None:
        if not (0 <= self.rate <= 1 and 0 <= self.least <= self.most and self.after >= 0):
            raise ValueError(f"{self}: expected a rate from 0 to 1 and 0 <= least <= most seconds")

    def times(self, factor: float) -> Chance:
        """The same fault that many times as often."""
        return replace(self, rate=min(1.0, self.rate * factor))

    def within(self, seconds: float) -> Chance:
        """The same fault, at most that late in a machine's life."""
        return replace(self, after=min(self.after, seconds))


OFF: Final = Chance()


@dataclass(frozen=True, slots=True)
class Bucket:
    """A token bucket: it holds `size` calls (or instances) and gets `refill` more each second.

    With `period` it is filled up at the start of each period of so many seconds instead, and not in between.
    """

    size: float
    refill: float = 0.0
    period: float = 0.0


@dataclass(frozen=True, slots=True)
class Limits:
    """How often a cloud lets itself be called; None = as often as one likes.

    `list`, `launch` and `terminate` count calls. `instances` counts those launched in all calls, `terminated` those
    terminated. `writes` counts launch calls and terminated instances together.
    """

    list: Bucket | None = None
    launch: Bucket | None = None
    instances: Bucket | None = None
    terminate: Bucket | None = None
    terminated: Bucket | None = None
    writes: Bucket | None = None


NO_LIMITS: Final = Limits()

EC2_LIMITS: Final = Limits(
    list=Bucket(100, 20),
    launch=Bucket(5, 2),
    instances=Bucket(1000, 2),
    terminate=Bucket(100, 5),
    terminated=Bucket(1000, 20),
)
"""Per account and region: https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-throttling.html.

Its tables give, as maximum and refill: non-mutating actions that filter 100 and 20 (without filter and pages, 50 and
10), RunInstances 5 and 2, TerminateInstances 100 and 5; by instances, RunInstances 1000 and 2, TerminateInstances 1000
and 20.
"""

GCE_LIMITS: Final = Limits(list=Bucket(1500, period=60), writes=Bucket(1500, period=60))
"""Per project and region: https://docs.cloud.google.com/compute/docs/api-rate-limits.

A quota is counted by the minute and is whole again when the next minute starts, not before. Lists have one of their
own; inserts and deletes share another. The page tells how they are counted, and no longer how large they are: 1,500
is what it gave for each before, and what https://docs.cloud.google.com/network-connectivity/docs/router/quotas still
gives for lists. One bulk insert launches any number; a delete ends one instance.
"""


@dataclass(frozen=True, slots=True)
class CloudFaults:
    """All faults of a simulated cloud, each off unless it is given; `FAULTS` says what each is.

    `limits` throttle without any chance. `calls`: the only ones (`list`, `launch`, `terminate`) that are lost, late or
    hang; empty = any.
    """

    # A machine's start and its agent
    slow_boot: Chance = OFF
    late_join: Chance = OFF
    never_joins: Chance = OFF
    joins_twice: Chance = OFF
    agent_dies: Chance = OFF
    reboots: Chance = OFF

    # What a listing shows
    listed_late: Chance = OFF
    vanishes_late: Chance = OFF
    missing_from_listing: Chance = OFF
    state_late: Chance = OFF
    unreadable: Chance = OFF
    listed_twice: Chance = OFF
    out_of_order: Chance = OFF
    list_error: Chance = OFF
    untold: Chance = OFF

    # Launching
    partial: Chance = OFF
    capacity: Chance = OFF
    quota: Chance = OFF

    # Any call
    denied: Chance = OFF
    internal_error: Chance = OFF
    throttled: Chance = OFF
    arrives_late: Chance = OFF
    lost_answer: Chance = OFF
    late_answer: Chance = OFF
    hang: Chance = OFF

    # Terminating
    slow_terminate: Chance = OFF
    ignored_terminate: Chance = OFF
    failed_terminate: Chance = OFF
    bad_id_fails_batch: Chance = OFF

    # Spot machines
    spot_pending: Chance = OFF
    fulfilled_after_cancel: Chance = OFF
    reclaimed_with_notice: Chance = OFF
    reclaimed_without_notice: Chance = OFF

    # Others, and clocks
    stopped_behind_back: Chance = OFF
    started_again: Chance = OFF
    deleted_behind_back: Chance = OFF
    clock_skew: Chance = OFF
    clock_jump: Chance = OFF

    limits: Limits = NO_LIMITS
    calls: tuple[str, ...] = ()

    def chances(self) -> dict[str, Chance]:
        """Every fault by its name."""
        return {name: getattr(self, name) for name in FAULTS}

    def changed(self, change: Callable[[Chance], Chance]) -> CloudFaults:
        """Every fault changed in the same way, under the same limits."""
        changes: dict[str, Any] = {name: change(chance) for name, chance in self.chances().items()}
        return replace(self, **changes)


FAULTS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "slow_boot": "A machine takes that much longer to boot.",
        "late_join": "An agent takes that much longer to join.",
        "never_joins": "A machine comes up and its agent never joins.",
        "joins_twice": "An agent leaves, and joins again a while later.",
        "agent_dies": "An agent dies for good on a machine that stays up.",
        "reboots": "A machine reboots: it is starting again, and its agent comes back after that.",
        "listed_late": "A new machine is not listed at once.",
        "vanishes_late": "A machine that is gone stays listed for a while.",
        "missing_from_listing": "A machine that was listed is missing for a while, once in its life.",
        "state_late": "A machine is listed with the state that it had before.",
        "unreadable": "A machine is listed with an unknown state for a while.",
        "listed_twice": "A listing has some machines twice.",
        "out_of_order": "A listing comes in any order.",
        "list_error": "A listing fails.",
        "untold": "A change of the listing is not told of; only a poll finds it.",
        "partial": "Fewer machines are granted than were asked for.",
        "capacity": "An offering is out of capacity for a while.",
        "quota": "A quota a little above what exists is in force for a while.",
        "denied": "Calls are denied for a while; what was granted before is still answered.",
        "internal_error": "The cloud fails inside a call, before it has done something or after.",
        "throttled": "Others of the same account have used up the calls for a while.",
        "arrives_late": "A request is carried out long after it was sent, whether its caller still waits or not.",
        "lost_answer": "A call is carried out, and its answer is lost.",
        "late_answer": "A call is carried out, and its answer comes late, maybe after the deadline.",
        "hang": "A call is never answered; whether it was carried out, nobody says.",
        "slow_terminate": "A machine takes long to end.",
        "ignored_terminate": "A termination is answered, and nothing is done.",
        "failed_terminate": "A termination ends with the machine stopped instead of gone.",
        "bad_id_fails_batch": "One id that does not exist fails a whole call.",
        "spot_pending": "A spot request stays pending for a while.",
        "fulfilled_after_cancel": "A spot request is fulfilled although it was cancelled.",
        "reclaimed_with_notice": "A spot machine is taken away after a notice of that many seconds.",
        "reclaimed_without_notice": "A spot machine is taken away at once.",
        "stopped_behind_back": "Somebody stops a machine.",
        "started_again": "Somebody starts a stopped machine again.",
        "deleted_behind_back": "Somebody terminates a machine.",
        "clock_skew": "A machine's launch is told with a time that is off by so much, either way.",
        "clock_jump": "The cloud's clock jumps by so much, either way, and stays there.",
    }
)
"""The catalogue: each fault's name, and what it is in one sentence."""

NO_FAULTS: Final = CloudFaults()

LIGHT: Final = CloudFaults(
    slow_boot=Chance(0.05, 10, 300),
    late_join=Chance(0.05, 5, 120),
    never_joins=Chance(0.01),
    joins_twice=Chance(0.01, 1, 120, after=3600),
    agent_dies=Chance(0.01, after=14400),
    reboots=Chance(0.005, after=14400),
    listed_late=Chance(0.2, 0.1, 60),
    vanishes_late=Chance(0.2, 0.1, 60),
    missing_from_listing=Chance(0.02, 0.1, 60, after=3600),
    state_late=Chance(0.1, 0.1, 60),
    unreadable=Chance(0.01, 1, 300, after=3600),
    listed_twice=Chance(0.02),
    out_of_order=Chance(0.05),
    list_error=Chance(0.01),
    untold=Chance(0.1),
    partial=Chance(0.05),
    capacity=Chance(0.02, 60, 3600),
    quota=Chance(0.01, 60, 3600),
    denied=Chance(0.001, 30, 600),
    internal_error=Chance(0.01),
    throttled=Chance(0.01, 1, 30),
    arrives_late=Chance(0.01, 5, 100),
    lost_answer=Chance(0.01),
    late_answer=Chance(0.01, 1, 300),
    hang=Chance(0.002),
    slow_terminate=Chance(0.3, 5, 300),
    ignored_terminate=Chance(0.01),
    failed_terminate=Chance(0.005, 5, 120),
    bad_id_fails_batch=Chance(1.0),
    spot_pending=Chance(0.2, 5, 1200),
    fulfilled_after_cancel=Chance(0.1, 1, 120),
    reclaimed_with_notice=Chance(0.1, 30, 120, after=14400),
    reclaimed_without_notice=Chance(0.02, after=14400),
    stopped_behind_back=Chance(0.005, 1, 60, after=14400),
    started_again=Chance(0.1, 30, 1800),
    deleted_behind_back=Chance(0.005, after=14400),
    clock_skew=Chance(0.05, 1, 300),
    clock_jump=Chance(0.01, 1, 300),
    limits=EC2_LIMITS,
)
"""A cloud on an ordinary bad day."""

HEAVY: Final = LIGHT.changed(lambda chance: chance.times(5.0).within(1800.0))
"""A cloud that seems to be against us: everything goes wrong five times as often, and soon."""
