"""What a pool's owner has asked for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Policy:
    """The limits and periods of one pool; all periods in seconds."""

    min_instances: int = 0
    max_instances: int = 5
    max_idle_agent_period: float = 1200.0
    max_agent_starting_period: float = 1200.0
    max_agent_disconnect_period: float = 600.0
    launch_error_timeout: float = 600.0
    launch_error_retries: int = 3
    max_zero_slot_tasks_per_agent: int = 100
