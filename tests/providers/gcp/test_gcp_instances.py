"""Listings and terminations on GCE, and what a provider finds out before it starts."""

from __future__ import annotations

import asyncio
import base64
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from providers.gcp.gce_cloud import Cloud
from providers.gcp.gce_faults import BACKEND, RATE, ApiError, Fault
from providers.gcp.gce_server import TOKEN, GceServer
from providers.gcp.gce_world import provider, settings
from providers.gcp.test_gcp_launches import launch, opened, run
from slotsmith.model.instance import InstanceState
from slotsmith.model.launch_error import ErrorKind
from slotsmith.model.resources import Resources
from slotsmith.providers.base import ProviderError
from slotsmith.providers.gcp.credentials import Credentials
from slotsmith.providers.gcp.launching import AT_ONCE
from slotsmith.providers.gcp.listing import Reading, SharedListing
from slotsmith.providers.gcp.names import default_prefix, instance_names, is_name, label_value
from slotsmith.providers.gcp.properties import instance_properties
from waiting import PATIENCE

DELETE, LIST = "instances.delete", "instances.aggregatedList"
READING = Reading("one", {"n1-standard-8": Resources(1)}, False)


@pytest.fixture
def server() -> Any:
    with GceServer(Cloud(operation_time=0.004, boot_time=0.004)) as running:
        yield running


def found(**more: Any) -> dict[str, Any]:
    return {
        "name": "x",
        "zone": "https://x/zones/us-central1-a",
        "machineType": "https://x/machineTypes/n1-standard-8",
        "creationTimestamp": "2026-01-02T03:04:05.000-08:00",
        "status": "RUNNING",
        **more,
    }


def test_pools_that_ask_at_once_share_a_listing(server: GceServer) -> None:
    async def check() -> None:
        async with opened(server, "one") as one, opened(server, "two") as two:
            await launch(one, "a", 1)
            await launch(two, "b", 2)
            server.cloud.calls.clear()
            listings = await asyncio.gather(one.list_instances(), two.list_instances())
            assert [len(listing) for listing in listings] == [1, 2]
            assert server.cloud.calls[LIST] == 1

    run(check())


def test_a_listing_begins_after_it_was_asked_for() -> None:
    async def check() -> None:
        shared, begun, gates = SharedListing(), [], [asyncio.Event() for _ in range(3)]

        async def fetch() -> list[Any]:
            number = len(begun)
            begun.append(number)
            await gates[number].wait()
            return [number]

        first = asyncio.create_task(shared.get(fetch))
        while not begun:
            await asyncio.sleep(0)
        late = [asyncio.create_task(shared.get(fetch)) for _ in range(3)]
        for _ in range(5):
            await asyncio.sleep(0)
        first.cancel()
        late[0].cancel()
        gates[0].set()
        gates[1].set()
        assert await asyncio.gather(*late[1:]) == [[1], [1]]
        assert begun == [0, 1]

    run(check())


def test_pools_whose_names_differ_in_case_are_apart(server: GceServer) -> None:
    """W70: names are written so that Google takes them, and each stays one of its own."""

    async def check() -> None:
        async with opened(server, "GPU_1") as one, opened(server, "gpu_1") as two:
            await launch(one, "a", 1)
            await launch(two, "b", 2)
            assert (len(await one.list_instances()), len(await two.list_instances())) == (1, 2)

    run(check())


@given(st.text(max_size=40), st.text(min_size=1, max_size=40), st.integers(1, 20))
def test_w71_names_and_labels_are_legal_and_differ(pool: str, token: str, count: int) -> None:
    names = instance_names(default_prefix(pool), token, count)
    assert all(is_name(name) for name in names)
    assert len(set(names)) == count
    assert len(label_value(pool)) <= 63
    assert (label_value(pool) == label_value(token)) is (pool == token)


def test_a_preempted_machine_says_so(server: GceServer) -> None:
    async def check() -> None:
        async with opened(server, spot=True) as subject:
            result = await launch(subject, count=2)
            server.cloud.preempt(result.instance_ids[0])
            states = {each.id: (each.state, each.detail) for each in await subject.list_instances()}
            assert states[result.instance_ids[0]][0] in (InstanceState.STOPPING, InstanceState.STOPPED)
            assert states[result.instance_ids[0]][1] == "preempted by Google"
            assert states[result.instance_ids[1]][1] == ""

    run(check())


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("PROVISIONING", InstanceState.STARTING),
        ("RUNNING", InstanceState.RUNNING),
        ("SUSPENDING", InstanceState.STOPPING),
        ("TERMINATED", InstanceState.STOPPED),
        ("DEPROVISIONING", InstanceState.TERMINATING),
        ("REPAIRING", InstanceState.UNKNOWN),
        ("A_NEW_WORD", InstanceState.UNKNOWN),
    ],
)
def test_states(status: str, state: InstanceState) -> None:
    assert READING.instance(found(status=status), 7.0, False).state is state


@pytest.mark.parametrize("stamp", ["", "yesterday", "2026-01-02T03:04:05", None])
def test_w62_a_time_that_cannot_be_read_is_when_it_was_first_seen(stamp: object) -> None:
    assert READING.instance(found(creationTimestamp=stamp), 7.0, False).launched_at == 7.0
    assert READING.instance(found(), 7.0, False).launched_at == 1767351845.0


def test_the_market_and_the_place_are_part_of_the_offering() -> None:
    spot = found(scheduling={"provisioningModel": "SPOT"})
    assert READING.instance(spot, 0, False).offering == "n1-standard-8/us-central1-a/spot"
    assert Reading("one", {}, True).instance(found(), 0, False).offering == "n1-standard-8/us-central1/on-demand"


def test_w67_deletes_go_side_by_side_and_not_all_at_once(server: GceServer) -> None:
    changed, active, peak = threading.Condition(), 0, 0

    def strike() -> None:
        """Each stays until as many have been there at once as may be, so that one more would come in too."""
        nonlocal active, peak
        with changed:
            active += 1
            peak = max(peak, active)
            changed.notify_all()
            changed.wait_for(lambda: peak >= AT_ONCE, PATIENCE)
            changed.wait(0.02)
            active -= 1

    async def check() -> None:
        async with opened(server) as subject:
            result = await launch(subject, count=30)
            server.faults.add(Fault(DELETE, act=strike, times=30))
            assert await subject.terminate(result.instance_ids) == {}

    run(check())
    assert server.cloud.calls[DELETE] == 30
    assert peak == AT_ONCE


def test_a_delete_that_fails_is_told_and_the_others_go_on(server: GceServer) -> None:
    async def check() -> None:
        async with opened(server) as subject:
            result = await launch(subject, count=3)
            server.faults.add(Fault(DELETE, error=RATE), Fault(DELETE, lost=True, after=True))
            failures = await subject.terminate(result.instance_ids)
            assert sorted(error.kind for error in failures.values()) == [ErrorKind.THROTTLED, ErrorKind.TRANSIENT]
            assert await subject.terminate(result.instance_ids) == {}

    run(check())


def test_an_attempt_that_ended_in_an_error_is_told_and_the_next_one_is_new(server: GceServer) -> None:
    async def check() -> None:
        async with opened(server) as subject:
            result = await launch(subject, count=1)
            # It was asked for before a restart, and its operation has failed since.
            server.faults.add(Fault("zoneOperations.get", times=0))
            assert await subject.terminate(result.instance_ids) == {}
            operation = next(each for each in server.cloud.operations.values() if each.kind == "delete")
            server.cloud._events.clear()
            server.cloud._end(operation, [{"code": "INTERNAL_ERROR", "message": "sorry"}])
        async with opened(server) as subject:
            (error,) = (await subject.terminate(result.instance_ids)).values()
            assert "INTERNAL_ERROR: sorry" in str(error)
            assert await subject.terminate(result.instance_ids) == {}
            assert len([each for each in server.cloud.operations.values() if each.kind == "delete"]) == 2

    run(check())


def test_a_listing_that_fails_is_typed(server: GceServer) -> None:
    async def check() -> None:
        async with opened(server) as subject:
            server.faults.add(Fault(LIST, error=BACKEND), Fault(LIST, lost=True))
            for _ in range(2):
                with pytest.raises(ProviderError) as raised:
                    await subject.list_instances()
                assert raised.value.kind is ErrorKind.TRANSIENT

    run(check())


def test_i2_a_zone_that_was_taken_out_of_the_file_is_looked_into(server: GceServer) -> None:
    async def check() -> None:
        async with opened(server, zone="us-central1-c") as subject:
            result = await launch(subject, count=2)
        async with opened(server, zone="us-central1-a") as subject:
            assert sorted(each.id for each in await subject.list_instances()) == sorted(result.instance_ids)
            assert await subject.terminate(result.instance_ids) == {}
        assert {machine.status for machine in server.cloud.machines.values()} <= {"STOPPING"}

    run(check())


def test_a_zone_that_cannot_be_looked_into_does_not_look_empty(server: GceServer) -> None:
    async def check() -> None:
        async with opened(server, zone="us-central1-a") as subject:
            await launch(subject, count=1)
            server.cloud.unreachable = ["us-central1-a"]
            with pytest.raises(ProviderError, match="cannot look into us-central1-a"):
                await subject.list_instances()
            server.cloud.unreachable = ["us-central1-b"]
            assert len(await subject.list_instances()) == 1

    run(check())


# What is found out before


def test_types_are_asked_of_google(server: GceServer, tmp_path: Path) -> None:
    prices = tmp_path / "prices.csv"
    prices.write_text("instance_type,price_per_hour\nn1-standard-8,0.38\n")

    async def check() -> None:
        kinds = {"instance_type": {"machine_type": "a2-highgpu-1g"}, "machine_types": ["n1-standard-8", "n9-none-1"]}
        async with opened(server, cpu_slots_allowed=True, prices=prices, **kinds) as subject:
            big, small = subject.offerings()
            assert (big.capacity, small.capacity) == (Resources(1, 12, 85), Resources(1, 8, 30))
        gpus = {"machine_type": "n1-standard-8", "gpu_type": "nvidia-tesla-t4", "gpu_num": 4}
        async with opened(server, instance_type=gpus, slots=2) as subject:
            assert subject.offerings()[0].capacity == Resources(2, 8, 30)

    run(check())


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"instance_type": {"machine_type": "bunny-1-1"}}, "machineTypes/bunny-1-1"),
        (
            {"instance_type": {"machine_type": "n1-standard-8", "gpu_type": "none", "gpu_num": 1}},
            "acceleratorTypes/none",
        ),
        (
            {"instance_type": {"machine_type": "n1-standard-8", "gpu_type": "nvidia-tesla-t4", "gpu_num": 8}},
            "at most 4 of",
        ),
        ({"zone": "mars-1-a"}, "Unknown zone"),
        ({"project": "other"}, "projects/other"),
        (
            {"agent": {"preset": "dask", "scheduler": "tcp://internal-ip:1"}},
            "agent.scheduler: 'internal-ip' stands for",
        ),
        ({"agent": {"command": "x", "config_file": "x" * 300_000}}, "and GCE takes 262144"),
        ({"prices": "/nonexistent.csv"}, "the prices in /nonexistent.csv cannot be read"),
    ],
)
def test_what_cannot_work_is_said_before(
    server: GceServer, more: dict[str, Any], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GCE_METADATA_HOST", "127.0.0.1:1")

    async def check() -> None:
        subject = provider(server, **more)
        with pytest.raises(ProviderError) as raised:
            await subject.setup()
        await subject.close()
        assert raised.value.kind is ErrorKind.INVALID
        assert said in str(raised.value)

    run(check())


def test_on_a_machine_of_googles_the_metadata_says_the_rest(server: GceServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GCE_METADATA_HOST", server.metadata_host)
    agent = {
        "preset": "determined",
        "container": {"image": "img"},
        "scheduler": "",
        "startup_script": "echo hunter2",
        "config_file": '{"hooks": {"on_connection_lost": ["shutdown"]}}',
    }

    async def check() -> None:
        async with opened(server, project="", zone="", agent=agent, use_cloud_logging=True) as subject:
            assert subject.offerings()[0].zone == "us-central1-b"
            await launch(subject, count=1)

    run(check())
    (machine,) = server.cloud.machines.values()
    (item,) = machine.body["metadata"]["items"]
    script = item["value"]
    assert item["key"] == "startup-script"
    assert "export SCHEDULER_HOST=10.1.2.3" in script
    assert "--log-driver=gcplogs" in script
    assert "hunter2" not in script, "it is there, but not for everybody's eyes"
    # W61: the agent's configuration reaches the instance.
    assert base64.b64encode(agent["config_file"].encode()).decode() in script  # type: ignore[union-attr]


def test_prices_come_from_a_file(server: GceServer, tmp_path: Path) -> None:
    path = tmp_path / "prices.csv"
    path.write_text(
        "instance_type,zone,market,price_per_hour\nn1-standard-8,us-central1,,0.38\nn1-standard-8,us-central1-b,spot,0.08\n"
    )

    async def check() -> None:
        async with opened(server, prices=path) as subject:
            assert subject.offerings()[0].price == 0.38
        async with opened(server, prices=path, spot=True, zones=["us-central1-a", "us-central1-b"]) as subject:
            assert [offering.price for offering in subject.offerings()] == [None, 0.08]

    run(check())
    path.write_text("instance_type,price_per_hour\nx,cheap\n")
    with pytest.raises(ProviderError, match=r"prices.csv:2: price_per_hour: expected dollars per hour, got 'cheap'"):
        run(provider(server, prices=path).setup())


def test_spot_is_spot_whichever_key_says_so(server: GceServer) -> None:
    standard = {"scheduling": {"provisioningModel": "STANDARD", "instanceTerminationAction": "DELETE"}}
    subject = settings(server, spot=True, base_config=standard)
    made = instance_properties(subject, machine_type="m", owner={}, token="t", metadata={})["scheduling"]
    assert (made["provisioningModel"], made["instanceTerminationAction"]) == ("SPOT", "DELETE")
    for scheduling in ({"provisioningModel": "SPOT"}, {"preemptible": True}):
        assert settings(server, base_config={"scheduling": scheduling}).market == "spot"
    assert settings(server, base_config={"scheduling": {"automaticRestart": False}}).market == "on-demand"


@pytest.mark.parametrize(
    ("labels", "match"),
    [({"Team": "a"}, "got 'Team'"), ({"team": "A B"}, "for the label 'team'"), (["a"], "expected a mapping")],
)
def test_w70_labels_of_base_config_are_checked_too(server: GceServer, labels: object, match: str) -> None:
    with pytest.raises(ValidationError, match=match):
        settings(server, base_config={"labels": labels})


def test_credentials_of_the_machine(server: GceServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    monkeypatch.setenv("GCE_METADATA_HOST", server.metadata_host)
    monkeypatch.setenv("GCE_METADATA_IP", server.metadata_host)
    monkeypatch.setenv("CLOUDSDK_CONFIG", "/nonexistent")

    async def check() -> None:
        credentials = Credentials()
        assert await credentials.header() == f"Bearer {TOKEN}"
        assert credentials.project == "proj"

    run(check())


def test_no_credentials_are_said_to_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/nonexistent.json")

    async def check() -> None:
        with pytest.raises(ProviderError, match="no credentials for Google") as raised:
            await Credentials().header()
        assert raised.value.kind is ErrorKind.DENIED

    run(check())


def test_base_config_is_kept_and_shared_with_nothing(server: GceServer) -> None:
    """W68, W69."""
    base = {
        "scheduling": {"automaticRestart": False, "onHostMaintenance": "MIGRATE"},
        "minCpuPlatform": "Intel Skylake",
        "tags": {"items": ["base", "t"]},
        "metadata": {"items": [{"key": "k", "value": "v"}, {"key": "startup-script", "value": "theirs"}]},
        "serviceAccounts": [{"email": "b"}],
    }
    subject = settings(
        server, base_config=base, network_tags=["t"], service_account={"email": "e"}, metadata={"k": "w"}
    )
    made = [
        instance_properties(subject, machine_type="m", owner={}, token="t", metadata={"startup-script": "ours"})
        for _ in range(2)
    ]
    assert made[0] == made[1]
    assert made[0]["scheduling"] == base["scheduling"]
    assert made[0]["minCpuPlatform"] == "Intel Skylake"
    assert made[0]["tags"]["items"] == ["base", "t"]
    assert {each["key"]: each["value"] for each in made[0]["metadata"]["items"]} == {"k": "w", "startup-script": "ours"}
    assert [each["email"] for each in made[0]["serviceAccounts"]] == ["e"]
    spot = instance_properties(settings(server, spot=True), machine_type="m", owner={}, token="t", metadata={})
    assert spot["scheduling"] == {
        "provisioningModel": "SPOT",
        "instanceTerminationAction": "STOP",
        "onHostMaintenance": "TERMINATE",
        "automaticRestart": False,
    }


def test_an_answer_that_is_no_json_is_no_answer(server: GceServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ApiError, "body", lambda self: ["<html>"])

    async def check() -> None:
        async with opened(server) as subject:
            server.faults.add(Fault(LIST, error=BACKEND))
            with pytest.raises(ProviderError, match="Google says 503: no explanation") as raised:
                await subject.list_instances()
            assert raised.value.kind is ErrorKind.TRANSIENT

    run(check())
