"""Which of several replicas leads."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Lease:
    """Who leads, as it stands in the store.

    `fence` grows with each change of leader, `beat` with each sign of life of the one who leads. `holder` is empty when
    the last leader has given the lease up. `address`: the URL at which the leader answers, empty when it has none.
    `secret`: what one replica shows another; whoever can read the store has it. `since`: epoch seconds.
    """

    fence: int
    beat: int
    holder: str
    address: str = ""
    secret: str = field(default="", repr=False)
    since: float = 0.0

    @property
    def free(self) -> bool:
        """Whether anybody may take it at once."""
        return not self.holder


@dataclass(frozen=True, slots=True)
class Claim:
    """What a replica puts into the lease that it takes. `holder` is another one for each process."""

    holder: str
    address: str = ""
    secret: str = field(default="", repr=False)
