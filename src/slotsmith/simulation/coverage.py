"""What a swarm must have exercised: every fault of every catalogue, and every legal move."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from slotsmith.model.instance import LEGAL_TRANSITIONS, InstanceState
from slotsmith.model.launch import INTENT_TRANSITIONS
from slotsmith.providers.simulated import FAULTS as CLOUD
from slotsmith.schedulers.simulated import FAULTS as SCHEDULER
from slotsmith.simulation.events import FAULT
from slotsmith.simulation.generation import FAULTS as CRASHES
from slotsmith.simulation.replicas import FAULTS as REPLICAS
from slotsmith.simulation.storage import FAULTS as STORE

IMPOSSIBLE: Final[Mapping[str, str]] = MappingProxyType({})
"""What cannot happen in the simulated world, with the reason."""


def faults() -> tuple[str, ...]:
    """Every fault there is, as it is counted."""
    return tuple(FAULT + name for catalogue in (CLOUD, SCHEDULER, CRASHES, STORE, REPLICAS) for name in catalogue)


def transitions() -> tuple[str, ...]:
    """Every legal move of instances and intents, as it is counted."""
    moves = [
        f"instance {before.value} -> {after.value}"
        for before in InstanceState
        for after in InstanceState
        if after in LEGAL_TRANSITIONS[before]
    ]
    moves += [f"instance new -> {state.value}" for state in InstanceState]
    moves += [f"instance {state.value} -> gone" for state in InstanceState]
    moves += [
        f"intent {before.value} -> {after.value}"
        for before, legal in INTENT_TRANSITIONS.items()
        for after in INTENT_TRANSITIONS
        if after in legal
    ]
    return tuple(moves)


def never_seen(coverage: Counter[str]) -> tuple[str, ...]:
    """What should have been exercised and was not."""
    return tuple(what for what in (*faults(), *transitions()) if not coverage[what] and what not in IMPOSSIBLE)


def unexpected(coverage: Counter[str]) -> tuple[str, ...]:
    """Moves that were counted and are in no table; the program logs them and then believes them.

    From a state to the same is a note in an instance's history.
    """
    known = {*faults(), *transitions(), *(f"instance {state.value} -> {state.value}" for state in InstanceState)}
    return tuple(what for what in sorted(coverage) if what not in known)
