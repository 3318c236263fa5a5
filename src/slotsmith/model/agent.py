"""The scheduler's worker on an instance."""

from typing import NamedTuple

from slotsmith.model.resources import Resources


class Agent(NamedTuple):
    """What the scheduler says of one connected agent.

    A tuple and not a dataclass: a view holds up to 100,000 of them, and equal views are recognised by comparing them.
    `idle` = nothing runs on it. `capacity` and `used` are None when the scheduler does not say; `zero_slot_tasks`
    counts running tasks that use no slot; `draining` = it gets no new tasks. `activity` is any number that differs from
    the last view's when the agent has worked in between, so that a task too short to be seen, or done while nobody
    looked, still restarts the idle period. The last one is kept over restarts of ours, so one that is counted in our
    process restarts it too; a scheduler that cannot tell leaves it at 0. `movable`: all that runs on it may be moved to
    any other agent of the pool that has room; asked to give the agent up when it is done, the scheduler moves it.
    """

    name: str
    idle: bool
    capacity: Resources | None = None
    used: Resources | None = None
    zero_slot_tasks: int = 0
    draining: bool = False
    activity: int = 0
    movable: bool = False
