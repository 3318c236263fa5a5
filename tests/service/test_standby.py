"""A standby: what it answers itself, what it sends on for whom, and what nobody can make of that."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from service.browse import served
from service.certificates import Authority
from service.stage import Stage, stage
from slotsmith.config.models import ServiceSettings
from slotsmith.model.lease import Lease
from slotsmith.service.access import ON_BEHALF
from slotsmith.service.app import make_app
from slotsmith.service.forwarding import Forwarding
from slotsmith.service.metrics import Metrics

SECRET = "of-the-lease"
LEASE = Lease(7, 3, "other", "http://localhost", SECRET)


@dataclass
class Two:
    """A leader, and a standby that sends on to it; both want tokens, and each knows its own."""

    leader: Stage
    standby: Stage
    client: httpx.AsyncClient
    replica: SimpleNamespace

    async def send(self, method: str, path: str, token: str = "", **more: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return await self.client.request(
            method, f"/api/v1{path}", headers={**headers, **more.pop("headers", {})}, **more
        )

    async def pause(self, token: str = "", **more: Any) -> httpx.Response:
        return await self.send("POST", "/pools/gpu/pause", token, json={"why": "a test"}, **more)


def standing_by(standby: Stage, replica: SimpleNamespace, settings: ServiceSettings) -> Any:
    """The service of a replica that knows who leads."""
    service = replace(standby.service, replica=replica)  # type: ignore[arg-type]
    metrics = Metrics(service.clock)
    metrics.follow(service)
    return make_app(service, metrics, settings)


@asynccontextmanager
async def two() -> AsyncIterator[Two]:
    async with stage(required=True) as leader, stage(required=True) as standby:
        leader.service.gate.peer_secret = lambda: SECRET
        replica = SimpleNamespace(lease=None, leader=LEASE, error=None)
        app = standing_by(standby, replica, ServiceSettings())
        forwarding = app._app._app  # type: ignore[attr-defined]
        assert isinstance(forwarding, Forwarding)
        forwarding._made = httpx.AsyncClient(transport=httpx.ASGITransport(leader.app))
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            yield Two(leader, standby, client, replica)


def scenario(test: Callable[[Two], Awaitable[None]]) -> Callable[[], None]:
    def run() -> None:
        async def main() -> None:
            async with two() as both:
                await test(both)

        asyncio.run(main())

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


@scenario
async def test_changes_are_made_by_the_leader_in_the_name_of_who_asked(both: Two) -> None:
    operator, pusher, viewer = (both.standby.token(role) for role in ("operate", "push", "view"))
    answer = await both.pause(operator)
    assert (answer.status_code, answer.json()) == (200, {"done": True})
    (done,) = [each for each in both.leader.service.people.actions() if each.what == "pause"]
    assert done.who.startswith("operate of the test (")
    assert not [each for each in both.standby.service.people.actions() if each.what == "pause"]
    pushed = await both.send("PUT", "/pools/gpu/scaling-info", pusher, json={"sequence": 4})
    assert pushed.status_code == 200
    last = await both.send("GET", "/pools/gpu/scaling-info", viewer)
    assert (last.json()["sequence"], last.headers["etag"]) == (4, pushed.headers["etag"])


@scenario
async def test_whoever_may_not_there_may_not_by_way_of_here(both: Two) -> None:
    viewer, other = both.standby.token("view"), both.standby.token("push", "cpu")
    assert (await both.pause()).status_code == 401
    assert (await both.pause("slotsmith_x_y")).status_code == 401
    assert (await both.pause(viewer)).status_code == 403
    assert (await both.send("PUT", "/pools/gpu/scaling-info", other, json={"sequence": 1})).status_code == 403
    # What one replica tells another counts for nothing from anybody else.
    claim = {ON_BEHALF: json.dumps(["me", "admin", None])}
    assert (await both.pause(viewer, headers=claim)).status_code == 403
    assert not [each for each in both.leader.service.people.actions() if each.what == "pause"]


@pytest.mark.parametrize("given", ["", "wrong", "of-the-leas", "ä"])
def test_only_who_knows_the_lease_speaks_for_others(given: str) -> None:
    async def main() -> None:
        async with two() as both:
            headers = {"Authorization": f"slotsmith-replica {given}".encode(), ON_BEHALF: b'["me", "admin", null]'}
            url = "/api/v1/pools/gpu/pause"
            answer = await both.leader.client.post(url, json={"why": "mine"}, headers=headers)
            assert answer.status_code == 401
            # One that does not lead has no secret, not even an empty one.
            both.leader.service.gate.peer_secret = lambda: ""
            assert (await both.leader.client.post(url, json={"why": "mine"}, headers=headers)).status_code == 401

    asyncio.run(main())


@pytest.mark.parametrize("claim", ["", "{}", '["me"]', '["me", "king", null]', "[" * 100])
def test_who_asked_must_be_said_as_it_should_be(claim: str) -> None:
    async def main() -> None:
        async with two() as both:
            headers = {"Authorization": f"slotsmith-replica {SECRET}", ON_BEHALF: claim}
            answer = await both.leader.client.post("/api/v1/pools/gpu/pause", json={"why": "x"}, headers=headers)
            assert answer.status_code == 401

    asyncio.run(main())


@scenario
async def test_a_browser_that_is_signed_in_here_changes_things_there(both: Two) -> None:
    signed = await both.client.post("/sign-in", data={"token": both.standby.token("operate")})
    assert signed.status_code == 303
    elsewhere = await both.pause(headers={"Origin": "http://evil.example"})
    assert elsewhere.status_code == 403
    assert (await both.pause(headers={"Origin": "http://localhost"})).status_code == 200


@scenario
async def test_what_cannot_be_sent_on_is_told_with_a_time_to_come_again(both: Two) -> None:
    operator = both.standby.token("operate")
    # It comes from a replica that believes this one leads: going round in circles helps nobody.
    answer = await both.client.post(
        "/api/v1/pools/gpu/pause", json={"why": "x"}, headers={"Authorization": f"slotsmith-replica {SECRET}"}
    )
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
    both.replica.leader = None
    answer = await both.pause(operator)
    assert (answer.status_code, answer.json()["detail"]) == (503, "no replica leads at the moment")
    both.replica.leader = replace(LEASE, address="")
    assert "has no address" in (await both.pause(operator)).json()["detail"]

    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("Connection refused", request=request)

    both.replica.leader = LEASE
    forwarding = both.client._transport.app._app._app  # type: ignore[attr-defined]
    forwarding._made = httpx.AsyncClient(transport=httpx.MockTransport(refuse))
    answer = await both.pause(operator)
    assert answer.status_code == 503
    assert answer.json()["detail"] == "the replica that leads cannot be reached: Connection refused"
    assert SECRET not in answer.text
    large = await both.send("PUT", "/pools/gpu/scaling-info", operator, content=b" " * 2_000_000)
    assert large.status_code == 413


@scenario
async def test_what_a_standby_sends_on_is_counted_there(both: Two) -> None:
    """All of it comes from one address, and the leader must not take it for one client."""
    counting = both.leader.app._app
    counting._rate, counting._most = 1.0, 1
    url, claim = "/api/v1/pools/gpu/scaling-info", {ON_BEHALF: '["s", "push", "gpu"]'}
    for _ in range(5):
        headers = {"Authorization": f"slotsmith-replica {SECRET}", **claim}
        assert (await both.leader.client.put(url, json={}, headers=headers)).status_code == 200
    headers["Authorization"] = "slotsmith-replica made-up"
    told = [(await both.leader.client.put(url, json={}, headers=headers)).status_code for _ in range(5)]
    assert told[0] == 401
    assert 429 in told


@scenario
async def test_it_says_what_it_is_and_leaves_the_pools_series_to_the_leader(both: Two) -> None:
    viewer = both.standby.token("view")
    health = (await both.client.get("/health/ready")).json()
    assert (health["role"], health["leader"]) == ("standby", None)
    told = (await both.client.get("/metrics", headers={"Authorization": f"Bearer {viewer}"})).text
    assert "slotsmith_leads 0.0" in told
    assert "slotsmith_pool_ready{" not in told
    both.replica.error = "store x cannot be reached"
    health = await both.client.get("/health/ready")
    assert (health.status_code, health.json()["store"]) == (503, "it fails, or nobody leads")
    pool = (await both.send("GET", "/pools/gpu", viewer)).json()
    assert pool["troubles"][0] == "nothing is launched for now: store x cannot be reached"
    assert not pool["ready"]


@pytest.mark.parametrize(("signed_by", "status", "told"), [("us", 200, ""), ("others", 503, "cannot be reached")])
def test_replicas_show_each_other_their_certificates(tmp_path: Path, signed_by: str, status: int, told: str) -> None:
    us = Authority(tmp_path, "us")
    authorities = {"us": us, "others": Authority(tmp_path, "others")}

    def settings(name: str, authority: Authority) -> ServiceSettings:
        certificate, key = map(str, authority.sign(name))
        ours = {"peers_ca": str(us.file), "tls_client_ca": str(us.file)}
        return ServiceSettings(listen="127.0.0.1:0", tls_certificate=certificate, tls_key=key, **ours)

    async def asked(address: str) -> httpx.Response:
        async with stage(required=True) as standby:
            replica = SimpleNamespace(lease=None, leader=replace(LEASE, address=address), error=None)
            app = standing_by(standby, replica, settings("standby", authorities[signed_by]))
            headers = {"Authorization": f"Bearer {standby.token('operate')}"}
            async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
                return await client.post("/api/v1/pools/gpu/pause", json={"why": "a test"}, headers=headers)

    with served(listening=settings("leader", us), required=True) as on:
        on.stage.service.gate.peer_secret = lambda: SECRET
        answer = asyncio.run(asked(on.address))
    assert answer.status_code == status
    assert told in answer.text
