"""Schedulers that are not there, go away, hang, come back, or are something else; and encrypted ones."""

from __future__ import annotations

import asyncio
import gc
import logging
import re
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from schedulers import dask_tasks
from schedulers.dask_cluster import Connector, DaskCluster, DaskProcesses, free_port, in_loop
from slotsmith.schedulers.base import SchedulerError
from slotsmith.schedulers.dask.shipping import plugin_name
from waiting import until


@pytest.fixture
def quiet(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    """Nothing is logged as a warning or worse, nothing printed, no task left with an exception that nobody saw."""
    yield
    gc.collect()
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []
    printed = capfd.readouterr()
    assert (printed.out, printed.err) == ("", "")


LESS_THAN_DASKS_OWN = 25.0
"""Seconds: Dask's own limits, which hold where ours are not handed on, are 30 s."""


async def answers(connector: Connector) -> bool:
    try:
        await connector.scaling_info()
    except SchedulerError:
        return False
    return True


def others() -> set[object]:
    """Tasks of the loop that are neither the test nor its time limit."""
    return {task for task in asyncio.all_tasks() if task is not asyncio.current_task()}


@asynccontextmanager
async def server(talk: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]) -> AsyncIterator[str]:
    """Something else that listens; its address."""
    writers = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        await talk(reader, writer)

    listener = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with listener:
        yield f"tcp://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
        for writer in writers:
            writer.close()


@in_loop
async def test_nobody_listens(quiet: None) -> None:
    connector = Connector(f"tcp://127.0.0.1:{free_port()}", connect_timeout="1s")
    match = r"cannot reach .* at tcp://127\.0\.0\.1:\d+: .*(refused|Timed out)"
    async with asyncio.timeout(LESS_THAN_DASKS_OWN):
        with pytest.raises(SchedulerError, match=match):
            await connector.setup()
    with pytest.raises(SchedulerError, match="cannot reach"):
        await connector.drain(["agent-1"], when_done=True)
    await connector.close()
    assert others() == set()


@in_loop
async def test_a_name_that_does_not_resolve(quiet: None) -> None:
    connector = Connector("tcp://no-such-host.invalid:8786", connect_timeout="1s")
    with pytest.raises(SchedulerError, match=r"cannot reach the Dask scheduler at tcp://no-such-host\.invalid:8786"):
        await connector.setup()
    await connector.close()


@in_loop
async def test_something_else_that_says_nothing(quiet: None) -> None:
    async def silence(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with server(silence) as address:
        connector = Connector(address, connect_timeout="500ms")
        match = r"cannot reach the Dask scheduler at tcp.*: no answer within 0\.5 s"
        async with asyncio.timeout(LESS_THAN_DASKS_OWN):
            with pytest.raises(SchedulerError, match=match):
                await connector.setup()
        await connector.close()


@in_loop
async def test_something_else_that_talks(quiet: None) -> None:
    async def refuse(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n" * 10)
        await writer.drain()

    async with server(refuse) as address:
        connector = Connector(address, connect_timeout="1s")
        with pytest.raises(SchedulerError, match="cannot reach the Dask scheduler"):
            await connector.setup()
        await connector.close()


@in_loop
async def test_a_worker_is_not_a_scheduler(cluster: DaskCluster) -> None:
    cluster.add_worker("agent-1")
    async with cluster.connector() as connector, cluster.client() as client:
        await connector.joined("agent-1")
        (address,) = await client.run_on_scheduler(lambda dask_scheduler: list(dask_scheduler.workers))
        other = Connector(address)
        with pytest.raises(SchedulerError, match="is not a Dask scheduler"):
            await other.setup()
        await other.close()


@in_loop
async def test_a_scheduler_goes_and_another_one_comes(cluster: DaskCluster, quiet: None) -> None:
    async with cluster.connector(connect_timeout="2s") as connector:
        await until(lambda: connector.wakes)
        for _ in range(2):
            connector.wakes.clear()
            cluster.kill_scheduler()
            await until(lambda: connector.wakes, what="a wake because the connection is lost")
            with pytest.raises(SchedulerError, match=r"cannot reach|was lost"):
                await connector.scaling_info()
            calls = (connector.scaling_info(), connector.drain(["agent-1"], when_done=True))
            for error in await asyncio.gather(*calls, return_exceptions=True):
                assert isinstance(error, SchedulerError)
                assert re.search(r"cannot reach|was lost", str(error))
            cluster.start_scheduler()
            await until(lambda: answers(connector))
            assert (await connector.check())["name"] == plugin_name()
            connector.wakes.clear()
            async with cluster.client() as client:
                future = client.submit(dask_tasks.square, 1)
                await until(connector.demand)
                connector.wakes.clear()
                more = client.submit(dask_tasks.square, 2)
                await until(lambda: connector.wakes, what="a wake because of a new task")
                del future, more
    assert others() == set()


@in_loop
async def test_a_scheduler_that_hangs(cluster: DaskCluster, quiet: None) -> None:
    async with cluster.connector(connect_timeout="3s", request_timeout="3s") as connector:
        cluster.signal_scheduler(signal.SIGSTOP)
        try:
            async with asyncio.timeout(LESS_THAN_DASKS_OWN):
                with pytest.raises(SchedulerError, match=r"did not answer within 3 s"):
                    await connector.scaling_info()
                with pytest.raises(SchedulerError, match="cannot reach"):
                    await connector.scaling_info()
        finally:
            cluster.signal_scheduler(signal.SIGCONT)
        await until(lambda: answers(connector))
        cluster.add_worker("agent-1")
        await connector.joined("agent-1")
        assert (await connector.drain(["agent-1"], when_done=False)).keys() == {"agent-1"}


@in_loop
async def test_the_plugin_outlives_its_connectors(cluster: DaskCluster) -> None:
    def plugins(dask_scheduler: object) -> list[tuple[str, int]]:
        found = dask_scheduler.plugins.items()  # type: ignore[attr-defined]
        return [(name, id(plugin)) for name, plugin in found if name.startswith("slotsmith")]

    async with cluster.client() as client:
        seen = set()
        futures = client.map(dask_tasks.square, range(5))
        for _ in range(3):
            async with cluster.connector() as first, cluster.connector() as second:
                await until(first.demand)
                assert await first.demand() == await second.demand() == {"1 cpu": 5}
                (plugin,) = await client.run_on_scheduler(plugins)
                seen.add(plugin)
        assert {name for name, _ in seen} == {plugin_name()}
        assert len(seen) == 1
        del futures


@in_loop
async def test_a_plugin_that_was_unregistered_counts_again(cluster: DaskCluster) -> None:
    async with cluster.connector() as connector, cluster.client() as client:
        await client.unregister_scheduler_plugin(plugin_name())
        futures = client.map(dask_tasks.square, range(5))

        async def has_five() -> bool:
            return await connector.demand() == {"1 cpu": 5}

        await until(has_five)
        assert (await connector.check())["differences"] == ()
        del futures


@in_loop
async def test_slotsmith_is_not_there_where_the_scheduler_runs(cluster: DaskCluster) -> None:
    def attempt(dask_scheduler: object) -> str:
        try:
            import slotsmith
        except ImportError as error:
            return str(error)
        return str(slotsmith)

    async with cluster.connector(), cluster.client() as client:
        assert "import of slotsmith halted" in await client.run_on_scheduler(attempt)


@in_loop
async def test_an_answer_that_makes_no_sense(cluster: DaskCluster) -> None:
    def spoil(dask_scheduler: object) -> None:
        dask_scheduler.handlers["slotsmith_view"] = lambda: {"agents": 3}  # type: ignore[attr-defined]
        dask_scheduler.handlers["slotsmith_drain"] = lambda **_: 1 / 0  # type: ignore[attr-defined]

    async with cluster.connector() as connector, cluster.client() as client:
        await client.run_on_scheduler(spoil)
        with pytest.raises(SchedulerError, match="cannot read what the Dask scheduler at tcp"):
            await connector.scaling_info()
        with pytest.raises(SchedulerError, match="failed: ZeroDivisionError"):
            await connector.drain(["agent-1"], when_done=True)


@in_loop
async def test_closing_is_possible_at_any_time(cluster: DaskCluster, quiet: None) -> None:
    connector = Connector(cluster.address)
    await connector.close()
    await connector.setup()
    reading = asyncio.create_task(connector.scaling_info())
    await asyncio.sleep(0)
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    await connector.close()
    await connector.close()
    assert others() == set()


@pytest.mark.skipif(not shutil.which("openssl"), reason="openssl makes the certificates")
@in_loop
async def test_an_encrypted_scheduler(dask_processes: DaskProcesses, tmp_path: Path) -> None:
    subject = ["-subj", "/CN=dask", "-addext", "subjectAltName=IP:127.0.0.1"]
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    subprocess.run(  # noqa: ASYNC221 - nothing else runs in this loop
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", certificate, *subject],
        check=True,
        capture_output=True,
    )
    config = {
        "distributed.comm.tls.ca-file": str(certificate),
        "distributed.comm.tls.scheduler.cert": str(certificate),
        "distributed.comm.tls.scheduler.key": str(key),
        "distributed.comm.require-encryption": True,
    }
    with DaskCluster(dask_processes, tmp_path, config=config, scheme="tls") as cluster:
        tls = {"ca_file": str(certificate), "cert_file": str(certificate), "key_file": str(key)}
        async with cluster.connector(tls=tls) as connector:
            assert await connector.demand() == {}
        lacking = Connector(cluster.address, tls=tls | {"key_file": str(tmp_path / "missing.pem")})
        with pytest.raises(SchedulerError, match="the TLS files of the Dask scheduler cannot be used"):
            await lacking.setup()
        without = Connector(cluster.address, connect_timeout="1s")
        with pytest.raises(SchedulerError, match="tls"):
            await without.setup()
        plain = Connector(cluster.address.replace("tls", "tcp"), connect_timeout="1s")
        with pytest.raises(SchedulerError, match="cannot reach"):
            await plain.setup()
        for connector in (lacking, without, plain):
            await connector.close()
