"""The simulated cloud: the truth about machines, what they cost, and what anybody is told of them.

    cloud = Cloud(settings, clock=clock, random=Random(1), faults=LIGHT, tell=print)
    cloud.on_agent = lambda machine, connected: ...   # an agent has joined, or is gone
    cloud.on_change = provider_changed                # the listing has changed
    provider = SimulatedProvider(settings, context, cloud)

It lives in the running event loop, by timers, and needs no task. `list_instances`, `launch` and `terminate` are what
happens at the cloud when a request arrives there; `wire` carries requests and answers. All of them answer at once and
are honest; with faults, they answer what a real cloud does on a bad day. Whatever the faults, these hold:

- a listing lacks a machine that was launched, or shows one that is gone, for less than `consistency_window`; a machine
  that was listed for long may be missing once, for less than the window;
- a token launches once within `token_lifetime`, and once something was granted for it, no answer denies that; once it
  was refused for want of capacity or quota, no request that was sent before is granted any more;
- a request is carried out, or never will be, within `LONGEST_WAY` (of `wire`) and half of `token_lifetime` after it
  was sent;
- a machine is paid for from its launch (a pending request: from its fulfilment) until it is told to end, is stopped or
  is taken away.

What each fault is stands in `faults`; each tells `fault NAME` when it takes effect. Other things told: `cloud launched`
(id, token, state), `cloud moved` (id, state), `cloud gone` (id), `cloud agent joined` and `cloud agent left` (id),
`cloud granted` (token, asked, granted) and `cloud refused` (call, kind).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, TypeVar

from slotsmith.clock import Clock, Random
from slotsmith.model.instance import Instance, InstanceState
from slotsmith.model.launch_error import ErrorKind
from slotsmith.model.offering import Offering
from slotsmith.providers.base import LaunchRequest, LaunchResult, ProviderError
from slotsmith.providers.simulated.admission import LAUNCH, LIST, TERMINATE, Admission
from slotsmith.providers.simulated.dice import Dice
from slotsmith.providers.simulated.faults import NO_FAULTS, CloudFaults, Tell, tell_nobody
from slotsmith.providers.simulated.life import Lives
from slotsmith.providers.simulated.listing import Listing
from slotsmith.providers.simulated.machines import Machine
from slotsmith.providers.simulated.settings import SimulatedSettings
from slotsmith.providers.simulated.timers import Timers

T = TypeVar("T")

SETTLES: Final = 300.0
"""Seconds after `stop_faults` within which every fault under way has ended.

Machines whose agents never joined or have died, and those that were stopped, are no fault under way: they stay as
they are until they are terminated. A hanging call lasts until its caller gives up.
"""


class BatchError(ProviderError):
    """A whole call was refused because some of its ids do not exist; nothing was terminated."""

    def __init__(self, ids: Sequence[str]) -> None:
        super().__init__(ErrorKind.GONE, f"The instance IDs {', '.join(map(repr, ids))} do not exist.")


@dataclass(slots=True)
class _Grant:
    """What the cloud remembers of a token."""

    request: LaunchRequest
    result: LaunchResult
    until: float


def _no_agent(machine: Machine, connected: bool) -> None:
    """For a cloud whose agents nobody follows."""


class Cloud:
    """All machines there are. `SimulatedProvider` is one way to it; any number of them may share it.

    `machines` has every machine by its id, gone ones too, in the order of creation. `calls` counts the requests sent,
    by `list`, `launch` and `terminate`; `launched` counts machines. `creations` has, by token, the ids that each
    execution of a launch has created: a token with two entries was launched twice. `tell` is told all that happens;
    `prefix` begins every id.
    """

    def __init__(
        self,
        settings: SimulatedSettings,
        *,
        clock: Clock,
        random: Random,
        faults: CloudFaults = NO_FAULTS,
        tell: Tell = tell_nobody,
        prefix: str = "i",
    ) -> None:
        self.settings = settings
        self.clock = clock
        self._prefix = prefix
        self.machines: dict[str, Machine] = {}
        self.creations: dict[str, list[list[str]]] = {}
        self.calls: Counter[str] = Counter()
        self.launched = 0
        self.on_agent: Callable[[Machine, bool], None] = _no_agent
        self.on_change: Callable[[], None] = lambda: None
        self.timers = Timers()
        self.faulty_calls = faults.calls
        self.dice = Dice(faults, random, tell)
        self._tell = tell
        self._offerings: Mapping[str, Offering] = {offering.name: offering for offering in settings.offerings}
        self._grants: dict[str, _Grant] = {}
        self._refused: dict[str, float] = {}
        self._admission = Admission(faults.limits, clock=clock, dice=self.dice)
        self._listing = Listing(
            settings.consistency_window,
            clock=clock,
            dice=self.dice,
            timers=self.timers,
            on_change=lambda: self.on_change(),
        )
        self._lives = Lives(
            settings.boot_time,
            settings.join_time,
            clock=clock,
            dice=self.dice,
            timers=self.timers,
            listing=self._listing,
            on_agent=lambda machine, connected: self.on_agent(machine, connected),
            tell=tell,
        )

    # For whoever looks at the truth

    @property
    def alive(self) -> int:
        """How many machines exist, in whatever state."""
        return self._lives.counted

    @property
    def quota(self) -> int | None:
        """How many machines may exist; None = any number."""
        return self._admission.quota

    @quota.setter
    def quota(self, machines: int | None) -> None:
        self._admission.quota = machines

    def add_stray(self, token: str = "") -> Machine:
        """Somebody else launches a machine of the first offering under our tags."""
        (machine,) = self._create(token, next(iter(self._offerings.values())), 1)
        return machine

    def stop_faults(self) -> None:
        """From now on no fault strikes, and those under way end within `SETTLES` seconds."""
        self.dice.stop()
        self._admission.stop()
        self.timers.settle(SETTLES)

    # What happens when a request arrives. Each may raise ProviderError

    def list_instances(self) -> Sequence[Instance]:
        """All machines as they are shown; the very same tuple as long as nothing changes."""
        if not self.dice.calm:
            if self.dice.strikes("list_error"):
                raise ProviderError(ErrorKind.TRANSIENT, "An internal error has occurred.")
            self._checked(LIST)
            return self._distorted(self._listing.rows())
        self._admission.admit(LIST)
        return self._listing.rows()

    def look(self) -> None:
        """Let a caller find out whether it may list, as whoever begins does."""
        self._checked(LIST)
        self._fallibly(lambda: None)

    def listing_delivered(self, began: float) -> None:
        """The caller of `list_instances` has its answer; the call began at `began`."""
        self._listing.delivered(began)

    def launch(self, request: LaunchRequest, sent: float = math.inf) -> LaunchResult:
        """Launch, or answer what this token has launched. `sent`: epoch seconds at which the request left."""
        try:
            self._admission.admit(LAUNCH, request.count)
            # As a real one does: who may not launch is not told what a token has launched.
            self._admission.permit(LAUNCH)
            result = self._fallibly(lambda: self._launch(request, sent))
        except ProviderError as error:
            self._tell("cloud refused", call=LAUNCH, token=request.token, kind=error.kind.value)
            raise
        self._tell("cloud granted", token=request.token, asked=request.count, granted=len(result.instance_ids))
        return result

    def terminate(self, ids: Sequence[str]) -> Mapping[str, ProviderError]:
        """Begin to end these machines; the answer has those that failed. Raises BatchError for a bad id."""
        try:
            self._checked(TERMINATE, len(ids))
            return self._fallibly(lambda: self._terminate(ids))
        except ProviderError as error:
            self._tell("cloud refused", call=TERMINATE, kind=error.kind.value)
            raise

    def _checked(self, what: str, instances: int = 0) -> None:
        self._admission.admit(what, instances)
        self._admission.permit(what)

    # How it does that

    def _fallibly(self, act: Callable[[], T]) -> T:
        """Do it, unless the cloud fails in the middle of it: then nobody knows whether it was done."""
        if self.dice.calm or not self.dice.fires("internal_error"):
            return act()
        done = self.dice.below("internal_error", 2)
        self.dice.struck("internal_error", done=done)
        if done:
            with suppress(ProviderError):
                act()
        raise ProviderError(ErrorKind.TRANSIENT, "An internal error has occurred.")

    def _distorted(self, rows: tuple[Instance, ...]) -> tuple[Instance, ...]:
        """The listing as it comes from several places at once; the same tuple when nothing is wrong with it."""
        dice = self.dice
        if rows and dice.strikes("listed_twice"):
            rows += tuple(row for row in rows if dice.below("listed_twice", 3) == 0)
        if len(rows) > 1 and dice.strikes("out_of_order"):
            rows = tuple(sorted(rows, key=lambda _: dice.below("out_of_order", 1 << 30)))
        return rows

    def _launch(self, request: LaunchRequest, sent: float) -> LaunchResult:
        grant = self._known(request.token)
        if grant is not None:
            if (grant.request.offering, grant.request.count) != (request.offering, request.count):
                raise ProviderError(ErrorKind.INVALID, f"token {request.token} was used with other parameters before")
            return grant.result
        offering = self._offerings.get(request.offering.name)
        if offering is None:
            raise ProviderError(ErrorKind.INVALID, f"The instance type {request.offering.name} does not exist.")
        if request.count <= 0:
            return LaunchResult(())
        # Its caller was told since that there is nothing to be had for this token, and that is final.
        if sent < self._refused.get(request.token, -math.inf):
            raise ProviderError(ErrorKind.CAPACITY, "A later request was refused.")
        self._lives.shift_clock()
        granted, error = self._admission.grant(offering, request.count, self.alive)
        if error is not None and not granted:
            self._refused[request.token] = sent
            raise error
        machines = self._create(request.token, offering, granted)
        result = LaunchResult(tuple(machine.id for machine in machines), error)
        self._grants[request.token] = _Grant(request, result, self.clock.now() + self.settings.token_lifetime)
        return result

    def _known(self, token: str) -> _Grant | None:
        """What was granted for a token within its lifetime."""
        now = self.clock.now()
        while self._grants and (oldest := next(iter(self._grants.values()))).until <= now:
            del self._grants[oldest.request.token]
        return self._grants.get(token)

    def _create(self, token: str, offering: Offering, count: int) -> list[Machine]:
        machines = []
        for _ in range(count):
            self.launched += 1
            # All of one length, so that they sort in the order of creation.
            machine_id, now = f"{self._prefix}-{self.launched:08d}", self.clock.now()
            machine = Machine(
                id=machine_id,
                token=token,
                offering=offering,
                agent_name=machine_id,
                created_at=now,
                min_billing=self.settings.min_billing,
                state=InstanceState.STARTING,
                launched_at=now,
            )
            self.machines[machine_id] = machine
            machines.append(machine)
        self.creations.setdefault(token, []).append([machine.id for machine in machines])
        for machine in machines:
            self._lives.begin(machine)
        return machines

    def _terminate(self, ids: Sequence[str]) -> Mapping[str, ProviderError]:
        known = [machine for i in ids if (machine := self.machines.get(i)) and machine.alive()]
        found = {machine.id for machine in known}
        bad = [i for i in ids if i not in found]
        if bad and self.dice.strikes("bad_id_fails_batch", ids=len(bad)):
            raise BatchError(bad)
        for machine in known:
            self._lives.terminate(machine)
        return {i: ProviderError(ErrorKind.GONE, f"The instance ID {i!r} does not exist.") for i in bad}
