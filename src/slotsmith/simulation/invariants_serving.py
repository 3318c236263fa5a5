"""The promises about what is not done: I5 (what is needed is launched, what is open is asked for), the brake, I6."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Sequence
from operator import itemgetter
from typing import Any, Final

from slotsmith.core.view import View
from slotsmith.model.agent import Agent
from slotsmith.model.decision import Decision, Reason
from slotsmith.model.instance import InstanceState
from slotsmith.model.launch import IntentState, LaunchIntent
from slotsmith.model.launch_error import ErrorKind, JoinFailures, LaunchFailures
from slotsmith.model.policy import Policy
from slotsmith.model.record import InstanceRecord
from slotsmith.model.resources import Resources
from slotsmith.model.scaling_info import ScalingInfo
from slotsmith.model.task import TaskClass
from slotsmith.providers.base import LaunchRequest, LaunchResult, ProviderError
from slotsmith.simulation.invariants_fleet import SLACK
from slotsmith.simulation.watch import DEADLINES, Watch
from slotsmith.store.base import Changes

_BLIND_TO_TOKENS: Final = (ErrorKind.DENIED, ErrorKind.INVALID, ErrorKind.GONE)
"""Definite refusals that tell nothing of earlier calls with the same token."""
_DEFINITE: Final = (ErrorKind.CAPACITY, ErrorKind.QUOTA, *_BLIND_TO_TOKENS)
_BEGAN: Final = itemgetter(0)
_BRAKE_AFTER: Final = 3
_BRAKE_PAUSE: Final = 30.0
_LONGEST_BRAKE: Final = 900.0
"""Seconds that must pass after the third in a row, doubling with each more, and the most that is asked for."""
_LONGEST_RETRY: Final = 120.0
"""Seconds between two calls for one launch that has no definite answer, at most."""


class BrakeChecks:
    """Instances in a row that never join are counted, each once; three slow launches down, and a join ends it.

    `_ended`: when instances ended (or were given up) without joining, by id, as far as the program must have counted
    them. `_counted`: the same for all that it can have counted. Any join ends the row, whenever it comes on record.
    """

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._ended: dict[str, float] = {}
        self._counted: dict[tuple[str, str], float] = {}
        self._stopped: set[str] = set()
        self._joined_at = -math.inf
        self._stray_at = -math.inf
        self._heard_at = math.inf

    def on_start(self) -> None:
        """Nobody counts joins before the scheduler has been heard."""
        self._heard_at = math.inf

    def on_view(self, _info: ScalingInfo, _before: ScalingInfo | None) -> None:
        """The scheduler is heard."""
        self._heard_at = min(self._heard_at, self._watch.now)

    def on_commit(self, changes: Changes) -> None:
        """Who ended and who joined, and then what is launched all the same."""
        stopped = {move.instance_id for move in changes.moves if move.after is InstanceState.STOPPED}
        for record in changes.instances:
            last = self._watch.ledger.records.get(record.instance.id)
            self._follow(record, last, changes.at, has_stopped=record.instance.id in stopped)
        joined = [record.joined_at for record in changes.instances if record.joined_at is not None]
        self._joined_at = max((self._joined_at, *joined))
        known = self._watch.ledger.intents
        for intent in changes.intents:
            if intent.token not in known and intent.state is IntentState.OPEN:
                self._check_launch(intent, changes.join_failures or self._watch.ledger.join_failures)

    def _follow(self, record: InstanceRecord, last: InstanceRecord | None, now: float, *, has_stopped: bool) -> None:
        instance_id, ending = record.instance.id, record.termination
        if record.joined_at is not None:
            return
        was_ending = last is not None and last.termination is not None
        if ending is not None and ending.reason is Reason.NEVER_JOINED and not was_ending:
            self._counted[instance_id, "given up"] = ending.since
            self._must_count(instance_id, ending.since)
        elif record.gone_at is not None and ending is None:
            self._counted.setdefault((instance_id, "gone"), record.gone_at)
            if record.gone_at > self._heard_at:
                self._must_count(instance_id, record.gone_at)
        elif (has_stopped or record.instance.state is InstanceState.STOPPED) and ending is None:
            # It may have been started again by somebody since it was stopped the last time.
            goes_on = last is not None and last.instance.state is InstanceState.STOPPED
            self._counted.setdefault((instance_id, "stopped" if goes_on else f"stopped at {now}"), now)
            self._stopped.add(instance_id)

    def _must_count(self, instance_id: str, at: float) -> None:
        # One that was counted when it stopped need not be counted again.
        if instance_id not in self._stopped:
            self._ended.setdefault(instance_id, at)

    def _in_a_row(self) -> list[float]:
        """When those that must have been counted have ended since the last join, and since a stray can have joined."""
        if self._watch.unknown:
            self._stray_at = self._watch.now
        return [at for at in self._ended.values() if at > max(self._joined_at, self._stray_at)]

    def _check_launch(self, intent: LaunchIntent, failures: JoinFailures | None) -> None:
        ended = self._in_a_row()
        if failures is not None and failures.failures >= _BRAKE_AFTER and intent.created_at < failures.retry_at:
            early = failures.retry_at - intent.created_at
            self._watch.violated("brake", f"{intent.count} are launched {early:.1f} s before the time on record")
        if len(ended) < _BRAKE_AFTER:
            return
        pause = min(_LONGEST_BRAKE, _BRAKE_PAUSE * 2.0 ** (len(ended) - _BRAKE_AFTER))
        if intent.count > 1 or intent.created_at < max(ended) + pause:
            self._watch.violated("brake", f"{intent.count} launched after {len(ended)} in a row ended without joining")

    def on_committed(self, _changes: Changes) -> None:
        """What is on record as counted is what has happened."""
        watch = self._watch
        if not watch.store_is_settled:
            return  # what could not be written comes later than what follows from it
        failures = watch.ledger.join_failures
        told = 0 if failures is None else failures.failures
        least, most = len(self._in_a_row()), sum(at >= self._joined_at for at in self._counted.values())
        if not least <= told <= most:
            watch.violated("brake", f"{told} are on record as ended without joining, it was {least} to {most} in a row")


class AskedChecks:
    """I3 and I5: a launch that is open on record is asked for until it is answered, or closed when it is too late."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._asked_at: dict[str, float] = {}
        self._over_at: dict[str, float] = {}
        settings = watch.settings
        self._settles = (
            _LONGEST_RETRY + DEADLINES["launch"] + settings.consistency_window + settings.poll_period + SLACK
        )

    def on_start(self) -> None:
        """Everything that is open is asked for again."""
        self._asked_at.clear()
        self._over_at.clear()

    def on_launch_call(self, request: LaunchRequest) -> None:
        """Asked (again)."""
        self._asked_at[request.token] = self._watch.now

    def on_launch_error(self, request: LaunchRequest, error: Exception) -> None:
        """Some refusals tell nothing of earlier calls: then the listing must."""
        if isinstance(error, ProviderError) and error.kind in _BLIND_TO_TOKENS:
            self._over_at[request.token] = self._watch.now

    def on_tick(self) -> None:
        """Every launch that is open."""
        for intent in self._watch.ledger.live.values():
            if intent.state is IntentState.OPEN:
                self._check(intent)

    def _check(self, intent: LaunchIntent) -> None:
        watch, lifetime = self._watch, self._watch.settings.token_lifetime
        expires = intent.created_at + lifetime - min(DEADLINES["launch"], lifetime / 2)
        over_at = min(expires, self._over_at.get(intent.token, math.inf))
        asked_at = max(intent.created_at, self._asked_at.get(intent.token, -math.inf))
        if watch.now <= over_at:
            calm = watch.calm_for(asked_at)
            if calm > _LONGEST_RETRY + SLACK:
                watch.violated("I3", f"launch {intent.token} is open and nobody has asked for it for {calm:.0f} s")
        elif watch.calm_for(max(over_at, asked_at)) > self._settles:
            watch.violated("I3", f"launch {intent.token} is open, and can be asked for no more")


class ServedChecks:
    """I5: what is needed, and for which there is room, is on its way soon when nothing stands against it."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._capacity = watch.settings.largest.capacity
        # Time to see what has changed, and to do something about it.
        self._soon = watch.settings.consistency_window + watch.settings.poll_period + SLACK
        self._blind = True
        self._lacking_since: float | None = None

    def on_start(self) -> None:
        """A new program looks for itself."""
        self._blind, self._lacking_since = True, None

    def on_view(self, info: ScalingInfo, before: ScalingInfo | None) -> None:
        """Whatever is new may have changed what is needed."""
        if info != before:
            self._lacking_since = None

    def on_decision(self, view: View, _policy: Policy, _decision: Decision) -> None:
        """Who cannot hear the scheduler launches nothing for it."""
        self._blind = view.blind

    def on_tick(self) -> None:
        """What is lacking, and for how long."""
        watch, lacking = self._watch, self._lacking()
        if not lacking:
            self._lacking_since = None
        elif self._lacking_since is None:
            self._lacking_since = watch.now
        elif watch.calm_for(self._lacking_since) > self._soon:
            watch.violated("I5", f"{lacking}, there is room, and nothing has come for {self._soon:.0f} s")

    def _lacking(self) -> str:
        """What is needed and not under way; empty when nothing is, or when there is a reason for it."""
        watch = self._watch
        listed = bool(watch.told_to) and watch.told_to[-1] == watch.generation
        if not watch.up or not listed or watch.info is None or self._blind or self._is_held_back():
            return ""
        policy = watch.policy
        if policy.max_slots is not None or policy.max_dollars_per_hour is not None:
            return ""  # what does not go must make room first
        asked = self._asked()
        room = watch.policy.max_instances - len(watch.alive.keys() | watch.ledger.present.keys()) - asked
        if room < 1:
            return ""
        coming, there = self._supply()
        coming += asked
        if coming + there < watch.policy.min_instances:
            return f"{coming + there} are there or coming, the minimum is {watch.policy.min_instances}"
        if policy.headroom_slots and not watch.info.tasks:
            free = sum(self._free(agent).slots for agent in watch.info.agents if not agent.draining)
            warm = free + coming * self._capacity.slots
            if warm < policy.headroom_slots:
                return f"{warm} slots are free or coming, the headroom is {policy.headroom_slots}"
        return self._unserved(watch.info, coming, room)

    def _is_held_back(self) -> bool:
        """Whether a pause after a refusal, or the brake, stands against a launch."""
        ledger, now = self._watch.ledger, self._watch.now
        if any(now <= refused.next_attempt_at for refused in ledger.launch_failures.values()):
            return True
        unjoined = ledger.join_failures
        return unjoined is not None and unjoined.failures >= _BRAKE_AFTER

    def _asked(self) -> int:
        """How many are asked for and not in the books yet."""
        ledger = self._watch.ledger
        known = Counter(record.instance.token for record in ledger.present.values())
        return sum(max(0, intent.expected - known[intent.token]) for intent in ledger.live.values())

    def _supply(self) -> tuple[int, int]:
        """How many of those in the books may be coming, and how many have their agent."""
        watch, coming, there = self._watch, 0, 0
        for record in watch.ledger.present.values():
            if record.termination is None:
                has_agent = record.instance.agent_name in watch.agents
                there += has_agent
                coming += not has_agent and self._may_come(record)
        return coming, there

    def _may_come(self, record: InstanceRecord) -> bool:
        if record.instance.state is InstanceState.PENDING_REQUEST:
            return True
        ends = record.instance.launched_at + self._watch.policy.max_agent_starting_period
        return record.joined_at is None and self._watch.now <= ends

    def _unserved(self, info: ScalingInfo, coming: int, room: int) -> str:
        """What no packing of the pending tasks on what is there and coming can serve, and a launch can."""
        agents = [agent for agent in info.agents if not agent.draining]
        free = [self._free(agent) for agent in agents]
        whole = coming + sum(agent.idle for agent in agents)
        plain = [kind for kind in info.tasks if self._is_plain(kind)]
        for kind in info.tasks:
            if kind in plain:
                lacks = not coming and not any(kind.resources.fits_in(each) for each in free)
            else:
                lacks = whole < self._whole(kind) <= room
            if lacks:
                return f"{kind} cannot start on what is there and coming"
        slots = self._capacity.slots * coming + sum(each.slots for each in free)
        asked = sum(kind.resources.slots * kind.count for kind in plain)
        if len(plain) == len(info.tasks) and asked > slots:
            return f"{asked} slots are asked for, {slots} are there or coming"
        return ""

    def _free(self, agent: Agent) -> Resources:
        total = agent.capacity or self._capacity
        if agent.used is None:
            return total if agent.idle else Resources()
        return total - agent.used

    def _is_plain(self, kind: TaskClass) -> bool:
        return (
            kind.gang == 1
            and kind.group is None
            and 0 < kind.resources.slots <= self._capacity.slots
            and (kind.resources.fits_in(self._capacity))
        )

    def _whole(self, kind: TaskClass) -> float:
        """How many whole instances it takes; infinitely many when it is not for us to say."""
        count, rest = divmod(kind.resources.slots, self._capacity.slots) if self._capacity.slots else (0, 0)
        known = kind.spans and kind.gang == 1 and kind.group is None and count > 1 and not rest
        return count if known and kind.resources.fits_in(self._capacity * count) else math.inf


class LaunchErrorChecks:
    """I6 and I11: refusals in a row are all counted, and people are told the launch error that follows from them.

    `_counts`: by offering, from when on how many failures in a row have been answered.
    """

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._offerings = [each.name for each in watch.settings.offerings]
        self._counts: dict[str, list[tuple[float, int]]] = {}
        self._ready = False

    def on_start(self) -> None:
        """What is on record goes on."""
        failures = self._watch.ledger.launch_failures
        self._counts = {name: [(-math.inf, each.failures)] for name, each in failures.items()}
        self._ready = False

    def on_decision(self, _view: View, _policy: Policy, _decision: Decision) -> None:
        """From now on it knows what it tells of."""
        self._ready = True

    def on_launch_answer(self, request: LaunchRequest, result: LaunchResult) -> None:
        """All that was asked for ends the row; a part of it neither ends it nor adds to it."""
        if result.shortfall is None:
            self._count(request.offering.name, 0)

    def on_launch_error(self, request: LaunchRequest, error: Exception) -> None:
        """A definite refusal adds one."""
        if isinstance(error, ProviderError) and error.kind in _DEFINITE:
            self._count(request.offering.name, self._so_far(request.offering.name)[-1][1] + 1)

    def _so_far(self, offering: str) -> list[tuple[float, int]]:
        return self._counts.setdefault(offering, [(-math.inf, 0)])

    def _count(self, offering: str, failures: int) -> None:
        self._so_far(offering).append((self._watch.now, failures))

    def on_commit(self, changes: Changes) -> None:
        """Failures as they stood when this was put together."""
        for offering, failures in changes.launch_failures.items():
            counts = self._so_far(offering)
            # A row that is as new as the last answer has counted it.
            allowed = _at(counts, changes.at, counted=failures.last_at == changes.at)
            if failures.failures not in allowed:
                self._watch.violated(
                    "I6", f"{failures.failures} failures of {offering} in a row are on record, there were {allowed[-1]}"
                )

    def on_committed(self, changes: Any) -> None:
        """What people are shown."""
        summary, watch = changes.summary, self._watch
        known = watch.ledger.launch_failures
        if summary is None or not self._ready or not known:
            return
        at = float(summary["at"])
        for offering, failures in known.items():
            if failures.failures != self._so_far(offering)[-1][1]:
                return  # the last answer is not on record yet
            ends = failures.next_attempt_at + watch.policy.launch_error_timeout
            if abs(at - ends) < 1.0 or self._so_far(offering)[-1][0] >= at - 1.0:
                return
        newest_last = sorted(known.values(), key=lambda each: (each.last_at, each.message))
        errors = [self._in_force(each, at) for each in newest_last]
        # While one of them can be had, there is nothing that people must know.
        all_fail = len(known) == len(self._offerings) and None not in errors
        told, expected = summary["launch_error"], errors[-1] if all_fail else None
        if told != expected:
            watch.violated("I6", f"the launch error that is told is {told!r}, the one in force is {expected!r}")

    def _in_force(self, failures: LaunchFailures, at: float) -> str | None:
        policy = self._watch.policy
        timeout, retries = policy.launch_error_timeout, max(0, policy.launch_error_retries)
        over = at > failures.next_attempt_at + timeout
        return None if timeout <= 0 or over or failures.failures <= retries else failures.message


def _at(counts: Sequence[tuple[float, int]], at: float, *, counted: bool) -> list[int]:
    """What the count was at a time; when it changed at that moment, also what it was before, unless `counted`."""
    first, end = bisect_left(counts, at, key=_BEGAN), bisect_right(counts, at, key=_BEGAN)
    start = first if counted and first < end else max(0, first - 1)
    return [count for _, count in counts[start:end]]
