"""What is said to a scheduler that is asked by URL or by program, and how its answers are read: JSON both ways."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Final, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from slotsmith.model.scaling_info import ScalingInfo
from slotsmith.schedulers.base import DrainAnswer, DrainOutcome, SchedulerError, as_seen
from slotsmith.wire import WrongView, parse_view, told_errors

SMALL: Final = 32 * 1024
"""Bytes of an answer that is read at once; a larger one is read beside the event loop."""

T = TypeVar("T")
_Names = Annotated[list[str], Field(max_length=100_000)]


class AnswersIn(BaseModel):
    """What became of agents: `released` have no task and get none, `waiting` finish theirs, `refused` stay."""

    model_config = ConfigDict(extra="forbid")

    released: _Names = []
    waiting: _Names = []
    refused: _Names = []
    why: Annotated[str, Field(max_length=500)] = ""


def drain_request(agents: Sequence[str], when_done: bool) -> bytes:
    """Give these up; with `when_done` they may finish their tasks, else those that have some refuse."""
    return json.dumps({"drain": list(agents), "when_done": when_done}).encode()


def cancel_request(agents: Sequence[str]) -> bytes:
    """Give these new tasks again."""
    return json.dumps({"cancel": list(agents)}).encode()


async def read_view(body: bytes, whose: str) -> ScalingInfo:
    """The view in an answer. Raises `SchedulerError`, which names `whose` it is."""
    return await _read(body, whose, lambda: parse_view(body).value())


async def read_answers(body: bytes, whose: str) -> Mapping[str, DrainAnswer]:
    """What became of agents that were to be given up. Raises `SchedulerError`."""
    found = await _read(body, whose, lambda: AnswersIn.model_validate_json(body))
    outcomes = (
        (DrainOutcome.RELEASED, found.released),
        (DrainOutcome.WAITING, found.waiting),
        (DrainOutcome.REFUSED, found.refused),
    )
    return {name: DrainAnswer(outcome, found.why) for outcome, names in outcomes for name in names}


def answers_by_view(info: ScalingInfo, agents: Sequence[str], *, when_done: bool) -> Mapping[str, DrainAnswer]:
    """What a view says of agents, where the scheduler cannot be asked to give any up."""
    idle = {agent.name: agent.idle for agent in info.agents}
    return {name: as_seen(idle.get(name, True), when_done) for name in agents}


async def _read(body: bytes, whose: str, work: Callable[[], T]) -> T:
    try:
        return work() if len(body) <= SMALL else await asyncio.to_thread(work)
    except WrongView as error:
        raise SchedulerError(f"cannot read what {whose} says: {error}") from None
    except ValidationError as error:
        path, message = told_errors(error.errors(include_url=False, include_input=False))[0]
        raise SchedulerError(f"cannot read what {whose} says: {f'{path}: ' if path else ''}{message}") from None
