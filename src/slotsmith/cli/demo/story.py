"""What happens to the fleet, told once each: decisions and moves from the store, joining and idling from the view."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Any

from slotsmith.model.agent import Agent
from slotsmith.model.instance import InstanceState
from slotsmith.model.record import Move
from slotsmith.store.base import DecisionRow

TELLING_IDLENESS = 1.0
"""Seconds after which an idle agent is worth a line; between two tasks every agent is idle for a moment."""


class Story:
    """Turns what is known at each look into lines; `tell` takes a time (epoch seconds) and a text."""

    def __init__(self, tell: Callable[[float, str], None], max_instances: int) -> None:
        self._tell = tell
        self._max_instances = max_instances
        self._decisions = 0
        self._moves = 0
        self._unmet: set[str] = set()
        self._joined: set[str] = set()
        self._idle_since: dict[str, float] = {}

    def records(self, rows: Sequence[DecisionRow], moves: Sequence[Move]) -> None:
        """All decisions and all moves so far, each oldest first."""
        # What was seen comes before what was decided on it in the same moment.
        news = [line for move in moves[self._moves :] for line in _move(move)]
        news += [line for row in rows[self._decisions :] for line in self._decision(row)]
        self._decisions, self._moves = len(rows), len(moves)
        for at, text in sorted(news, key=itemgetter(0)):
            self._tell(at, text)

    def agents(self, agents: Sequence[Agent], summary: Mapping[str, Any] | None, now: float) -> None:
        """The scheduler's agents, and what `status` would say of their instances."""
        for agent in agents:
            if agent.name not in self._joined:
                self._joined.add(agent.name)
                slots = agent.capacity.slots if agent.capacity else 0
                self._tell(now, f"{agent.name} has joined the scheduler, with {slots} slots")
        for instance in (summary or {}).get("instances", ()):
            since = instance["idle_since"]
            if since and now > since + TELLING_IDLENESS and self._idle_since.get(instance["id"]) != since:
                self._idle_since[instance["id"]] = since
                self._tell(now, f"{instance['id']} is idle")

    def _decision(self, row: DecisionRow) -> Iterator[tuple[float, str]]:
        for launch in row.body.get("launch", ()):
            yield row.at, f"launching {launch['count']}: {launch['reason']}, the maximum is {self._max_instances}"
        for ending in row.body.get("terminate", ()):
            yield row.at, f"{ending['id']} is given up: {ending['reason']}"
        for unmet in row.body.get("unmet", ()):
            reason = unmet["reason"].partition(" (")[0]
            if reason not in self._unmet:
                self._unmet.add(reason)
                yield row.at, f"some tasks must wait: {reason}"


def _move(move: Move) -> Iterator[tuple[float, str]]:
    if move.after is InstanceState.RUNNING:
        yield move.at, f"{move.instance_id} runs ({move.note})"
    elif move.after is InstanceState.STOPPED:
        yield move.at, f"[red]{move.instance_id} has stopped: {move.note}[/red]"
    elif move.after is None:
        yield move.at, f"{move.instance_id} is gone"


def reasons(
    ids: Sequence[str], decisions: Sequence[DecisionRow], moves: Sequence[Move]
) -> Sequence[tuple[str, str, str]]:
    """For each instance, in order of launch: why it was launched, and why it was terminated."""
    launched = [
        launch["reason"] for row in decisions for launch in row.body.get("launch", ()) for _ in range(launch["count"])
    ]
    ended = {move.instance_id: move.note for move in moves if move.after is InstanceState.STOPPED}
    why = {move.instance_id: move.note.removeprefix("terminated: ") for move in moves if move.after is None}
    return [
        (instance, launch, ": ".join(part for part in (why.get(instance, "still there"), ended.get(instance)) if part))
        for instance, launch in zip(ids, launched, strict=False)
    ]
