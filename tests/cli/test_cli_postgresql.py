"""The commands with a store on a server: they read it beside the daemon, and change a pool only when nobody leads."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cli.command_line import CommandLine
from postgres import Server
from slotsmith.model.lease import Claim
from slotsmith.replicas import candidate
from slotsmith.store.lease import SqlLeases
from slotsmith.store.sql import open_store

POOL = {
    "name": "gpu",
    "scheduler": {"type": "push"},
    "provider": {"type": "local", "command": "sleep 600", "slots": 1},
}


@pytest.fixture
def url(postgres: Server, tmp_path: Path) -> Iterator[str]:
    with postgres.database() as name:
        found = postgres.address(name)
        (tmp_path / "slotsmith.yaml").write_text(json.dumps({"store": {"url": found}, "pools": [POOL]}))
        yield found


@contextmanager
def another(url: str, *, alive: bool) -> Iterator[None]:
    """Another replica leads, and shows signs of life or not."""
    ended = threading.Event()
    with open_store(url) as store:
        leases = SqlLeases(store)
        lease = leases.take(leases.read(), Claim("the other one"), 1.0)
        assert lease is not None

        def beat() -> None:
            while not ended.wait(0.1):
                leases.renew(lease)

        beating = threading.Thread(target=beat)
        if alive:
            beating.start()
        try:
            yield
        finally:
            ended.set()
            if alive:
                beating.join()
            leases.release(lease)


def test_commands(slotsmith: CommandLine, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    empty = slotsmith("status")
    assert (empty.status, len(empty.errors)) == (2, 1)
    assert "is empty or of an older version: start slotsmith run" in empty.err
    assert slotsmith("token", "create", "ci", "--role", "admin").out.startswith("slotsmith_")
    assert "ci" in slotsmith("token", "list").out
    assert slotsmith("adopt", "gpu").status == 0
    (report,) = json.loads(slotsmith("status", "--json").out)["pools"]
    assert (report["pool"], report["configured"]) == ("gpu", True)
    for words in (["explain", "gpu"], ["status", "--store", url], ["run", "--dry-run"], ["down", "gpu"]):
        said = slotsmith(*words)
        assert said.status == 0, (words, said)

    with another(url, alive=True):
        said = slotsmith("down", "gpu")
        assert (said.status, len(said.errors)) == (2, 1)
        assert "is taken: the other one leads its pools; stop it first" in said.err
        assert slotsmith("status").status == 0
    monkeypatch.setattr(candidate, "TERM", 0.5)
    with another(url, alive=False):
        assert slotsmith("down", "gpu").status == 0


def test_a_replica_that_listens_everywhere_must_say_where_it_is(slotsmith: CommandLine, url: str) -> None:
    said = slotsmith("serve", "--listen", "0.0.0.0:0")
    assert said.status == 2
    assert said.errors == [
        "slotsmith: slotsmith.yaml: service.address: expected the URL at which other replicas reach this one, "
        "as it listens at every address"
    ]
