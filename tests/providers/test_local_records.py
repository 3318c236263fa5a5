"""What is on disk: damaged, old, and too much of it."""

import asyncio
import errno
import os
from pathlib import Path

import psutil
import pytest
import structlog

from providers.local_world import LocalWorld, all_gone, in_state, launch
from slotsmith.model.instance import InstanceState
from slotsmith.model.launch_error import ErrorKind
from slotsmith.providers.base import ProviderError
from slotsmith.providers.local import find_processes
from slotsmith.providers.local.records import Records
from waiting import until

UNKNOWN, STARTING, RUNNING = InstanceState.UNKNOWN, InstanceState.STARTING, InstanceState.RUNNING


@pytest.mark.parametrize(
    "content",
    [b"", b"\0" * 100, b"{", b'{"instance_id": "x"}\n{"pid": 1, "start": "1"}\n', b"[]\n[]\n", b"\xff\xfe\n\xff\n"],
    ids=["empty", "zeros", "half", "lacking", "lists", "binary"],
)
def test_a_damaged_record_is_state_unknown_and_hides_no_other(world: LocalWorld, content: bytes) -> None:
    async def check() -> None:
        provider = world.provider()
        bad, good = await launch(provider, "token", 2)
        await provider.close()
        (world.pool_directory() / "live" / bad / "claim").write_bytes(content)

        provider = world.provider()
        with structlog.testing.capture_logs() as logs:
            listed = {instance.id: instance for instance in await provider.list_instances()}
            await provider.list_instances()
        assert (listed[bad].state, listed[bad].token) == (UNKNOWN, "")
        assert listed[bad].detail.startswith("its record cannot be read: ")
        assert listed[good].state in (STARTING, RUNNING)
        assert [entry["instance"] for entry in logs if entry["log_level"] == "warning"] == [bad]
        # Its processes are found by their environment.
        assert await provider.terminate([bad]) == {}
        await until(lambda: not world.pids(bad), what="the end of the instance without a record")
        await until(lambda: not (world.pool_directory() / "live" / bad).exists(), what="its grave")
        assert [instance.id for instance in await provider.list_instances()] == [good]
        await provider.close()

    asyncio.run(check())


def test_a_record_of_another_instance_is_not_believed(world: LocalWorld) -> None:
    async def check() -> None:
        provider = world.provider()
        one, two = await launch(provider, "token", 2)
        await provider.close()
        live = world.pool_directory() / "live"
        (live / one / "claim").write_bytes((live / two / "claim").read_bytes())
        provider = world.provider()
        states = {instance.id: instance.state for instance in await provider.list_instances()}
        assert states.pop(one) is UNKNOWN
        assert set(states) == {two}
        assert states[two] is not UNKNOWN
        await provider.close()

    asyncio.run(check())


@pytest.mark.parametrize(
    ("content", "detail"),
    [
        (b"{", "its exit status cannot be read"),
        (b"[1]", "its exit status cannot be read"),
        (b'{"status": 0}', "exited with status 0"),
    ],
)
def test_a_damaged_exit_status_still_means_an_end(world: LocalWorld, content: bytes, detail: str) -> None:
    async def check() -> None:
        provider = world.provider("true")
        (instance_id,) = await launch(provider, "token")
        await in_state(provider, InstanceState.STOPPED)
        await provider.close()
        (world.pool_directory() / "live" / instance_id / "exit").write_bytes(content)
        provider = world.provider("true")
        assert (await in_state(provider, InstanceState.STOPPED)).detail == detail
        await provider.close()

    asyncio.run(check())


def test_what_lies_about_is_no_instance(world: LocalWorld) -> None:
    async def check() -> None:
        provider = world.provider()
        await provider.setup()
        live = world.pool_directory() / "live"
        (live / "a file").write_text("")
        (live / "never-started").mkdir()
        assert await provider.list_instances() == []
        assert await provider.terminate(["a file", "never-started"]) == {}
        assert not (live / "never-started").exists()
        await provider.close()

    asyncio.run(check())


def test_an_instance_that_was_given_up_before_it_started_never_starts(world: LocalWorld) -> None:
    async def check() -> None:
        provider = world.provider()
        await provider.setup()
        (instance_id,) = await launch(provider, "other")
        await provider.terminate([instance_id])
        await all_gone(provider)
        records = Records(world.pool_directory(), structlog.get_logger())
        records.directory("x").mkdir()
        records.bury_unstarted("x")
        assert (records.buried("x"), records.launched("x")) == (True, False)
        assert (records.buried(instance_id), records.launched(instance_id)) == (True, True)
        await provider.close()

    asyncio.run(check())


def test_old_graves_go_and_live_instances_stay(world: LocalWorld) -> None:
    async def check() -> None:
        provider = world.provider()
        await provider.setup()
        old, young, live = await launch(provider, "token", 3)
        await provider.terminate([old, young])
        await until(lambda: len(world.pids()) == 2, what="two ends")
        await until(lambda: (world.pool_directory() / "gone" / old).exists(), what="a grave")
        await until(lambda: (world.pool_directory() / "gone" / young).exists(), what="a grave")
        records = Records(world.pool_directory(), structlog.get_logger())
        records.directory("never-started").mkdir()
        for path in (records.grave(old), records.directory(live), records.directory("never-started")):
            os.utime(path, (1000, 1000))
        records.tidy(2000)
        assert not records.grave(old).exists()
        assert records.grave(young).exists()
        assert not records.directory("never-started").exists()
        assert [one.instance.id for one in records.look()] == [live]
        await provider.close()

    asyncio.run(check())


def test_an_agents_output_is_kept_within_bounds(world: LocalWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("slotsmith.providers.local.records._LOG_LIMIT", 5000)
    monkeypatch.setattr("slotsmith.providers.local.records._LOG_KEPT", 1000)

    async def check() -> None:
        provider = world.provider("sh -c 'while :; do echo 0123456789; sleep 0.001; done'")
        (instance_id,) = await launch(provider, "token")
        log = world.pool_directory() / "live" / instance_id / "agent.log"
        await until(lambda: log.exists() and log.stat().st_size > 5000, what="much output")
        records = Records(world.pool_directory(), structlog.get_logger())
        records.tidy(0)
        assert log.stat().st_size < 5000
        assert log.with_name("agent.log.1").stat().st_size == 1000
        # The agent goes on writing where there is room again, and not behind a hole.
        size = log.stat().st_size
        await until(lambda: log.stat().st_size > size, what="more output")
        assert b"\0" not in log.read_bytes()
        await provider.close()

    asyncio.run(check())


def test_find_processes_tells_what_runs_where(world: LocalWorld, tmp_path: Path) -> None:
    async def check() -> None:
        one, two = world.provider(pool="one"), world.provider(pool="two")
        (first,) = await launch(one, "token-1")
        (second,) = await launch(two, "token-2")
        await in_state(one, RUNNING)
        await in_state(two, RUNNING)
        everything = find_processes(state_dir=world.directory)
        assert sorted((process.instance_id, process.token) for process in everything) == sorted(
            [(first, "token-1")] * 2 + [(second, "token-2")] * 2
        )
        assert [process.create_time for process in everything] == sorted(process.create_time for process in everything)
        assert all(psutil.Process(process.pid).create_time() == process.create_time for process in everything)
        assert {process.instance_id for process in find_processes(state_dir=world.directory, pool="two")} == {second}
        assert {process.instance_id for process in find_processes(state_dir=world.pool_directory("one"))} == {first}
        assert len(find_processes(state_dir=world.directory, cluster="team")) == 4
        assert find_processes(state_dir=world.directory, cluster="another") == []
        assert find_processes(state_dir=tmp_path / "elsewhere") == []
        await one.close()
        await two.close()

    asyncio.run(check())


def test_a_listing_that_cannot_be_read_is_an_error_of_the_provider(world: LocalWorld) -> None:
    async def check() -> None:
        provider = world.provider()
        world.pool_directory().mkdir(parents=True)
        (world.pool_directory() / "live").write_text("")
        with pytest.raises(ProviderError, match="the instances cannot be listed: Not a directory"):
            await provider.list_instances()
        await provider.close()

    asyncio.run(check())


def test_a_full_disk_is_a_trouble_that_may_pass(world: LocalWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """A launch that could not be put on record is repeated with the same token, and then works."""

    async def check() -> None:
        provider = world.provider()
        await provider.setup()
        mkdir = Path.mkdir

        def full(path: Path, mode: int = 0o777, parents: bool = False, exist_ok: bool = False) -> None:
            if path.name.endswith("-1"):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
            mkdir(path, mode, parents, exist_ok)

        with monkeypatch.context() as patch:
            patch.setattr(Path, "mkdir", full)
            with pytest.raises(ProviderError, match="No space left on device") as caught:
                await launch(provider, "token", 3)
        assert caught.value.kind is ErrorKind.TRANSIENT
        ids = await launch(provider, "token", 3)
        assert len(ids) == 3
        assert sorted(instance.id for instance in await provider.list_instances()) == sorted(ids)
        await provider.close()

    asyncio.run(check())
