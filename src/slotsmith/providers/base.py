"""The contract between a provisioner and a provider.

A provider lists, launches and terminates instances of one pool. It keeps no policy: when to launch, retry, back off or
give up is decided by the caller, from the kind of error that the provider raises. `docs/providers.md` is the guide for
writing one; `slotsmith.providers.conformance` is the suite that every provider passes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol, cast

from pydantic import BaseModel, ConfigDict

from slotsmith.clock import Clock
from slotsmith.model.instance import Instance
from slotsmith.model.launch_error import ErrorKind
from slotsmith.model.offering import NO_SHORTAGES, Offering, Shortage


class ProviderError(Exception):
    """The provider said no, or nothing. `kind` decides what the caller does next; the text is for people."""

    def __init__(self, kind: ErrorKind, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class ProviderSettings(BaseModel):
    """The `provider:` block of a pool; each provider adds its keys. Unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    type: str


@dataclass(frozen=True, slots=True)
class ProviderContext:
    """What the assembly hands to a provider.

    `cluster` and `pool` together own everything it launches; `state_dir` is a directory of its own for what it must
    keep between runs (made by the provider when it needs one); `wake` may be called, from the event loop, whenever
    the provider knows that its listing has changed.
    """

    cluster: str
    pool: str
    state_dir: Path
    clock: Clock
    wake: Callable[[], None]


@dataclass(frozen=True, slots=True)
class LaunchRequest:
    """`count` instances of one offering under one token.

    The same token always comes with the same offering and count. A provider launches for a token once, however often
    it is asked, and writes the token on each instance where its listing finds it again.
    """

    token: str
    offering: Offering
    count: int


@dataclass(frozen=True, slots=True)
class LaunchResult:
    """A definite answer: these instances were launched. `shortfall` says why they are fewer than were asked for."""

    instance_ids: tuple[str, ...]
    shortfall: ProviderError | None = None


class Provider(Protocol):
    """Lists, launches and terminates the instances of one pool.

    Every method may raise `ProviderError`; any other exception is a fault of the provider and is treated as
    `ErrorKind.TRANSIENT`. Calls of one provider may overlap. The caller sets deadlines by cancelling: after a
    cancelled launch the outcome is unknown, and the caller asks again with the same token.
    """

    poll_period: float
    """Seconds between listings when nothing else asks for one."""
    consistency_window: float
    """Seconds for which a listing may lack an instance that was launched, or show one that is gone."""
    token_lifetime: float
    """Seconds for which a token is remembered; after that the listing decides what an unanswered launch did."""

    async def setup(self) -> None:
        """Check what can be checked before the first call (credentials, paths, commands)."""
        ...

    def offerings(self) -> Sequence[Offering]:
        """What can be launched, best first; known after `setup`, never empty.

        Asked at each pass, so that prices may move; as long as nothing changes it is the same object.
        """
        ...

    async def list_instances(self) -> Sequence[Instance]:
        """All instances of this pool, each once, in a stable order; gone ones are left out."""
        ...

    async def launch(self, request: LaunchRequest) -> LaunchResult:
        """Launch, or say what an earlier call with this token launched.

        Raises:
            ProviderError: nothing was launched (a definite kind), or it is not known (`ErrorKind.TRANSIENT`).
        """
        ...

    async def terminate(self, instance_ids: Sequence[str]) -> Mapping[str, ProviderError]:
        """Begin to end these instances; the result has only those that failed, each with its error.

        One bad id never fails the others. An id that does not exist is a success or `ErrorKind.GONE`.
        """
        ...

    async def close(self) -> None:
        """Let go of connections and tasks. Instances stay."""
        ...


@dataclass(frozen=True, slots=True)
class Market:
    """What moves while a provider runs, beside the prices in its offerings.

    `shortages`: where there was no room lately, by the offering's name. `priced_at`: when the prices were read (epoch
    seconds); None = they are fixed.
    """

    shortages: Mapping[str, Shortage] = field(default_factory=lambda: NO_SHORTAGES)
    priced_at: float | None = None


NO_MARKET: Final = Market()


class FollowsMarket(Protocol):
    """A provider that also knows how things stand on the market."""

    def market(self) -> Market:
        """As it is now; asked at each pass."""
        ...


def market_of(provider: Provider) -> Market:
    """How things stand on the market of a provider, as far as it knows."""
    # Asked several times a pass, for which `isinstance` with a protocol is too slow.
    return cast(FollowsMarket, provider).market() if hasattr(provider, "market") else NO_MARKET


@dataclass(frozen=True, slots=True)
class ProviderPlugin:
    """What an entry point of the group `slotsmith.providers` names.

    `owns_by_cluster`: instances are found by a cluster tag that others could also use, so `cluster` must be set.
    """

    settings: type[ProviderSettings]
    create: Callable[[Any, ProviderContext], Provider]
    owns_by_cluster: bool = True
