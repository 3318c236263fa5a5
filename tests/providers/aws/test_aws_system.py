"""The main job on EC2: `slotsmith run`, a real Dask scheduler, and instances that boot by the script and join it."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from providers.aws.ec2_catalogue import IMAGE
from providers.aws.ec2_machines import Machines
from providers.aws.ec2_world import World
from schedulers import dask_tasks
from schedulers.dask_cluster import DaskCluster, DaskProcesses
from waiting import until

_TASKS = 12
_SLOTSMITH = [sys.executable, "-m", "slotsmith"]


def write_config(world: World, directory: Path, scheduler: str) -> Path:
    provider = {
        "type": "aws", "region": "eu-west-1", "image_id": IMAGE, "zones": ["eu-west-1a", "eu-west-1b"],
        "instance_type": "g4dn.xlarge", "endpoint_url": world.server.url, "poll_period": "5s",
        "agent": {"preset": "dask", "scheduler": scheduler},
    }  # fmt: skip
    pool = {
        "name": "gpu", "scheduler": {"type": "dask", "address": scheduler, "poll_period": "500ms"},
        "provider": provider, "max_instances": 2, "max_idle_agent_period": "1s",
    }  # fmt: skip
    path = directory / "slotsmith.yaml"
    path.write_text(json.dumps({"cluster": "team", "store": {"url": f"sqlite:///{directory}/b.db"}, "pools": [pool]}))
    return path


async def works(world: World, cluster: DaskCluster, config: Path) -> dict[str, Any]:
    """Tasks, until they are done and the fleet is empty again; what `status` said in between."""
    async with cluster.client() as client:
        numbers = list(range(_TASKS))
        futures = client.map(
            dask_tasks.noted, [str(config.parent)] * _TASKS, numbers, [0.1] * _TASKS, resources={"slot": 1}
        )
        assert await client.gather(futures) == [number * number for number in numbers]
        status = await asyncio.to_thread(_command, "status", "gpu", "-c", str(config), "--json")
        for future in futures:
            future.release()
        await until(lambda: not world.ec2.alive, timeout=60, what="an empty fleet")
    report: dict[str, Any] = json.loads(status)
    return report


def _command(*words: str) -> str:
    return subprocess.run([*_SLOTSMITH, *words], capture_output=True, text=True, timeout=60).stdout


@contextmanager
def running(config: Path) -> Iterator[None]:
    """The daemon, and its clean end."""
    with (config.parent / "log").open("wb") as log:
        daemon = subprocess.Popen([*_SLOTSMITH, "run", "-c", str(config)], stderr=log, stdout=log)
    try:
        yield
        daemon.send_signal(signal.SIGTERM)
        assert daemon.wait(30) == 0
    finally:
        daemon.kill()
        daemon.wait()


@pytest.mark.slow
def test_a_pool_on_ec2_goes_up_and_down_with_the_work(aws: World, tmp_path: Path) -> None:
    # The agents find the tasks' module there.
    aws.patch.setenv("PYTHONPATH", str(Path(dask_tasks.__file__).parents[1]))
    with (
        Machines(aws.server, tmp_path) as machines,
        DaskProcesses() as processes,
        DaskCluster(processes, tmp_path) as cluster,
    ):
        config = write_config(aws, tmp_path, cluster.address)
        with running(config):
            report = asyncio.run(works(aws, cluster, config))
        launched = list(aws.ec2.instances)
        assert 1 <= len(launched) <= 2
        assert "i-" in json.dumps(report)
        assert not machines.alive()
        for each in launched:
            assert "the agent" in machines.log(each)
    assert (tmp_path / "b.db").exists()
