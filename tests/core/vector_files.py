"""Reading of the reference's test vectors; tests/vectors/README.md tells what they mean."""

import json
from pathlib import Path
from typing import Any

from slotsmith.model.instance import Instance, InstanceState
from slotsmith.model.policy import Policy
from slotsmith.model.resources import Resources
from slotsmith.model.task import TaskClass

VECTORS = Path(__file__).parents[1] / "vectors"

# "Long ago": the vectors write the zero date as null.
ZERO_DATE = -1e12

_STATES = {
    "SpotRequestPendingAWS": InstanceState.PENDING_REQUEST,
    "Starting": InstanceState.STARTING,
    "Running": InstanceState.RUNNING,
    "Stopping": InstanceState.STOPPING,
    "Stopped": InstanceState.STOPPED,
    "Terminating": InstanceState.TERMINATING,
    "Unknown": InstanceState.UNKNOWN,
}


def vector_cases(name: str) -> list[dict[str, Any]]:
    """The cases of a file, which must be as many as it says."""
    data = json.loads((VECTORS / f"{name}.json").read_text())
    assert len(data["cases"]) == data["count"]
    return list(data["cases"])


def launch_time(launch: float | None) -> float:
    return ZERO_DATE if launch is None else launch


def instance_of(raw: dict[str, Any]) -> Instance:
    return Instance(raw["id"], _STATES[raw["state"]], launch_time(raw["launch"]), raw["agent"])


def policy_of(config: dict[str, Any]) -> Policy:
    """The policy of a vector's config; keys it lacks play no part in its case."""
    return Policy(
        min_instances=config["min"],
        max_instances=config["max"],
        max_idle_agent_period=config.get("max_idle", 0),
        max_agent_starting_period=config.get("max_starting", 0),
        max_agent_disconnect_period=config.get("max_disconnect", 0),
        launch_error_timeout=config.get("launch_error_timeout", 0),
        launch_error_retries=config.get("launch_error_retries", 0),
    )


def pending_tasks(raw: list[dict[str, Any]]) -> list[TaskClass]:
    """The tasks of a vector that are not scheduled yet."""
    return [
        TaskClass(Resources(slots=task["slots"]), group=task.get("group"), example=task["id"])
        for task in raw
        if not task["scheduled"]
    ]
