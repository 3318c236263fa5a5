"""What the API answers with. Times are epoch seconds; None is told as null."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from slotsmith.config.models import Dollars
from slotsmith.settings import PositiveDuration

Why = Annotated[str, Field(min_length=1, max_length=500, pattern=r"\S", description="the reason, for the record")]


class Reason(BaseModel):
    """Why somebody changes something."""

    model_config = ConfigDict(extra="forbid")

    why: Why


class Keep(Reason):
    """For how long an instance is kept, such as 2h; None = until somebody drains or terminates it."""

    period: PositiveDuration | None = None


StrictDollars = Annotated[Dollars, Field(strict=True)]


class Limits(Reason):
    """Limits to set by hand; null = as the file has it. What is left out stays as it is."""

    min_instances: Annotated[int, Field(ge=0, le=1_000_000)] | None = None
    max_instances: Annotated[int, Field(ge=0, le=1_000_000)] | None = None
    max_slots: Annotated[int, Field(ge=0, le=1_000_000)] | None = None
    max_dollars_per_hour: StrictDollars | None = None
    max_dollars_per_month: StrictDollars | None = None


class Done(BaseModel):
    """It is on record, and in force."""

    done: bool = True


class Drain(BaseModel):
    """An agent to give up. `when_done`: it may finish its tasks; otherwise it only goes if it has none."""

    agent: str
    since: float
    when_done: bool


class Drains(BaseModel):
    drains: list[Drain]


class Acknowledgement(BaseModel):
    """What became of agents: `released` have no task and get none, `waiting` finish theirs, `refused` stay."""

    model_config = ConfigDict(extra="forbid")

    released: Annotated[list[str], Field(max_length=100_000)] = []
    waiting: Annotated[list[str], Field(max_length=100_000)] = []
    refused: Annotated[list[str], Field(max_length=100_000)] = []
    why: Annotated[str, Field(max_length=500)] = ""


class Acknowledged(BaseModel):
    """`unknown` are agents that were not asked for."""

    unknown: list[str]


class Reservation(BaseModel):
    """Idle agents to keep free for tasks that ask for the same as `task`, and wait for more agents."""

    task: str
    agents: list[str]


class Reservations(BaseModel):
    reservations: list[Reservation]


class PushAnswer(BaseModel):
    """What became of a view, which agents are to be given up, and which are best kept free for a gang."""

    status: Literal["new", "unchanged", "repeated"]
    sequence: int | None
    drains: list[Drain]
    reservations: list[Reservation]


class LastView(BaseModel):
    """The view that was taken last."""

    run: str
    sequence: int | None
    tag: str
    at: float
    agents: int
    tasks: int


class PoolHead(BaseModel):
    """How a pool stands, in short."""

    pool: str
    ready: bool
    troubles: list[str] = Field(description="what is not as it should be, for people")
    slots_per_instance: int
    current_slot_count: int
    instance_type: str
    launch_error: str | None
    min_instances: int
    max_instances: int
    instances: dict[str, int] = Field(description="how many are in each state")
    in_flight: int
    pending_tasks: int
    pending_slots: int
    unmet: int
    dollars_per_hour: float
    dollars_this_month: float
    paused: bool


class Pools(BaseModel):
    at: float
    pools: list[PoolHead]


class Pool(PoolHead):
    """How a pool stands. `summary` is what `slotsmith status --json` tells, without the instances."""

    at: float
    summary: dict[str, Any] | None


class Instance(BaseModel):
    """One instance: its state, what its agent does, and what is being done to end it."""

    id: str
    state: str
    offering: str
    detail: str
    launched_at: float
    agent: str
    idle_since: float | None
    missing_since: float | None
    termination: dict[str, Any] | None
    kept: bool
    next: str = Field(description="why it is there and what comes next, for people")
    dollars: float | None = Field(default=None, description="what it has cost so far, when its price is known")


class Instances(BaseModel):
    at: float
    total: int
    instances: list[Instance]
    next: str | None = Field(description="give this as `after` for those that follow")


class MoveLine(BaseModel):
    at: float
    before: str | None
    after: str | None
    note: str


class InstanceHistory(BaseModel):
    id: str
    moves: list[MoveLine]


class DecisionLine(BaseModel):
    """One decision: what it does and leaves undone, each with its reason."""

    number: int
    at: float
    sentence: str
    launch: list[dict[str, Any]]
    terminate: list[dict[str, Any]]
    unmet: list[dict[str, Any]]


class Decisions(BaseModel):
    """Newest first."""

    decisions: list[DecisionLine]
    next: int | None = Field(description="give this as `before` for those that are older")


class Explanation(BaseModel):
    at: float
    lines: list[str]


class PlanAnswer(BaseModel):
    """What a pass would do now for a view; nothing is done."""

    launch: list[dict[str, Any]]
    terminate: list[dict[str, Any]]
    unmet: list[dict[str, Any]]
    desired_new: int


class PaidPeriod(BaseModel):
    pool: str
    start: float
    end: float
    instances: int
    instance_seconds: float
    slot_seconds: float
    dollars: float
    unpriced_seconds: float


class Statistics(BaseModel):
    periods: list[PaidPeriod]


class ActionLine(BaseModel):
    at: float
    pool: str | None
    who: str
    what: str
    why: str
    details: dict[str, Any]


class Actions(BaseModel):
    """What people did, newest first."""

    actions: list[ActionLine]


class Health(BaseModel):
    """`ready`: every pool's provider and scheduler have answered; `unready` says of the others why.

    `role`: whether the pools run here; `leader`: where they run, if anywhere; `store`: what is wrong with the store.
    """

    ready: bool
    unready: dict[str, str]
    role: Literal["alone", "leader", "standby"]
    leader: str | None = None
    store: str | None = None
