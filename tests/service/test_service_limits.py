"""What one client may ask for, and the short way that pushes take."""

from __future__ import annotations

import asyncio
import json
import resource
import select
import subprocess
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from service.browse import Served, served
from service.stage import Stage, stage, until
from slotsmith.config.models import ServiceSettings
from slotsmith.service import limits
from slotsmith.service.limits import PerClient
from slotsmith.service.quick import LONGEST_IF_MATCH, ShortWay
from waiting import PATIENCE

VIEW = "/api/v1/pools/gpu/scaling-info"


class HandClock:
    """Time goes on when it is told to."""

    def __init__(self) -> None:
        self.at = 1000.0

    def now(self) -> float:
        return self.at

    async def sleep(self, seconds: float) -> None:
        self.at += seconds


class Door:
    """A `PerClient` before an application that answers 200, and waits for `open`."""

    def __init__(self, *, rate: float = 2, most: int = 2) -> None:
        self.clock = HandClock()
        self.entered = 0
        self.open = asyncio.Event()
        self.open.set()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            self.entered += 1
            await self.open.wait()
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b""})

        known = {"Bearer good": "t1", "Bearer better": "t2"}
        self.way = PerClient(app, self.clock, known.get, rate=rate, most=most)

    async def ask(self, address: str = "10.0.0.1", path: str = "/x", token: str | None = None) -> tuple[int, Any, Any]:
        sent: list[dict[str, Any]] = []

        async def send(message: Any) -> None:
            sent.append(message)

        headers = [(b"authorization", token.encode())] if token else []
        scope = {"type": "http", "path": path, "method": "GET", "headers": headers, "client": (address, 1)}
        await self.way(scope, None, send)  # type: ignore[arg-type]
        found = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        return sent[0]["status"], found, json.loads(sent[1]["body"] or b"{}")


def in_loop(scenario: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(scenario())  # type: ignore[arg-type]


def test_a_client_that_asks_too_often_is_told_when_to_come_again() -> None:
    async def scenario() -> None:
        door = Door(rate=2)
        assert [(await door.ask())[0] for _ in range(5)] == [200, 200, 200, 200, 429], "two seconds' worth at once"
        status, headers, body = await door.ask()
        assert (status, headers["content-type"], headers["retry-after"]) == (429, "application/problem+json", "1")
        assert (body["title"], body["status"]) == ("Too Many Requests", 429)
        assert body["detail"] == "more than 2 requests a second from one client, try again later"
        assert (await door.ask("10.0.0.2"))[0] == 200, "the others go on"
        door.clock.at += 0.5
        assert [(await door.ask())[0] for _ in range(2)] == [200, 429]
        door.clock.at += 3600
        assert [(await door.ask())[0] for _ in range(5)] == [200, 200, 200, 200, 429]

    in_loop(scenario)


def test_the_wait_that_is_told_is_long_enough() -> None:
    async def scenario() -> None:
        door = Door(rate=0.1)
        while (await door.ask())[0] == 200:
            pass
        status, headers, _ = await door.ask()
        door.clock.at += int(headers["retry-after"])
        assert (status, (await door.ask())[0]) == (429, 200)

    in_loop(scenario)


def test_a_token_is_a_client_and_one_that_is_made_up_is_not() -> None:
    async def scenario() -> None:
        door = Door(rate=1)
        for token in ("Bearer good", "Bearer better", None):
            assert [(await door.ask(token=token))[0] for _ in range(3)] == [200, 200, 429]
        assert (await door.ask(token="Bearer guessed"))[0] == 429, "it counts for its address"
        assert (await door.ask("10.0.0.9", token="Bearer good"))[0] == 429, "a token is one client wherever it is"

    in_loop(scenario)


def test_health_is_always_told() -> None:
    async def scenario() -> None:
        door = Door(rate=1, most=1)
        assert [(await door.ask(path="/health/ready"))[0] for _ in range(20)] == [200] * 20

    in_loop(scenario)


def test_a_client_has_so_many_requests_at_once() -> None:
    async def scenario() -> None:
        door = Door(rate=100, most=2)
        door.open.clear()
        under_way = [asyncio.create_task(door.ask()) for _ in range(2)]
        await until(lambda: door.entered == 2)
        status, headers, body = await door.ask()
        assert (status, headers["retry-after"]) == (429, "1")
        assert body["detail"] == "more than 2 requests at once from one client, try again later"
        stream = asyncio.create_task(door.ask(path="/api/v1/events"))
        other = asyncio.create_task(door.ask("10.0.0.2"))
        await until(lambda: door.entered == 4)
        door.open.set()
        assert [(await each)[0] for each in (*under_way, stream, other)] == [200] * 4
        assert (await door.ask())[0] == 200

    in_loop(scenario)


def test_clients_without_number_take_no_memory_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MOST_CLIENTS", 50)

    async def scenario() -> None:
        door = Door()
        for number in range(500):
            await door.ask(f"10.1.{number // 250}.{number % 250}")
        assert len(door.way._left) == 50
        assert not door.way._inside

    in_loop(scenario)


def run(scenario: Callable[[Stage], Awaitable[None]], **options: Any) -> None:
    async def whole() -> None:
        async with stage(**options) as the_stage:
            await scenario(the_stage)

    asyncio.run(whole())


def test_the_service_keeps_to_what_its_file_says() -> None:
    async def scenario(s: Stage) -> None:
        answers = [await s.push() for _ in range(3)]
        assert [each.status_code for each in answers] == [200, 200, 429]
        assert int(answers[2].headers["retry-after"]) >= 1
        assert answers[2].headers["x-content-type-options"] == "nosniff"
        assert (await s.client.get("/health/live")).status_code == 200

    run(scenario, settings=ServiceSettings(max_requests_per_second=1))


def test_a_known_token_is_recognised_without_looking() -> None:
    async def scenario(s: Stage) -> None:
        token = s.token("push", "gpu")
        headers = {"Authorization": f"Bearer {token}"}
        assert s.service.gate.recognise(headers["Authorization"]) is None, "nobody has looked yet"
        assert (await s.client.put(VIEW, json={}, headers=headers)).status_code == 200
        assert s.service.gate.recognise(headers["Authorization"]) is not None
        assert s.service.gate.recognise(f"Bearer {token}x") is None
        assert (await s.client.put(VIEW, json={}, headers={"Authorization": "Bearer x"})).status_code == 401
        assert (await s.client.put("/api/v1/pools/cpu/scaling-info", json={}, headers=headers)).status_code == 403

    run(scenario, required=True)


# The short way of pushes


@pytest.mark.parametrize(
    ("body", "headers", "pool"),
    [
        (b'{"sequence": 1, "tasks": [{"resources": {"slots": 1}}]}', {}, "gpu"),
        (b'{"sequence": 0}', {}, "gpu"),
        (b"{}", {"If-Match": '"other"'}, "gpu"),
        (b"{}", {"If-Match": "x" * (LONGEST_IF_MATCH + 1)}, "gpu"),
        (b'{"tasks": [{"count": 0}]}', {}, "gpu"),
        (b"{", {}, "gpu"),
        (b"{}", {"Content-Type": "text/plain"}, "gpu"),
        (b"{}", {"Content-Encoding": "br"}, "gpu"),
        (b"{}", {}, "cpu"),
        (b"{}", {}, "none"),
        (b"{}", {}, "no%20pool"),
        (b"{}", {"Origin": "http://elsewhere"}, "gpu"),
    ],
)
def test_the_short_way_answers_as_the_described_route_does(body: bytes, headers: dict[str, str], pool: str) -> None:
    async def scenario(s: Stage) -> None:
        path = f"/api/v1/pools/{pool}/scaling-info"
        given = {"Content-Type": "application/json", **headers}
        await s.client.put(VIEW, content=b'{"sequence": 1}', headers={"Content-Type": "application/json"})
        short = await s.client.put(path, content=body, headers=given)
        way = s.app
        while not isinstance(way, ShortWay):
            way = way._app
        transport = httpx.ASGITransport(way._app, raise_app_exceptions=False)
        s.service.desk.places["gpu"].pushed = None
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as direct:
            await direct.put(VIEW, content=b'{"sequence": 1}', headers={"Content-Type": "application/json"})
            described = await direct.put(path, content=body, headers=given)
        assert (short.status_code, short.json()) == (described.status_code, described.json())
        for name in ("content-type", "etag", "accept-encoding", "connection"):
            assert short.headers.get(name) == described.headers.get(name), name

    run(scenario)


def test_the_same_bytes_are_not_read_again_and_another_pool_is_not_asked() -> None:
    async def scenario(s: Stage) -> None:
        first = await s.push(desired_new=0)
        seen = s.service.desk.places["gpu"].pushed
        again = await s.push(desired_new=0)
        assert (first.json()["status"], again.json()["status"]) == ("new", "unchanged")
        assert s.service.desk.places["gpu"].pushed is seen
        assert (await s.push(desired_new=1)).json()["status"] == "new"

    run(scenario)


HALF_OPEN = """
import resource, socket, sys
_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
open_ones = []
for number in range(int(sys.argv[2])):
    one = socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=60)
    if number % 2:
        one.sendall(b"PUT /api/v1/pools/gpu/scaling-info HTTP/1.1\\r\\nX-Slow: ")
    open_ones.append(one)
print("open", flush=True)
sys.stdin.read()
"""
"""Connects so often to a port, and sends half of the headers or nothing. A process of its own: both ends are files."""


@pytest.mark.slow
def test_ten_thousand_half_open_connections_do_not_stop_pushes() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 10_000
    if hard < wanted + 1000:
        pytest.skip(f"a process may open {hard} files here, and each of {wanted} connections is one")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        with served() as on:
            command = [sys.executable, "-c", HALF_OPEN, on.address.rpartition(":")[2], str(wanted)]
            with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as opener:
                assert opener.stdin is not None
                assert opener.stdout is not None
                while not select.select([opener.stdout], [], [], 0)[0]:
                    assert httpx.put(f"{on.address}{VIEW}", json={"desired_new": 0}, timeout=60).status_code == 200
                assert opener.stdout.readline() == b"open\n"
                for _ in range(20):
                    assert httpx.put(f"{on.address}{VIEW}", json={}, timeout=60).status_code == 200
                opener.stdin.close()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_two_hundred_event_streams_hear_the_same() -> None:
    async def listen(client: httpx.AsyncClient, heard: list[str]) -> None:
        async with client.stream("GET", "/api/v1/events?pool=gpu") as answer:
            async for line in answer.aiter_lines():
                if line.startswith("data: ") and json.loads(line.removeprefix("data: ")).get("what") == "limits":
                    heard.append(line)
                    return

    async def scenario(on: Served) -> None:
        heard: list[str] = []
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(base_url=on.address, timeout=PATIENCE, limits=limits) as client:
            listeners = [asyncio.create_task(listen(client, heard)) for _ in range(200)]
            await until(lambda: on.stage.service.hub.listeners == 200)
            assert (await client.put(VIEW, json={})).status_code == 200
            await asyncio.to_thread(on.do, on.stage.act, "limits", max_instances=2)
            await asyncio.gather(*listeners)
            assert (len(heard), len(set(heard))) == (200, 1)
            await until(lambda: on.stage.service.hub.listeners == 0)

    with served() as on:
        asyncio.run(scenario(on))
