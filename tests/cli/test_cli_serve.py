"""`slotsmith serve` as a process, and `slotsmith token`."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from cli.command_line import CommandLine
from leftovers import end_all
from slotsmith.client import Client, ClientError
from slotsmith.model.scaling_info import ScalingInfo
from waiting import PATIENCE

CONFIG = {
    "pools": [
        {
            "name": "gpu",
            "scheduler": {"type": "push"},
            "provider": {"type": "local", "command": "sleep 600", "slots": 1},
            "max_instances": 2,
            "max_idle_agent_period": "100ms",
        }
    ]
}


def test_it_launches_for_those_with_a_token_and_sigterm_ends_it_cleanly(slotsmith: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "slotsmith.yaml").write_text(json.dumps({**CONFIG, "service": {"require_tokens": True}}))
    operator = slotsmith("token", "create", "ci", "--role", "admin").out.strip()
    viewer = slotsmith("token", "create", "tv", "--role", "view").out.strip()
    command = [sys.executable, "-m", "slotsmith", "serve", "--listen", "127.0.0.1:0"]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        found = re.search(r"serving on (http://\S+)", process.stderr.readline())
        assert found
        with Client(found[1]) as stranger, pytest.raises(ClientError, match="401: a valid token is needed"):
            stranger.pools()
        with Client(found[1], viewer) as client, pytest.raises(ClientError, match="403"):
            client.pause("gpu", "not mine")
        with Client(found[1], operator) as client, events(found[1], operator) as happening:
            client.push("gpu", ScalingInfo(desired_new=1))
            launched = next(each["id"] for each in happening if each.get("after") == "running")
            client.push("gpu", ScalingInfo(desired_new=0))
            client._ask("POST", f"/pools/gpu/instances/{launched}:terminate", json={"why": "the test ends"})
            assert next(each["id"] for each in happening if each.get("after") == "gone") == launched
        process.terminate()
        assert process.wait(PATIENCE) == 0
        assert "stopped" in process.stderr.read()
    finally:
        process.kill()
        process.wait()
        process.stderr.close()
        end_all(tmp_path)


@contextmanager
def events(address: str, token: str) -> Iterator[Iterator[dict[str, Any]]]:
    """What happens, as it comes."""
    headers = {"Authorization": f"Bearer {token}"}
    with httpx.stream("GET", f"{address}/api/v1/events", headers=headers, timeout=PATIENCE) as stream:
        lines = stream.iter_lines()
        next(lines)  # from here on nothing is missed
        yield (json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: "))


def test_tokens_are_made_listed_and_revoked(slotsmith: CommandLine, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/books.db"
    made = slotsmith("token", "create", "ci", "--role", "push", "--pool", "gpu", "--expires", "90d", "--store", url)
    assert made.status == 0
    prefix, token_id, secret = made.out.strip().split("_", 2)
    assert (prefix, len(secret)) == ("slotsmith", 43)
    (kept,) = json.loads(slotsmith("token", "list", "--json", "--store", url).out)["tokens"]
    assert (kept["id"], kept["role"], kept["pool"], kept["valid"]) == (token_id, "push", "gpu", True)
    assert secret not in json.dumps(kept)
    assert slotsmith("token", "revoke", token_id, "--store", url).out == "revoked\n"
    assert "revoked" in slotsmith("token", "list", "--store", url).out
    again = slotsmith("token", "revoke", token_id, "--store", url)
    assert (again.status, again.err) == (2, f"slotsmith: no token '{token_id}' is in use\n")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["x", "--role", "king"], "expected a role, one of view, push, operate, admin; got 'king'"),
        (["x", "--role", "push"], "a token for pushing needs --pool"),
        (["x", "--role", "view", "--expires", "90"], "--expires: expected a duration"),
        (["", "--role", "view"], "expected a name of at most 80 printable characters"),
    ],
)
def test_wrong_tokens_are_one_line(slotsmith: CommandLine, tmp_path: Path, arguments: list[str], line: str) -> None:
    said = slotsmith("token", "create", *arguments, "--store", f"sqlite:///{tmp_path}/books.db")
    assert (said.status, len(said.errors)) == (2, 1)
    assert line in said.errors[0]


def test_where_it_cannot_listen_is_one_line(slotsmith: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "slotsmith.yaml").write_text(json.dumps(CONFIG))
    said = slotsmith("serve", "--listen", "nowhere")
    assert (said.status, said.errors[0].startswith("slotsmith: --listen: expected an address")) == (2, True)
    (tmp_path / "slotsmith.yaml").write_text(json.dumps({**CONFIG, "service": {"tls_key": "x"}}))
    said = slotsmith("serve")
    assert said.status == 2
    assert "expected both tls_certificate and tls_key" in said.err
