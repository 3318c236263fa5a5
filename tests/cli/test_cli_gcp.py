"""`slotsmith gcp check`, and a pool on GCE that goes up and down under `slotsmith run`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cli.command_line import CommandLine
from providers.gcp.gce_cloud import Cloud
from providers.gcp.gce_faults import FORBIDDEN, Fault, OperationFault
from providers.gcp.gce_server import GceServer
from system.cloud_pool import CloudPool
from system.daemon import Daemon
from waiting import wait_until

PREFIX = "https://www.googleapis.com/compute/v1/projects/proj"


@pytest.fixture
def server() -> Iterator[GceServer]:
    with GceServer(Cloud(operation_time=0.02, boot_time=0.02)) as running:
        yield running


def provider(server: GceServer, **more: Any) -> dict[str, Any]:
    return {
        "type": "gcp",
        "project": "proj",
        "zones": ["us-central1-a"],
        "instance_type": {"machine_type": "n1-standard-8"},
        "boot_disk_source_image": "projects/debian-cloud/global/images/debian-12",
        "api_endpoint": server.url,
        "poll_period": "100ms",
        "slots": 1,
        **more,
    }


def file(server: GceServer, **more: Any) -> str:
    pool = {"name": "gpu", "scheduler": {"type": "push"}, "provider": provider(server, **more), "max_instances": 2}
    other = {"name": "here", "scheduler": {"type": "push"}, "provider": {"type": "local", "command": "true"}}
    return json.dumps({"cluster": "team", "pools": [pool, other]})


def test_all_is_there(slotsmith: CommandLine, server: GceServer) -> None:
    network = {
        "network": f"{PREFIX}/global/networks/default",
        "subnetwork": f"{PREFIX}/regions/us-central1/subnetworks/a",
    }
    slotsmith.config(file(server, network_interface=network, agent={"command": "sleep 9"}))
    said = slotsmith("gcp", "check")
    assert said.status == 1, "another project is not there for this server"
    slotsmith.config(file(server, network_interface=network, boot_disk_source_image=f"{PREFIX}/global/images/x"))
    said = slotsmith("gcp", "check")
    assert (said.status, said.err) == (0, "")
    assert said.out.splitlines() == [
        "ok     gpu: project: proj",
        "ok     gpu: rights to read: project proj can be read",
        "ok     gpu: zone us-central1-a: up",
        "ok     gpu: n1-standard-8 in us-central1-a: 1 slot, 8 cpus, 30 GiB of memory",
        f"ok     gpu: image: {PREFIX}/global/images/x",
        f"ok     gpu: network: {network['network']}",
        f"ok     gpu: network: {network['subnetwork']}",
        "ok     gpu: rights to list: instances can be listed",
        "ok     gpu: boot: the scheduler's address and the boot script are good",
        "ok     gpu: quota CPUS in us-central1: 22 left, enough for 2 of 2 instances",
    ]
    assert server.cloud.created_ever == []


def test_what_is_bad_and_what_is_short(slotsmith: CommandLine, server: GceServer) -> None:
    gpus = {"machine_type": "n1-standard-8", "gpu_type": "nvidia-tesla-t4", "gpu_num": 4}
    slotsmith.config(
        file(server, machine_types=["bunny-1-1"], regional=True, instance_type=gpus, boot_disk_source_image="")
    )
    said = slotsmith("gcp", "check", "gpu", "--json")
    assert said.status == 1
    found = {each["what"]: (each["state"], each["text"]) for each in json.loads(said.out)["pools"]["gpu"]}
    assert found["bunny-1-1 in us-central1-a"][0] == "bad"
    assert found["image"] == ("bad", "no boot disk: set boot_disk_source_image, or disks in base_config")
    assert found["quota NVIDIA_T4_GPUS in us-central1"] == (
        "short",
        "4 left, enough for 1 of 2 instances; ask Google for more, or lower max_instances",
    )
    server.faults.add(Fault("projects.get", error=FORBIDDEN))
    said = slotsmith("gcp", "check")
    assert said.status == 1
    assert said.out.splitlines()[-1].startswith("bad    gpu: rights to read: Google says 403 forbidden")


@pytest.mark.parametrize(
    ("granted", "told"),
    [
        (0.0, "ok     gpu: quota CPUS in us-central1: 22 left, enough for 2 of 2 instances"),
        (8.0, "short  gpu: quota PREEMPTIBLE_CPUS in us-central1: 8 left, enough for 1 of 2 instances; ask Google"),
    ],
)
def test_spot_counts_against_its_own_quota_once_there_is_one(
    slotsmith: CommandLine, server: GceServer, granted: float, told: str
) -> None:
    server.quotas["PREEMPTIBLE_CPUS"] = (granted, 0.0)
    slotsmith.config(file(server, spot=True))
    said = slotsmith("gcp", "check")
    assert said.out.splitlines()[-1].startswith(told)


def test_pools_elsewhere(slotsmith: CommandLine, server: GceServer) -> None:
    slotsmith.config(file(server))
    assert slotsmith("gcp", "check", "here").errors == ["slotsmith: slotsmith.yaml: pool 'here' is not on GCE"]
    assert slotsmith("gcp", "check", "gqu").errors == [
        "slotsmith: no pool 'gqu' in slotsmith.yaml, did you mean 'gpu'?"
    ]


def pool_on(directory: Path, server: GceServer, **more: Any) -> CloudPool:
    """A daemon with a pool on this server."""

    def machines() -> dict[str, bool]:
        with server.lock:
            server.cloud.tick()
            return {name: machine.status == "RUNNING" for (_, name), machine in server.cloud.machines.items()}

    return CloudPool(directory, provider(server, **more), machines)


def test_a_pool_goes_up_and_down(tmp_path: Path, server: GceServer) -> None:
    fleet = pool_on(tmp_path, server)
    with fleet.daemon as daemon:
        server.cloud.operation_faults.append(OperationFault("ZONE_RESOURCE_POOL_EXHAUSTED", created=2))
        fleet.queue.demand(3)
        daemon.start()
        fleet.until(2)
        said = "2 of 3 instances were launched: Google says ZONE_RESOURCE_POOL_EXHAUSTED"
        wait_until(lambda: "count=2" in daemon.log(), what=f"a launch\n{daemon.log()}")
        wait_until(lambda: said in daemon.look("explain").stdout, what=f"the reason\n{daemon.log()}")
        fleet.queue.demand(0)
        fleet.until(0)
        daemon.stop()
        assert "Traceback" not in daemon.log()
    assert len(server.cloud.created_ever) == 2


def test_w72_a_stock_out_moves_the_launch_to_another_zone_and_what_is_preempted_is_replaced(
    tmp_path: Path, server: GceServer
) -> None:
    server.cloud.room["us-central1-a"] = 0
    prices = tmp_path / "prices.csv"
    prices.write_text("instance_type,market,price_per_hour\nn1-standard-8,spot,0.08\n")
    fleet = pool_on(tmp_path, server, zones=["us-central1-a", "us-central1-b"], prices=str(prices), spot=True)
    with fleet.daemon as daemon:
        fleet.queue.demand(2)
        daemon.start()
        fleet.until(2)
        assert {zone for zone, _ in server.cloud.machines} == {"us-central1-b"}
        told = "pending tasks need 2 more instances, without n1-standard-8/us-central1-a/spot"
        wait_until(lambda: told in daemon.look("explain").stdout, what=f"the reason\n{daemon.log()}")
        assert "Google says ZONE_RESOURCE_POOL_EXHAUSTED: The zone 'zones/us-central1-a'" in daemon.log()
        with server.lock:
            server.cloud.preempt(server.cloud.created_ever[0])
        wait_until(lambda: fleet.sign_in() == 2 and len(server.cloud.created_ever) == 3, what=daemon.log())
        wait_until(lambda: "preempted by Google" in daemon.log(), what=daemon.log())
        daemon.stop()


MASTER = """\
db: {host: postgres}
resource_pools:
  - pool_name: gpu
    provider: {type: gcp, project: proj, zone: us-central1-a, master_url: "http://10.0.0.1", min_instances: 1}
  - pool_name: aux
    provider:
      type: gcp
      project: proj
      zone: us-central1-b
      master_url: https://master.example.com
      instance_type: {machine_type: n1-standard-8, gpu_type: "", gpu_num: 0}
      cpu_slots_allowed: true
      min_instances: 2
"""


def test_a_master_yaml_with_two_pools_runs_as_it_is(
    tmp_path: Path, server: GceServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for pool in ("GPU", "AUX"):
        monkeypatch.setenv(f"SLOTSMITH__POOLS__{pool}__PROVIDER__API_ENDPOINT", server.url)
    with Daemon(tmp_path) as daemon:
        (tmp_path / "slotsmith.yaml").write_text(MASTER)
        daemon.start()
        wait_until(lambda: len(server.cloud.created_ever) == 3, what=f"three machines\n{daemon.log()}")
        wait_until(lambda: daemon.log().count("now=running") == 3, what=f"all of them\n{daemon.log()}")
        daemon.stop()
        assert "Traceback" not in daemon.log()
    bodies = [machine.body for machine in server.cloud.machines.values()]
    found = sorted(
        (body["labels"]["determined-resource-pool"], body["machineType"].rpartition("/")[2]) for body in bodies
    )
    assert found == [("aux", "n1-standard-8"), ("aux", "n1-standard-8"), ("gpu", "n1-standard-32")]
    scripts = {body["labels"]["slotsmith-pool"]: body["metadata"]["items"][0]["value"] for body in bodies}
    assert "export SCHEDULER=http://10.0.0.1:8080" in scripts["gpu"]
    assert "export SCHEDULER=https://master.example.com:8443" in scripts["aux"]


@pytest.mark.slow
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_i3_the_daemon_is_killed_at_every_call(tmp_path: Path, after: bool) -> None:
    """`kill -9` at each call of a launch and of a termination, in turn: three machines, and then none."""
    for method in ("instances.bulkInsert", "zoneOperations.wait", "instances.aggregatedList", "instances.delete"):
        for skip in range(3 if method == "instances.delete" else 2):
            directory = tmp_path / f"{method}-{skip}"
            directory.mkdir()
            with GceServer(Cloud(operation_time=0.02, boot_time=0.02)) as server:
                killed_at(directory, server, Fault(method, skip=skip, after=after))


def killed_at(directory: Path, server: GceServer, fault: Fault) -> None:
    fleet = pool_on(directory, server)
    fault.act = fleet.kill
    server.faults.add(fault)

    def comes() -> bool:
        # From here on it is too late for it.
        server.faults.clear()
        return fault.times == 0

    fleet.live_with_a_kill(3, comes=comes)
    assert len(server.cloud.created_ever) == 3, fault
