"""The demo's computation: how many primes there are below a limit, in pieces of different size and need.

This module runs on the Dask workers; it imports nothing of the provisioner.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from slotsmith.clock import SystemClock

PATIENCE = 5.0
"""Seconds for which a member of the gang waits for another one, before it gives its slots back."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Count the primes in [`start`, `stop`) on `slots` slots. `member` of the gang's `gang` members, if it has any."""

    name: str
    start: int
    stop: int
    slots: int
    gang: int = 1
    member: int = 0


def pieces(small: int, large: int, gang: int, width: int) -> list[Piece]:
    """Pieces that cover the numbers from 0 on without a gap: `small` ones on one slot, `large` and a gang on two."""
    plan = [("small", 1, 1, 0)] * small + [("large", 2, 1, 0)] * large
    plan += [("gang", 2, gang, member) for member in range(gang)]
    edges = [number * width for number in range(len(plan) + 1)]
    return [
        Piece(f"{kind}-{number}", edges[number], edges[number + 1], slots, size, member)
        for number, (kind, slots, size, member) in enumerate(plan)
    ]


def count_primes(piece: Piece) -> tuple[int, float]:
    """The number of primes in the piece, and how long it took in seconds."""
    began = SystemClock()
    start = began.now()
    if piece.gang > 1:
        _meet(piece)
    found = sum(1 for number in range(piece.start, piece.stop) if _is_prime(number))
    return found, began.now() - start


def count_primes_directly(work: Sequence[Piece]) -> dict[str, int]:
    """The same numbers by one sieve, by the pieces' names."""
    limit = max(piece.stop for piece in work)
    sieve = np.ones(max(limit, 2), dtype=np.bool_)
    sieve[:2] = False
    for number in range(2, int(limit**0.5) + 1):
        if sieve[number]:
            sieve[number * number :: number] = False
    return {piece.name: int(np.count_nonzero(sieve[piece.start : piece.stop])) for piece in work}


def _is_prime(number: int) -> bool:
    if number < 4:
        return number > 1
    if number % 2 == 0 or number % 3 == 0:
        return False
    divisor = 5
    while divisor * divisor <= number:
        if number % divisor == 0 or number % (divisor + 2) == 0:
            return False
        divisor += 6
    return True


def _meet(piece: Piece) -> None:
    """Go on once every member of the gang is running: that they run together is what makes them a gang.

    Dask places each member by itself, and may have put this one on the very slots that another one waits for. So
    whoever waits too long gives its slots back and is placed anew.
    """
    from distributed import Event, Reschedule

    here = Event(f"demo-gang-{piece.member}")
    here.set()
    for member in range(piece.gang):
        if not Event(f"demo-gang-{member}").wait(timeout=PATIENCE):
            here.clear()
            raise Reschedule
