"""The lease in the simulated store: who leads, as `slotsmith.replicas.candidate.Leases` has it."""

from __future__ import annotations

from dataclasses import replace

from slotsmith.model.lease import Claim, Lease
from slotsmith.simulation.generation import Generation
from slotsmith.simulation.storage import Disk
from slotsmith.store.base import StoreError


class SimulatedLeases:
    """The lease in the simulated store, as `slotsmith.replicas.candidate.Leases` has it."""

    def __init__(self) -> None:
        self.lease: Lease | None = None

    def read(self) -> Lease | None:
        """The lease; None = nobody has ever had it."""
        return self.lease

    def take(self, seen: Lease | None, claim: Claim, now: float) -> Lease | None:
        """Take it if it still is as it was seen."""
        if self.lease != seen:
            return None
        fence = seen.fence + 1 if seen is not None else 1
        self.lease = Lease(fence, 0, claim.holder, claim.address, claim.secret, now)
        return self.lease

    def renew(self, lease: Lease) -> bool:
        """A sign of life; False = it has been taken."""
        if not self._is(lease):
            return False
        self.lease = replace(lease, beat=self._beat + 1)
        return True

    def release(self, lease: Lease) -> None:
        """Give it up, if it has not been taken."""
        if self._is(lease):
            self.lease = replace(lease, beat=self._beat, holder="", secret="")

    def guard(self, mine: Lease | None) -> None:
        """Raises `StoreError` unless `mine` is the lease."""
        if mine is None or not self._is(mine):
            raise StoreError("sqlite:// takes no writes of a replica that does not lead")

    def _is(self, lease: Lease) -> bool:
        there = self.lease
        return there is not None and (there.fence, there.holder) == (lease.fence, lease.holder)

    @property
    def _beat(self) -> int:
        return self.lease.beat if self.lease is not None else 0


class LeasePort:
    """The lease as one process sees it: on the disk on which all is."""

    def __init__(self, leases: SimulatedLeases, generation: Generation, disk: Disk) -> None:
        self._leases = leases
        self._generation = generation
        self._disk = disk

    def read(self) -> Lease | None:
        self._pass(writing=False)
        return self._leases.read()

    def take(self, seen: Lease | None, claim: Claim, now: float) -> Lease | None:
        self._pass(writing=True)
        return self._leases.take(seen, claim, now)

    def renew(self, lease: Lease) -> bool:
        self._pass(writing=True)
        return self._leases.renew(lease)

    def release(self, lease: Lease) -> None:
        self._pass(writing=True)
        self._leases.release(lease)

    def _pass(self, *, writing: bool) -> None:
        self._generation.check()
        self._disk.fail(writing=writing)
