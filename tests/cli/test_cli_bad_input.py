"""What a user can get wrong: exit status 2 and one clear line, never a traceback."""

import socket
from pathlib import Path

import pytest

from cli.command_line import CommandLine, Said

GOOD = """\
pools:
  - name: gpu
    scheduler: {type: push}
    provider: {type: local, command: "sleep 600"}
"""
CASES = '{"cases": [{"name": "a", "config": {"max": 3}, "ticks": [{"at": 5, "instances": []}]}]}'


def assert_one_line(said: Said, *parts: str, status: int = 2) -> None:
    assert said.status == status
    assert said.out == ""
    assert len(said.errors) == 1, said.err
    assert said.errors[0].startswith("slotsmith: ")
    for part in parts:
        assert part in said.errors[0]


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("pools:", "pools: [", ":2: malformed YAML: "),
        (
            "name: gpu",
            "name: gpu\n    max_instnaces: 3",
            ":3: pools[0].max_instnaces: unknown key 'max_instnaces', did you mean 'max_instances'?",
        ),
        ("name: gpu", "name: gpu\n    min_instances: 9", ":2: pools[0].max_instances: expected at least min_instances"),
        ("name: gpu", "name: gpu\n    max_idle_agent_period: 0s", ":3: pools[0].max_idle_agent_period: expected more"),
        (
            "name: gpu",
            "name: gpu\n    max_idle_agent_period: -1s",
            ":3: pools[0].max_idle_agent_period: expected a dur",
        ),
        ("name: gpu", "name: gpu\n    max_idle_agent_period: 20", ":3: pools[0].max_idle_agent_period: expected a dur"),
        ("type: push", "type: pull", ":3: pools[0].scheduler.type: unknown scheduler 'pull'"),
        ("type: push", "type: dask, address: nowhere", ":3: pools[0].scheduler.address: "),
        ("type: local", "type: lokal", ":4: pools[0].provider.type: unknown provider 'lokal', did you mean 'local'?"),
        ('command: "sleep 600"', "slots: 1", ":4: pools[0].provider: missing key 'command'"),
        ("sleep 600", "sleep {sloots}", ":4: pools[0].provider.command: unknown placeholder {sloots}"),
        (GOOD, "", ": is empty, expected a configuration"),
    ],
)
@pytest.mark.parametrize("command", ["config check", "run --dry-run", "status"])
def test_a_wrong_configuration(slotsmith: CommandLine, command: str, old: str, new: str, told: str) -> None:
    assert old in GOOD
    slotsmith.config(GOOD.replace(old, new))
    assert_one_line(slotsmith(*command.split()), f"slotsmith: slotsmith.yaml{told}")


@pytest.mark.parametrize(
    "arguments", ["run", "run --dry-run", "down", "adopt", "status", "explain", "export", "config check", "config show"]
)
def test_no_configuration(slotsmith: CommandLine, arguments: str) -> None:
    assert_one_line(slotsmith(*arguments.split()), "slotsmith.yaml: no such file")
    assert_one_line(slotsmith(*arguments.split(), "-c", slotsmith.directory), "is a directory, expected a file")


def test_each_problem_has_a_line_of_its_own(slotsmith: CommandLine) -> None:
    slotsmith.config(GOOD.replace("name: gpu", "name: g p u\n    max_instances: x"))
    said = slotsmith("config", "check")
    assert said.status == 2
    assert [line.split(": ")[1] for line in said.errors] == ["slotsmith.yaml:2", "slotsmith.yaml:3"]


def test_a_traceback_is_not_shown_by_the_installed_command_either(slotsmith: CommandLine) -> None:
    slotsmith.config(GOOD.replace("pools:", "pools: ["))
    assert_one_line(slotsmith.apart("run"), "slotsmith.yaml:2: malformed YAML: ")


def test_a_scheduler_that_cannot_be_reached(slotsmith: CommandLine) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        address = f'dask, address: "tcp://127.0.0.1:{port}", connect_timeout: 300ms'
        slotsmith.config(GOOD.replace("push", address))
        assert slotsmith("config", "check").status == 0
        said = slotsmith("config", "check", "--connect")
    assert_one_line(said, "slotsmith.yaml: pools[0].scheduler: ", str(port))


def test_a_command_that_does_not_exist(slotsmith: CommandLine) -> None:
    slotsmith.config(GOOD.replace("sleep 600", "no-such-program --x"))
    told = "no-such-program"
    assert_one_line(slotsmith("config", "check", "--connect"), "slotsmith.yaml: pools[0].provider: ", told)
    said = slotsmith.apart("run")
    assert said.status == 2
    assert said.errors[-1].startswith("slotsmith: slotsmith.yaml: pool 'gpu': ")
    assert told in said.errors[-1]
    assert "Traceback" not in said.err


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("sqlite:///no/such/dir/x.db", "its directory does not exist"),
        ("sqlite:///.", "is a directory"),
        ("sqlite:///text.db", "is not a database"),
    ],
)
def test_a_store_that_cannot_be_used(slotsmith: CommandLine, url: str, told: str) -> None:
    (slotsmith.directory / "text.db").write_text("this is text " * 1000)
    slotsmith.config(GOOD + f'store: {{url: "{url}"}}\n')
    for command in ("run", "down", "adopt"):
        assert_one_line(slotsmith(command), "slotsmith: store ", told)


@pytest.mark.parametrize("url", ["mysql://me:hunter2@host/x", "mysql://me@host/x?sslmode=off&password=hunter2"])
def test_a_store_that_is_of_another_kind(slotsmith: CommandLine, url: str) -> None:
    slotsmith.config(GOOD + f'store: {{url: "{url}"}}\n')
    for command in ("run", "down", "adopt"):
        said = slotsmith(command)
        assert_one_line(said, "store.url: expected the URL of a database: sqlite:///PATH or")
        assert "hunter2" not in said.err


@pytest.mark.skipif(not Path("/sys/kernel").is_dir(), reason="not even root may write there, where it is")
def test_a_store_that_cannot_be_written(slotsmith: CommandLine) -> None:
    slotsmith.config(GOOD + 'store: {url: "sqlite:////sys/slotsmith.db"}\n')
    assert_one_line(slotsmith("run"), "slotsmith: store /sys/slotsmith.db is read-only")


def test_there_is_no_store_to_read(slotsmith: CommandLine) -> None:
    slotsmith.config(GOOD)
    for command in ("status", "explain", "export"):
        assert_one_line(slotsmith(command), "slotsmith.db does not exist")
    assert_one_line(slotsmith("status", "--store", "books"), "store books is not the URL of a database")
    assert not list(slotsmith.directory.glob("*.db*"))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (CASES[: len(CASES) // 2], "not JSON"),
        ("", "not JSON"),
        ("[]", "cases"),
        (CASES.replace('"ticks"', '"tocks"'), "ticks"),
        (CASES.replace("5", '"soon"'), "soon"),
    ],
)
def test_a_wrong_replay_file(slotsmith: CommandLine, content: str, told: str) -> None:
    path = slotsmith.directory / "cases.json"
    path.write_text(content)
    assert_one_line(slotsmith("replay", path, "--json"), str(path), told)


def test_replay_without_a_file_or_rules(slotsmith: CommandLine) -> None:
    (slotsmith.directory / "cases.json").write_text(CASES)
    assert slotsmith("replay", "cases.json").status == 0
    assert_one_line(slotsmith("replay", "none.json"), "none.json", "No such file")
    assert_one_line(
        slotsmith("replay", "cases.json", "--rules", "mine"), "unknown rules 'mine'", "slotsmith, reference"
    )


def test_a_pool_that_is_not_there(slotsmith: CommandLine) -> None:
    slotsmith.config(GOOD)
    for command in ("down", "adopt"):
        assert_one_line(slotsmith(command, "gpo"), "no pool 'gpo' in slotsmith.yaml, did you mean 'gpu'?")
    slotsmith.config(GOOD + GOOD.replace("pools:\n", "").replace("gpu", "cpu"))
    for command in ("down", "adopt"):
        assert_one_line(slotsmith(command), "slotsmith.yaml has 2 pools, say which: gpu, cpu")


def test_options_that_do_not_go_together(slotsmith: CommandLine) -> None:
    slotsmith.config(GOOD)
    assert_one_line(slotsmith("run", "--json"), "--json needs --dry-run")
    assert_one_line(slotsmith("export", "--since", "5"), "--since: expected a duration with a unit")
