"""One replica's part in who leads: take the lease when nobody has it, keep it, and know when it may be lost.

No two clocks are compared. A replica that waits measures, by its own clock, for how long the lease has shown no new
sign of life; one that leads measures how long ago it asked for its last one. Whatever either of them believes, the
fence in the store decides which writes happen.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final, Protocol

from slotsmith.clock import Clock
from slotsmith.model.lease import Claim, Lease
from slotsmith.store.base import StoreError, StoreRunner

TERM: Final = 10.0
"""Seconds without a sign of life after which a lease may be taken. A crash of the leader is got over within this, one
look, and the start of the pools; a leader whose machine is that slow has given up by itself."""
BEAT: Final = 2.0
"""Seconds between two signs of life, so that four may fail."""
LOOK: Final = 0.5
"""Seconds between two looks of a replica that waits: so soon it takes over from one that ends cleanly."""


class Leases(Protocol):
    """The lease in the store. Every method may raise `StoreError`."""

    def read(self) -> Lease | None:
        """The lease; None = nobody has ever had it."""
        ...

    def take(self, seen: Lease | None, claim: Claim, now: float) -> Lease | None:
        """Take the lease if it still is as it was seen; None = somebody was faster, or it has shown a sign of life."""
        ...

    def renew(self, lease: Lease) -> bool:
        """A sign of life; False = the lease has been taken."""
        ...

    def release(self, lease: Lease) -> None:
        """Give it up, if it has not been taken."""
        ...


class Candidate:
    """A replica that leads as soon as nobody else does. `step` is to be called every `pause` seconds."""

    def __init__(self, leases: Leases, run: StoreRunner, clock: Clock, claim: Claim) -> None:
        self.claim = claim
        self.error: str | None = None
        self._leases = leases
        self._run = run
        self._clock = clock
        self._mine: Lease | None = None
        self._fresh_until = -math.inf
        self._seen: Lease | None = None
        self._seen_since = math.inf

    @property
    def lease(self) -> Lease | None:
        """The lease by which it leads; None = it does not."""
        return self._mine

    @property
    def leader(self) -> Lease | None:
        """The lease as it was seen last, whoever has it; None = nobody, or not looked yet."""
        seen = self._mine or self._seen
        return None if seen is None or seen.free else seen

    @property
    def pause(self) -> float:
        """Seconds until the next step."""
        return LOOK if self._mine is None else BEAT

    def may_act(self) -> bool:
        """Whether nobody else can lead just now, as far as can be known without asking."""
        return self._mine is not None and self._clock.now() < self._fresh_until

    async def step(self) -> None:
        """Keep the lease, or look at it and take it when it is due. What fails is told in `error`."""
        try:
            if self._mine is not None:
                await self._keep(self._mine)
            else:
                await self._look()
            self.error = None
        except StoreError as error:
            # Whoever leads goes on leading: while the store does not answer, nobody can take the lease either.
            self.error = str(error)

    async def resign(self) -> None:
        """Lead no more, and let others know. What fails is only a matter of time."""
        mine, self._mine = self._mine, None
        self._forget()
        if mine is not None:
            try:
                await self._run(lambda: self._leases.release(mine))
            except StoreError as error:
                self.error = str(error)

    async def _keep(self, mine: Lease) -> None:
        asked = self._clock.now()
        if await self._run(lambda: self._leases.renew(mine)):
            self._fresh_until = asked + TERM
        else:
            self._mine = None
            self._forget()

    async def _look(self) -> None:
        asked = self._clock.now()
        found = await self._run(self._leases.read)
        if _life(found) != _life(self._seen) or math.isinf(self._seen_since):
            self._seen, self._seen_since = found, self._clock.now()
        over = asked - self._seen_since >= TERM
        # One of our own that we do not know of: the answer to a take was lost.
        ours = found is not None and found.holder == self.claim.holder
        if found is None or found.free or ours or over:
            await self._take(found)

    async def _take(self, found: Lease | None) -> None:
        asked = self._clock.now()
        taken = await self._run(lambda: self._leases.take(found, self.claim, asked))
        if taken is not None:
            self._mine, self._fresh_until = taken, asked + TERM

    def _forget(self) -> None:
        # What was seen long ago, or was our own, says nothing of how long the next one has been silent.
        self._seen, self._seen_since, self._fresh_until = None, math.inf, -math.inf


def _life(lease: Lease | None) -> tuple[int, int, str] | None:
    return None if lease is None else (lease.fence, lease.beat, lease.holder)


MayAct = Callable[[], bool]
"""Whether a replica may ask a cloud or a scheduler to do something."""
