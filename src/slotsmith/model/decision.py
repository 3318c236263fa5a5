"""What one pass wants done, with its reasons."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from slotsmith.model.offering import Offering
from slotsmith.model.task import TaskClass


class Reason(StrEnum):
    """Why an instance is terminated."""

    STOPPED = "stopped"
    LONG_DISCONNECTED = "long disconnected"
    LONG_IDLE = "long idle"
    OVER_MAXIMUM = "instance number exceeding maximum"
    NEVER_JOINED = "never joined"
    NOT_NEEDED = "no longer needed"
    OPERATOR = "asked by an operator"
    REPLACED = "a cheaper one takes its place"
    CONSOLIDATED = "its work fits elsewhere for less"
    RECLAIMED = "reclaimed by the cloud"

    @property
    def needs_drain(self) -> bool:
        """Whether an agent may be at work on it, so that the scheduler must give it up first."""
        return self not in (Reason.STOPPED, Reason.LONG_DISCONNECTED, Reason.NEVER_JOINED)

    @property
    def is_move(self) -> bool:
        """Whether it goes for its price alone: idle ones are replaced, and of others the work is moved first."""
        return self in (Reason.REPLACED, Reason.CONSOLIDATED)


@dataclass(frozen=True, slots=True)
class Termination:
    """One instance to drain and terminate."""

    id: str
    reason: Reason


class Held(NamedTuple):
    """`units` of tasks of a kind, of which one task takes `of`: its members, or where it spans, whole instances.

    Nothing is said of the tasks' number, group and example.
    """

    tasks: TaskClass
    units: int
    of: int


@dataclass(frozen=True, slots=True)
class Promise:
    """What each of `count` instances is launched for."""

    count: int
    members: tuple[Held, ...]


@dataclass(frozen=True, slots=True)
class Launch:
    """`count` instances of one offering; `reason` says for what, in a sentence a person can read.

    `promises` say which tasks they were planned for, where instances of several offerings were to choose from.
    `replaces` are the ids of instances that go once these are at work.
    """

    offering: Offering
    count: int
    reason: str
    promises: tuple[Promise, ...] = ()
    replaces: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Proposal:
    """A move that would pay: instance `id` goes, and `what` takes its place or its work, in words for a person.

    It saves dollars per hour, and costs dollars once at the worst. `held` says why it is not begun now; empty = it is.
    """

    id: str
    what: str
    saves: float
    costs: float
    held: str = ""


@dataclass(frozen=True, slots=True)
class Reservation:
    """Idle `agents` that are there for tasks that ask for the same as `task` (an id), and wait for more of them."""

    task: str
    agents: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Unmet:
    """Demand that this pass does not serve: tasks of a class, or (with no class) a number of instances."""

    count: int
    reason: str
    tasks: TaskClass | None = None

    def __str__(self) -> str:
        what = str(self.tasks) if self.tasks else f"{self.count} instance{'s' if self.count != 1 else ''}"
        return f"{what}: {self.reason}"


@dataclass(frozen=True, slots=True)
class StateSets:
    """The sets that a decision was made from, as ids; clocks are epoch seconds. Sorted, so that they print alike."""

    counted: tuple[str, ...] = ()
    pending: tuple[str, ...] = ()
    recently_launched: tuple[str, ...] = ()
    stopped: tuple[str, ...] = ()
    idle: dict[str, float] = field(default_factory=dict)
    disconnected: dict[str, float] = field(default_factory=dict)
    long_idle: tuple[str, ...] = ()
    long_disconnected: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Decision:
    """What is to be done now.

    `desired_new` is how many new instances the demand asks for before limits; `next_deadline` is the earliest time
    (epoch seconds) at which the same inputs would be decided differently, None = never. `proposals` are the moves that
    would pay, the most saving first, those that are begun now among them. `reservations` are what a scheduler that can
    hold tasks back should keep free. `excess`: the launches are proved to cost at most so many dollars per hour more
    than the cheapest ones for the same tasks would.
    """

    at: float
    launches: tuple[Launch, ...] = ()
    terminations: tuple[Termination, ...] = ()
    unmet: tuple[Unmet, ...] = ()
    desired_new: int = 0
    next_deadline: float | None = None
    proposals: tuple[Proposal, ...] = ()
    reservations: tuple[Reservation, ...] = ()
    excess: float = 0.0

    @property
    def launch_count(self) -> int:
        return sum(launch.count for launch in self.launches)

    @property
    def dollars_per_hour(self) -> float:
        """The price of all launches together."""
        return sum(launch.count * (launch.offering.price or 0.0) for launch in self.launches)
