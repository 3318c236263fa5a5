"""Requests that a program makes up from the API's description: no answer is an error of ours or one that it lacks."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from system.replicas import PATIENCE, Replicas
from waiting import wait_until

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "missing_required_header",
    "use_after_free",
    "ensure_resource_availability",
    "ignored_auth",
)
"""Left out are those that ask for a schema of what a sentence says: which durations there are, that a change changes
something, that `If-Match` names a tag."""


def schemathesis(directory: Path, address: str, seconds: int, *checks: str) -> tuple[int, str]:
    """Exit status and output of a run against the service at this address; what it remembers is in the directory."""
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"{address.rstrip('/')}/api/v1/openapi.json"]
    options = ["--max-time", str(seconds), "--checks", ",".join(checks), "--exclude-path", "/api/v1/events"]
    options += ["--seed", "1"]  # the same requests each time, as many of them as there is time for
    done = subprocess.run(
        [*command, *options, "--suppress-health-check", "all", "--continue-on-failure"],
        cwd=directory,
        capture_output=True,
        text=True,
        check=False,
        timeout=seconds + 240,
    )
    return done.returncode, done.stdout + done.stderr


def pool(name: str, **scheduler: Any) -> dict[str, Any]:
    """Its limits will be raised to anything, so its agents end at once, and no more than a few are ever there."""
    provider = {"type": "local", "command": "false", "slots": 1}
    return {"name": name, "scheduler": scheduler, "provider": provider, "max_instances": 2, "max_slots": 4}


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seconds", [15, pytest.param(1200, marks=pytest.mark.slow)])
def test_no_answer_is_outside_the_description(tmp_path: Path, seconds: int) -> None:
    pools = pool("gpu", type="push", drain="acknowledge"), pool("cpu", type="push")
    limits = {"max_requests_per_second": 100_000}
    with Replicas(tmp_path, f"sqlite:///{tmp_path}/books.db", *pools, service=limits) as replicas:
        service = replicas.start()
        wait_until(lambda: service.health()["ready"], timeout=PATIENCE, what="pools that are ready")
        status, told = schemathesis(tmp_path, str(service.client.base_url), seconds, *CHECKS)
        assert status == 0, told
        assert service.health()["ready"]
        assert "Traceback" not in service.log_file.read_text()
        service.stop()
