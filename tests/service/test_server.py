"""The server on a real port: streams, slow clients, too many requests, certificates, and the client."""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import httpx
import pytest
import structlog

from service.browse import Served, served
from service.certificates import Authority
from service.stage import until
from slotsmith.client import Client, ClientError
from slotsmith.clock import SystemClock
from slotsmith.config.models import ServiceSettings
from slotsmith.model.agent import Agent
from slotsmith.model.resources import Resources
from slotsmith.model.scaling_info import ScalingInfo
from slotsmith.model.task import Constraints, Group, TaskClass
from slotsmith.service import guard, server
from slotsmith.service.pushing import read_view
from slotsmith.service.server import Certificate, ServiceError
from waiting import PATIENCE
from waiting import until as wait_for


@pytest.fixture(scope="module")
def on() -> Iterator[Served]:
    with served(max_instances=3) as one:
        yield one


def address_of(on: Served) -> tuple[str, int]:
    host, port = on.address.removeprefix("http://").split(":")
    return host, int(port)


def test_the_client_pushes_and_reads(on: Served) -> None:
    with Client(on.address) as client:
        pushed = client.push("gpu", ScalingInfo(desired_new=1), sequence=1)
        assert (pushed.status, pushed.drains) == ("new", ())
        on.do(lambda: until(lambda: len(on.stage.pool.instances) == 1))
        assert [each["state"] for each in client.instances("gpu")] == ["running"]
        assert client.pool("gpu")["max_instances"] == 3
        with pytest.raises(ClientError, match="409: the view is stale") as caught:
            client.push("gpu", ScalingInfo(), sequence=0)
        assert caught.value.status == 409
        client.set_limits("gpu", "a test", max_instances=2)
        assert [each["max_instances"] for each in client.pools()] == [2, 0]
        client.set_limits("gpu", "a test", max_instances=None)
        client.pause("gpu", "a test")
        client.resume("gpu", "a test")
        assert client.acknowledge("gpu", released=["x"]) == ["x"]
        assert client.drains("gpu") == ()


def test_what_the_client_sends_is_what_arrives() -> None:
    from slotsmith.client import view_body

    info = ScalingInfo(
        (Agent("a", False, Resources(2, 1.5, 4, (("disk", 3),)), Resources(1), 2, True, 7),),
        (TaskClass(Resources(1, 2, 3), 4, 2, "g", True, Constraints(("t",), ("z",), ("spot",), (("k", "v"),)), "id"),),
        (Group("g", 5, 1),),
    )
    assert read_view(json.dumps(view_body(info)).encode()).info == info


def test_a_service_that_is_not_there_is_told() -> None:
    with Client("http://127.0.0.1:9", timeout=2) as client, pytest.raises(ClientError, match="cannot be reached"):
        client.pools()


def test_events_come_as_they_happen_and_again_after_a_break(on: Served) -> None:
    with httpx.stream("GET", f"{on.address}/api/v1/events?pool=gpu", timeout=PATIENCE) as stream:
        lines = stream.iter_lines()
        assert next(lines) == "retry: 2000"
        on.do(on.stage.act, "limits", max_instances=2)
        number, body = "", ""
        for line in lines:
            if line.startswith("id: "):
                number = line[4:]
            if line == "event: action":
                body = next(lines)
                break
    assert json.loads(body.removeprefix("data: "))["what"] == "limits"
    headers = {"Last-Event-ID": str(int(number) - 1)}
    with httpx.stream("GET", f"{on.address}/api/v1/events", headers=headers, timeout=PATIENCE) as stream:
        assert f"id: {number}" in [line for _, line in zip(range(6), stream.iter_lines(), strict=False)]
    on.do(lambda: until(lambda: on.stage.service.hub.listeners == 0))


def test_slow_headers_and_half_open_connections_do_not_stop_pushes(on: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "HEADER_DEADLINE", 1.0)
    monkeypatch.setattr(guard, "most_waiting", lambda: 150)
    with ExitStack() as stack:
        connections = [stack.enter_context(socket.create_connection(address_of(on))) for _ in range(200)]
        for connection in connections[150:]:
            connection.sendall(b"PUT /api/v1/pools/gpu/scaling-info HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
        answer = httpx.put(f"{on.address}/api/v1/pools/gpu/scaling-info", json={}, timeout=PATIENCE)
        assert answer.status_code == 200
        for connection in connections:
            connection.settimeout(PATIENCE)
            with suppress(ConnectionResetError):
                assert connection.recv(1) == b""


def test_a_body_that_does_not_come_is_given_up(on: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("slotsmith.service.bodies.BODY_DEADLINE", 0.2)
    with socket.create_connection(address_of(on)) as connection:
        connection.settimeout(PATIENCE)
        connection.sendall(
            b"PUT /api/v1/pools/gpu/scaling-info HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Content-Length: 100\r\n\r\n{"
        )
        received = b""
        while part := connection.recv(65536):
            received += part
    assert received.startswith(b"HTTP/1.1 408")


def test_a_gigabyte_is_refused_before_it_comes(on: Served) -> None:
    with socket.create_connection(address_of(on)) as connection:
        connection.settimeout(PATIENCE)
        connection.sendall(
            b"PUT /api/v1/pools/gpu/scaling-info HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Content-Length: 1000000000\r\n\r\n"
        )
        assert connection.recv(12) == b"HTTP/1.1 413"


def test_more_requests_at_once_than_are_let_in_are_told() -> None:
    import asyncio

    async def scenario() -> None:
        entered, go = asyncio.Event(), asyncio.Event()

        async def app(scope: object, receive: object, send: object) -> None:
            entered.set()
            await go.wait()

        async def send(message: dict[str, object]) -> None:
            sent.append(message)

        sent: list[dict[str, object]] = []
        keeper = guard.Doorkeeper(app, 1)  # type: ignore[arg-type]
        scope = {"type": "http", "path": "/x", "method": "GET", "headers": []}
        first = asyncio.create_task(keeper(scope, None, send))  # type: ignore[arg-type]
        await entered.wait()
        await keeper(scope, None, send)  # type: ignore[arg-type]
        assert sent[0]["status"] == 503
        go.set()
        await first

    asyncio.run(scenario())


def tls(files: tuple[Path, Path], **more: str) -> ServiceSettings:
    certificate, key = files
    return ServiceSettings(listen="127.0.0.1:0", tls_certificate=str(certificate), tls_key=str(key), **more)


def test_a_certificate_is_read_again_when_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import asyncio

    monkeypatch.setattr(server, "LOOK_AT_FILES", 0.02)
    authority = Authority(tmp_path, "ca")
    files = authority.sign("service")
    settings = tls(files)
    assert Certificate(settings).context.minimum_version is ssl.TLSVersion.TLSv1_2

    async def scenario() -> None:
        certificate = Certificate(settings)
        following = asyncio.create_task(certificate.follow(SystemClock()))

        async def echo(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.close()

        listening = await asyncio.start_server(echo, "127.0.0.1", 0, ssl=certificate.context)
        port = listening.sockets[0].getsockname()[1]

        def shown() -> str:
            return ssl.get_server_certificate(("127.0.0.1", port))

        first = await asyncio.to_thread(shown)
        assert first.strip() == files[0].read_text().strip()
        files[0].write_text("half a certificate")
        await wait_for(lambda: any("the old one stays" in str(each["event"]) for each in told), what="a look at it")
        assert await asyncio.to_thread(shown) == first
        assert authority.sign("service") == files
        async with asyncio.timeout(PATIENCE):
            while await asyncio.to_thread(shown) == first:
                await asyncio.sleep(0.02)
        following.cancel()
        listening.close()

    with structlog.testing.capture_logs() as told:
        asyncio.run(scenario())


def test_clients_need_a_certificate_of_the_authority_that_is_named(tmp_path: Path) -> None:
    services, people, others = (Authority(tmp_path, name) for name in ("services", "people", "others"))
    settings = tls(services.sign("service"), tls_client_ca=str(people.file))
    with served(listening=settings) as on:
        assert on.address.startswith("https://127.0.0.1:")
        with Client(on.address, tls=services.trusted(people.sign("scheduler"))) as client:
            assert client.push("gpu", ScalingInfo(desired_new=0)).status == "new"
        for own in (None, others.sign("scheduler")):
            with Client(on.address, tls=services.trusted(own)) as client, pytest.raises(ClientError) as caught:
                client.pools()
            assert caught.value.status is None
        with Client(on.address, tls=others.trusted()) as client, pytest.raises(ClientError, match="CERTIFICATE_VERIFY"):
            client.pools()


def test_settings_that_cannot_be_served_are_told(tmp_path: Path) -> None:
    with pytest.raises(ServiceError, match="certificate or its key cannot be used"):
        Certificate(ServiceSettings(tls_certificate=str(tmp_path / "no"), tls_key=str(tmp_path / "no")))
    for wrong in ("nowhere", "1.2.3.4", "host:80", "127.0.0.1:99999", "::1:80"):
        with pytest.raises(ValueError, match="expected an address and a port"):
            ServiceSettings(listen=wrong)
    assert not ServiceSettings(listen="0.0.0.0:1").on_loopback
    assert ServiceSettings(listen="[::1]:1").on_loopback
    with pytest.raises(ValueError, match="both tls_certificate and tls_key"):
        ServiceSettings(tls_key="x")


def test_an_answer_does_not_wait_for_its_headers_to_be_acknowledged() -> None:
    with (
        server._listen("127.0.0.1", 0) as listening,
        socket.create_connection(listening.getsockname()),
    ):
        listening.setblocking(True)
        accepted, _ = listening.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
