"""Foresight in one pool: what it has learned, kept over restarts, and the policy that follows from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from typing import Any, Final

import structlog

from slotsmith.core import foresight
from slotsmith.core.foresight import Foresight
from slotsmith.core.view import View
from slotsmith.model.foresight import Foreseen
from slotsmith.model.policy import Policy

SAVE_PERIOD: Final = 900.0
"""Seconds between two times at which what was learned is written: so much of a day's learning a crash may cost."""


class Foreseeing:
    """Learns from each look at a pool whose policy asks for it, and says what policy is in force with it.

    `kept` is what was on record, None = nothing. `save` takes what is to be written with what is written next.
    """

    def __init__(
        self,
        kept: Mapping[str, Any] | None,
        now: float,
        *,
        save: Callable[[Mapping[str, Any]], None],
        log: structlog.typing.FilteringBoundLogger,
    ) -> None:
        self._save = save
        self._log = log
        self._state = _taken_up(kept, now, log)
        self._saved_at = self._looked_at = now
        self._told: Foreseen | None = None
        self._policies: tuple[Policy, Policy] | None = None

    def look(self, view: View, policy: Policy, now: float) -> Policy:
        """Learn from what is seen now, and the policy that this pass decides by; `policy` is the one without."""
        target = policy.foresight
        if target is None:
            return policy
        self._state = foresight.looked(self._state, view, policy, target, now)
        told = foresight.foreseen(self._state, view, policy, target)
        if self._told is not None and told.holds is not self._told.holds:
            self._log.info("foresight holds spare" if told.holds else "foresight holds none", reason=told.why)
        self._told, self._looked_at = told, now
        if now >= self._saved_at + SAVE_PERIOD:
            self.save(now)
        return self.in_force(policy)

    def in_force(self, policy: Policy) -> Policy:
        """The policy after the last look."""
        told = self._told
        if policy.foresight is None or told is None:
            return policy
        if self._policies is None or self._policies[0] is not policy or not _alike(self._policies[1], told):
            # Equal policies stay the same object, which whoever compares them sees at once.
            changed = replace(policy, headroom_slots=told.headroom_slots, max_idle_agent_period=told.idle_period)
            self._policies = (policy, changed)
        return self._policies[1]

    def save(self, now: float) -> None:
        """Have what was learned written with what is written next."""
        body = foresight.to_body(self._state)
        self._saved_at = now
        if body is not None and self._told is not None:
            self._save(body)

    @property
    def next_look(self) -> float | None:
        """When the next pass is due for it; None = when something happens."""
        return None if self._told is None else foresight.next_look(self._state, self._looked_at)

    def summary(self, policy: Policy) -> dict[str, Any] | None:
        """What `status`, `explain` and the metrics tell, JSON-ready; None without foresight."""
        return None if policy.foresight is None or self._told is None else asdict(self._told)


def _alike(policy: Policy, told: Foreseen) -> bool:
    return (policy.headroom_slots, policy.max_idle_agent_period) == (told.headroom_slots, told.idle_period)


def _taken_up(kept: Mapping[str, Any] | None, now: float, log: structlog.typing.FilteringBoundLogger) -> Foresight:
    if kept is None:
        return Foresight()
    try:
        return foresight.of_body(kept, now)
    except ValueError as error:
        # It is only what was learned, and can be learned again; a pool must not stand still for it.
        log.warning("what foresight had learned cannot be read, it begins anew", error=str(error))
        return Foresight()
