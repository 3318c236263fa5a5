"""How what is set by hand changes a policy and a decision; pure, like all that decides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from slotsmith.model.decision import Decision, Unmet
from slotsmith.model.policy import Policy
from slotsmith.model.steering import Pause


def with_limits(policy: Policy, limits: Mapping[str, float]) -> Policy:
    """The policy with the limits that are set by hand. A maximum must not be passed, so a higher minimum gives way."""
    if not limits:
        return policy
    changed = replace(policy, **limits)  # type: ignore[arg-type]
    return replace(changed, min_instances=min(changed.min_instances, changed.max_instances))


def held_back(decision: Decision, pause: Pause) -> Decision:
    """What a paused pool does of a decision: nothing. What it would have launched is unmet, with the reason."""
    count = sum(launch.count for launch in decision.launches if not launch.replaces)
    reason = f"the pool is paused by {pause.who}: {pause.why}"
    unmet = (Unmet(count, reason), *decision.unmet) if count else decision.unmet
    proposals = tuple(replace(each, held=each.held or reason) for each in decision.proposals)
    return replace(decision, launches=(), terminations=(), unmet=unmet, proposals=proposals)
