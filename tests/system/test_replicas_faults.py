"""A replica whose PostgreSQL fails: it says so, launches nothing that is not on record, and goes on by itself."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from postgres import Cutting, NoServerError, Server
from system.replicas import PATIENCE, Replicas
from system.test_replicas import MOST, LocalFleet, check, check_statistics, pushed, settle
from waiting import wait_until


@pytest.fixture
def own() -> Iterator[Server]:
    """A server that the test may break."""
    try:
        server = Server()
    except NoServerError as reason:
        pytest.skip(str(reason))
    try:
        server.make()
        server.sql("CREATE DATABASE books")
        yield server
    finally:
        server.remove()


def test_i3_while_the_server_is_away_nothing_is_launched_and_then_it_goes_on(tmp_path: Path, own: Server) -> None:
    with Replicas(tmp_path, own.address("books"), pushed(tmp_path)) as replicas:
        replica = replicas.start()
        replica.wait("leader")
        wait_until(lambda: replica.health()["ready"], timeout=PATIENCE, what="readiness")

        own.stop()
        told = wait_until(
            lambda: (health := replica.health())["store"] and health, timeout=PATIENCE, what="word of the store"
        )
        assert not told["ready"]
        assert "cannot be reached" in told["store"]
        assert replica.client.get("/health/ready").status_code == 503
        view = {"tasks": [{"resources": {"slots": 1}, "count": 2}]}
        assert replica.client.put("/api/v1/pools/p/scaling-info", json=view).json()["status"] == "new"
        troubles = replica.get("/pools/p")["troubles"]
        assert troubles[0].startswith("nothing is launched for now: store "), troubles
        refused = replica.client.post("/api/v1/pools/p/pause", json={"why": "a test"})
        assert (refused.status_code, refused.json()["title"]) == (503, "Service Unavailable")
        assert refused.json()["detail"].startswith("the store fails: store ")
        assert replica.client.get("/api/v1/pools/p/decisions").status_code == 503

        own.start()
        wait_until(lambda: replica.get("/pools/p")["instances"] == {"running": 2}, timeout=PATIENCE, what="2 agents")
        wait_until(lambda: replica.health()["ready"], timeout=PATIENCE, what="readiness")
        assert sum(count for (count,) in own.sql("SELECT granted FROM intents WHERE state = 'closed'", "books")) == 2
        # Whoever reads the log finds when it failed and when it worked again.
        assert "the store fails: nothing is launched until it works again" in replica.log_file.read_text()
        assert "the store works again" in replica.log_file.read_text()
        replica.stop()


def test_i3_connections_cut_in_the_middle_of_commits(tmp_path: Path, own: Server) -> None:
    chance, fleet = random.Random(3), LocalFleet(tmp_path)
    queue = fleet.queue
    with Cutting(own.port) as way, Replicas(tmp_path, way.url("books"), fleet.pool()) as replicas:
        replica = replicas.start()
        replica.wait("leader")
        for _ in range(6):
            wanted = chance.randint(1, MOST)
            way.cut_next_commit(arrives=chance.random() < 0.5)
            queue.demand(wanted)
            wait_until(
                lambda: len(queue.live()) == wanted,  # noqa: B023
                timeout=PATIENCE,
                what=f"{wanted} agents\n{replica.log()}",
            )
            check(fleet, own, "books")
        assert "cannot be reached" in replica.log_file.read_text()
        queue.demand(0)
        wait_until(lambda: not fleet.running(), timeout=PATIENCE, what="an empty fleet")
        settle(replica)
        replica.stop()
    check_statistics(own, "books")
