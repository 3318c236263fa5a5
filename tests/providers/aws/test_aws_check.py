"""`slotsmith aws check`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from providers.aws.ec2_catalogue import IMAGE, KEY_NAME
from providers.aws.ec2_world import World
from slotsmith.cli import main


def config(world: World, directory: Path, **more: Any) -> str:
    provider = {
        "type": "aws", "region": "eu-west-1", "image_id": IMAGE, "ssh_key_name": KEY_NAME, "zones": ["eu-west-1a"],
        "instance_types": ["g4dn.xlarge", "c5.large"], "endpoint_url": world.server.url,
        "agent": {"preset": "dask", "scheduler": "tcp://10.0.0.5:8786"},
        "queue_url": f"{world.server.url}/1/notices", **more,
    }  # fmt: skip
    pool = {"name": "gpu", "scheduler": {"type": "dask", "address": "tcp://10.0.0.5:8786"}, "provider": provider,
            "max_instances": 4}  # fmt: skip
    path = directory / "slotsmith.yaml"
    path.write_text(json.dumps({"cluster": "team", "pools": [pool]}))
    return str(path)


def test_all_is_well(aws: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["aws", "check", "-c", config(aws, tmp_path)]) == 0
    out = capsys.readouterr().out
    lines = [line.split("  ", 2)[2].partition(":")[0].strip() for line in out.splitlines()[1:]]
    assert set(lines) >= {"identity", "region", "image", "key", "types", "prices", "right", "quota", "queue"}
    assert "arn:aws:iam::123456789012:user/tester" in out
    assert "g4dn.xlarge (1 x T4, 1 slots) in eu-west-1a" in out
    assert "FAIL" not in out
    # Nothing was launched or changed.
    assert not aws.ec2.instances
    assert not aws.ec2.templates


def test_what_would_not_work_is_told_with_what_to_do(
    aws: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    aws.ec2.denied = {"RunInstances"}
    aws.server.quotas.values["L-DB2E81BA"] = 8.0
    aws.server.queue.exists = False
    assert main(["aws", "check", "gpu", "-c", config(aws, tmp_path, ssh_key_name="lost"), "--json"]) == 1
    found = json.loads(capsys.readouterr().out)["gpu"]
    failed = {each["what"]: each for each in found if not each["ok"]}
    assert set(failed) == {"key", "right to launch c5.large/eu-west-1a/on-demand", "quota", "queue"}
    assert "docs/aws.md" in failed["right to launch c5.large/eu-west-1a/on-demand"]["hint"]
    assert "8 vCPUs, and 4 instances need up to 16" in failed["quota"]["text"]
    assert "L-DB2E81BA" in failed["quota"]["hint"]


def test_wrong_credentials_are_told_first(aws: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    aws.journal.fault("error", "GetCallerIdentity", code="InvalidClientTokenId", message="it is not valid")
    assert main(["aws", "check", "-c", config(aws, tmp_path)]) == 1
    (_, line) = capsys.readouterr().out.splitlines()
    assert line.startswith("  FAIL  identity: GetCallerIdentity: InvalidClientTokenId")


def test_a_fleet_needs_rights_of_its_own(aws: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["aws", "check", "-c", config(aws, tmp_path, spread="types", spot=True, queue_url="")]) == 0
    out = capsys.readouterr().out
    assert "CreateFleet" in out
    assert "CreateLaunchTemplate" in out
    assert "DescribeSpotInstanceRequests" in out
    assert not aws.ec2.templates


def test_a_file_without_such_a_pool_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "slotsmith.yaml"
    pool = {"name": "a", "scheduler": {"type": "push"}, "provider": {"type": "local", "command": "true"}}
    path.write_text(json.dumps({"pools": [pool]}))
    assert main(["aws", "check", "-c", str(path)]) == 2
    assert "no pool with provider" in capsys.readouterr().err
