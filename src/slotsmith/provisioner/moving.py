"""What a pool remembers of moves: whom its launches replace, what was tried in vain, and who is lightly used.

It is in memory only. After a restart a replacement on its way is an instance like any other: the work of the old one
may still be moved to it, and if not, it is idle and goes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from slotsmith.core.consolidation import light_since
from slotsmith.core.view import NO_MOVES, Moves
from slotsmith.model.agent import Agent
from slotsmith.model.record import TerminationRecord

SETTLED_HOLDS: Final = 3600.0
"""Seconds for which a move is not tried again with an instance that its scheduler kept, or was to have given up."""


class Moving:
    """The memory of one pool; times are epoch seconds."""

    def __init__(self) -> None:
        self._replacing: dict[str, tuple[float, tuple[str, ...]]] = {}
        self._settled: dict[str, float] = {}
        self._light_since: Mapping[str, float] = {}
        self._heard: Sequence[Agent] = ()

    def heard(self, agents: tuple[Agent, ...], now: float) -> None:
        """What agents run now."""
        if agents is not self._heard:
            self._heard = agents
            self._light_since = light_since(agents, self._light_since, now)

    def replace(self, token: str, ids: tuple[str, ...], until: float) -> None:
        """A launch takes the place of instances; forgotten after a time."""
        if ids:
            self._replacing[token] = (until, ids)

    def in_vain(self, instance_id: str, record: TerminationRecord, now: float) -> None:
        """An instance stays that was to make way."""
        if record.reason.is_move:
            self._settled[instance_id] = now + SETTLED_HOLDS

    def next_deadline(self, now: float) -> float | None:
        """When the first of what is remembered is forgotten; None = never."""
        times = (*(until for until, _ in self._replacing.values()), *self._settled.values())
        return min((at for at in times if at > now), default=None)

    def known(self, terminations: Mapping[str, TerminationRecord], now: float) -> Moves:
        """What the next decision is made from."""
        ending = frozenset(i for i, record in terminations.items() if record.reason.is_move)
        self._replacing = {token: kept for token, kept in self._replacing.items() if kept[0] > now}
        self._settled = {i: until for i, until in self._settled.items() if until > now}
        if not (ending or self._replacing or self._settled or self._light_since):
            return NO_MOVES
        replacing = {token: ids for token, (_, ids) in self._replacing.items()}
        return Moves(replacing, ending, frozenset(self._settled), self._light_since)
