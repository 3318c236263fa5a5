"""The connectors for any other scheduler: a URL that is read, and a program that is run."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Protocol

import psutil
import pytest
from pydantic import ValidationError

from slotsmith.clock import SystemClock
from slotsmith.config import ConfigError, load_config
from slotsmith.config.show import public_view
from slotsmith.model.agent import Agent
from slotsmith.model.resources import Resources
from slotsmith.model.scaling_info import ScalingInfo
from slotsmith.model.task import Group, TaskClass
from slotsmith.schedulers.base import DrainOutcome, Scheduler, SchedulerContext, SchedulerError
from slotsmith.schedulers.polled.program import ExecScheduler, ExecSettings
from slotsmith.schedulers.polled.url import HttpScheduler, HttpSettings
from waiting import wait_until

CONTEXT = SchedulerContext("gpu", SystemClock(), lambda: None)
VIEW = {
    "agents": [{"name": "a", "idle": False, "capacity": {"slots": 2}, "activity": 7}, {"name": "b", "idle": True}],
    "tasks": [{"id": "t", "resources": {"slots": 1, "mem_gib": 1.5}, "count": 3, "group": "g"}],
    "columns": {"slots": [4, 4]},
    "groups": [{"id": "g", "max_slots": 8}],
}


class Asked(Protocol):
    """A scheduler that is asked: what it will say, and what it was told."""

    told: list[dict[str, Any]]

    def says(self, text: str) -> None: ...

    def answers(self, text: str) -> None: ...

    def connector(self, *, drains: bool = True, **more: Any) -> Scheduler: ...


class Page:
    """An HTTP server on this machine."""

    def __init__(self) -> None:
        self.status, self.headers, self.text, self.answer = 200, {}, "{}", "{}"
        self.seen: list[Mapping[str, str]] = []
        self.told: list[dict[str, Any]] = []
        self.hold = threading.Event()
        self.hold.set()
        page = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                page.seen.append(dict(self.headers))
                tag = page.headers.get("ETag")
                if tag is not None and self.headers.get("If-None-Match") == tag:
                    self.send_response(304)
                    self.end_headers()
                    return
                self.reply(page.text)

            def do_POST(self) -> None:
                page.seen.append(dict(self.headers))
                page.told.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.reply(page.answer)

            def reply(self, text: str) -> None:
                page.hold.wait(60)
                self.send_response(page.status)
                for name, value in page.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(text.encode())))
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *_: object) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def says(self, text: str) -> None:
        self.text = text

    def answers(self, text: str) -> None:
        self.answer = text

    def connector(self, *, drains: bool = True, **more: Any) -> Scheduler:
        drain_url = f"{self.address}/drains" if drains else None
        settings = {"type": "http", "url": f"{self.address}/view", "drain_url": drain_url, "timeout": "60s", **more}
        return HttpScheduler(HttpSettings.model_validate(settings), CONTEXT)

    def close(self) -> None:
        self.hold.set()
        self.server.shutdown()
        self.server.server_close()


class Script:
    """Two small programs, which say what stands in files and keep what they are told in another."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.command = f"sh -c 'cat {directory}/says'"
        self.drain_command = f"sh -c 'cat >> {directory}/told; echo >> {directory}/told; cat {directory}/answers'"

    def says(self, text: str) -> None:
        (self.directory / "says").write_text(text)

    def answers(self, text: str) -> None:
        (self.directory / "answers").write_text(text)

    @property
    def told(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.directory / "told").read_text().splitlines()]

    def connector(self, *, drains: bool = True, **more: Any) -> Scheduler:
        settings = {"type": "exec", "command": self.command, "timeout": "60s", **more}
        if drains:
            settings["drain_command"] = self.drain_command
        return ExecScheduler(ExecSettings.model_validate(settings), CONTEXT)


@pytest.fixture
def page() -> Iterator[Page]:
    one = Page()
    yield one
    one.close()


@pytest.fixture(params=["http", "exec"])
def asked(request: pytest.FixtureRequest, tmp_path: Path) -> Asked:
    found: Asked = request.getfixturevalue("page") if request.param == "http" else Script(tmp_path)
    found.answers("{}")
    return found


def ask(connector: Scheduler) -> ScalingInfo | None:
    """One read of the view."""

    async def scenario() -> ScalingInfo | None:
        try:
            return await connector.scaling_info()
        finally:
            await connector.close()

    return asyncio.run(scenario())


# What both do


def test_the_view_is_the_one_that_is_said(asked: Asked) -> None:
    asked.says(json.dumps(VIEW))
    info = ask(asked.connector())
    assert info == ScalingInfo(
        (Agent("a", False, Resources(2), activity=7), Agent("b", True)),
        (
            TaskClass(Resources(1, 0, 1.5), 3, group="g", example="t"),
            TaskClass(Resources(4), 2),
        ),
        (Group("g", 8),),
    )


def test_a_large_view_is_read_too(asked: Asked) -> None:
    asked.says(json.dumps({"columns": {"slots": [1] * 100_000}}))
    info = ask(asked.connector())
    assert info is not None
    assert info.tasks == (TaskClass(Resources(1), 100_000),)


@pytest.mark.parametrize(
    ("said", "complaint"),
    [
        ("", "it is no JSON: EOF while parsing"),
        ("{", "it is no JSON: EOF while parsing"),
        ("[]", "the view is not as it should be: Input should be an object"),
        ('{"tasks": [{"resources": {"slots": -1}}]}', r"tasks\[0\].resources.slots: Input should be greater"),
        ('{"agents": [{"name": "a"}]}', r"agents\[0\].idle: Field required"),
        ('{"jobs": []}', "jobs: Extra inputs are not permitted"),
        ('{"columns": {"slots": [1], "cpus": [1, 2]}}', r"columns do not fit together: columns: cpus has the shape"),
        ('{"desired_new": 1, "tasks": [{}]}', "expected desired_new, or tasks and columns, not both"),
    ],
)
def test_what_cannot_be_read_is_told_with_its_place(asked: Asked, said: str, complaint: str) -> None:
    asked.says(said)
    with pytest.raises(SchedulerError, match=rf"^cannot read what .* says: .*{complaint}"):
        ask(asked.connector())


def test_the_scheduler_says_what_becomes_of_agents(asked: Asked) -> None:
    asked.answers(json.dumps({"released": ["a"], "waiting": ["b"], "refused": ["c"], "why": "it says so"}))

    async def scenario() -> None:
        connector = asked.connector()
        answers = await connector.drain(["a", "b", "c", "d"], when_done=True)
        assert {name: answer.outcome for name, answer in answers.items()} == {
            "a": DrainOutcome.RELEASED,
            "b": DrainOutcome.WAITING,
            "c": DrainOutcome.REFUSED,
        }
        assert answers["b"].detail == "it says so"
        await connector.drain(["a"], when_done=False)
        await connector.cancel_drain(["b"])
        assert await connector.drain([], when_done=True) == {}
        await connector.cancel_drain([])
        await connector.close()

    asyncio.run(scenario())
    assert asked.told == [
        {"drain": ["a", "b", "c", "d"], "when_done": True},
        {"drain": ["a"], "when_done": False},
        {"cancel": ["b"]},
    ]


def test_an_answer_that_is_none_is_told(asked: Asked) -> None:
    asked.answers('{"relased": ["a"]}')
    with pytest.raises(SchedulerError, match=r"says: relased: Extra inputs"):
        asyncio.run(asked.connector().drain(["a"], when_done=True))


def test_without_a_way_to_ask_the_view_decides(asked: Asked) -> None:
    asked.says(json.dumps(VIEW))

    async def scenario() -> None:
        connector = asked.connector(drains=False)
        for when_done, busy in ((False, DrainOutcome.REFUSED), (True, DrainOutcome.WAITING)):
            answers = await connector.drain(["a", "b", "gone"], when_done=when_done)
            assert [answers[name].outcome for name in ("a", "b", "gone")] == [
                busy,
                DrainOutcome.RELEASED,
                DrainOutcome.RELEASED,
            ]
        await connector.cancel_drain(["a"])
        await connector.close()

    asyncio.run(scenario())


# A URL


def test_a_view_that_has_not_changed_is_not_sent_again(page: Page) -> None:
    page.says(json.dumps(VIEW))
    page.headers = {"ETag": '"1"'}

    async def scenario() -> None:
        connector = page.connector()
        first = await connector.scaling_info()
        assert await connector.scaling_info() is first
        page.headers = {"ETag": '"2"'}
        page.says("{}")
        assert await connector.scaling_info() == ScalingInfo()
        await connector.close()

    asyncio.run(scenario())
    assert [each.get("If-None-Match") for each in page.seen] == [None, '"1"', '"1"']


def test_headers_are_sent_and_never_shown(page: Page) -> None:
    headers = {"Authorization": "Bearer s3cret"}
    ask(page.connector(headers=headers))
    assert page.seen[0]["Authorization"] == "Bearer s3cret"
    settings = HttpSettings.model_validate({"type": "http", "url": page.address, "headers": headers})
    assert "s3cret" not in repr(settings)
    assert "s3cret" not in json.dumps(public_view(settings), default=str)


@pytest.mark.parametrize("status", [204, 301, 401, 404, 500, 503])
def test_other_answers_are_told(page: Page, status: int) -> None:
    page.status, page.headers = status, {"Location": "http://127.0.0.1:9/elsewhere"}
    page.says("" if status == 204 else "not today")
    said = "it is no JSON" if status == 204 else rf"GET {page.address}/view was answered with {status}: not today"
    with pytest.raises(SchedulerError, match=said):
        ask(page.connector())


def test_a_server_that_is_silent_is_not_waited_for(page: Page) -> None:
    page.hold.clear()
    with pytest.raises(SchedulerError, match=r"did not answer within 0.2 s"):
        ask(page.connector(timeout="200ms"))


def test_a_server_that_is_not_there_is_told() -> None:
    connector = HttpScheduler(HttpSettings(url="http://127.0.0.1:9/view"), CONTEXT)
    with pytest.raises(SchedulerError, match=r"^cannot reach the scheduler at http://127.0.0.1:9/view: "):
        ask(connector)


def test_an_answer_without_end_is_cut_off(page: Page) -> None:
    page.says(" " * (1024 * 1024 + 1))
    with pytest.raises(SchedulerError, match="larger than max_body_mib, 1"):
        ask(page.connector(max_body_mib=1))


def test_an_authority_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    settings = HttpSettings(url="https://127.0.0.1:9/view", ca_file=str(tmp_path / "none.pem"))
    with pytest.raises(SchedulerError, match=r"none.pem cannot be used: .*No such file"):
        ask(HttpScheduler(settings, CONTEXT))


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        ({"url": "127.0.0.1:9000"}, "expected a URL like http://127.0.0.1:9000/view"),
        ({"url": "ftp://here/view"}, "expected a URL like"),
        ({"url": "http://:90/view"}, "expected a URL like"),
        ({"url": "http://here:port/"}, "Port could not be cast"),
        ({"url": "http://me:word@here/"}, "would be shown in logs, expected it in headers"),
        ({"url": "http://here/a b"}, "expected a URL like"),
        ({"url": "http://here", "drain_url": "here"}, "expected a URL like"),
        ({"url": "http://here", "ca_file": "x.pem"}, "the url is not https"),
        ({"url": "http://here", "headers": {"a b": "c"}}, "String should match pattern"),
        ({"url": "http://here", "headers": {"a": "c\r\nd: e"}}, "in one line"),
        ({"url": "http://here", "poll_period": 5}, "expected a duration with a unit"),
    ],
)
def test_settings_of_a_url_that_are_wrong(wrong: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        HttpSettings.model_validate({"type": "http", **wrong})


def test_a_wrong_header_is_told_without_its_value(tmp_path: Path) -> None:
    file = tmp_path / "slotsmith.yaml"
    scheduler = '{type: http, url: "http://127.0.0.1:9", headers: {Authorization: "s3cret\\nword"}}'
    file.write_text(f"pools: [{{name: a, scheduler: {scheduler}, provider: {{type: local, command: agent}}}}]")
    with pytest.raises(ConfigError, match=r"headers\.Authorization: expected a header's value of printable") as caught:
        load_config(file)
    assert "s3cret" not in str(caught.value)


# A program


def program(directory: Path, text: str) -> str:
    """A command that runs this Python."""
    file = directory / "program.py"
    file.write_text(text)
    return f"{sys.executable} {file}"


def test_it_knows_its_pool(tmp_path: Path) -> None:
    text = "import json, os; print(json.dumps({'tasks': [{'id': os.environ['SLOTSMITH_POOL']}]}))"
    info = ask(ExecScheduler(ExecSettings(command=program(tmp_path, text)), CONTEXT))
    assert info is not None
    assert info.tasks[0].example == "gpu"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (
            "import sys; print('one\\nthe queue is closed', file=sys.stderr); sys.exit(3)",
            "status 3: the queue is closed",
        ),
        ("import sys; sys.exit(4)", r"ended with status 4$"),
        ("import os; os.kill(os.getpid(), 9)", "was ended by SIGKILL"),
        ("import sys\nfor _ in range(40): sys.stdout.write('x' * 100_000)", "prints more than max_output_mib, 1"),
    ],
)
def test_a_program_that_fails_is_told(tmp_path: Path, text: str, complaint: str) -> None:
    settings = ExecSettings(command=program(tmp_path, text), timeout="60s", max_output_mib=1)  # type: ignore[arg-type]
    with pytest.raises(SchedulerError, match=complaint):
        ask(ExecScheduler(settings, CONTEXT))


def test_a_flood_of_complaints_is_no_trouble(tmp_path: Path) -> None:
    text = "import sys\nfor _ in range(40): sys.stderr.write('x' * 100_000 + '\\n')\nprint('{}')"
    assert ask(ExecScheduler(ExecSettings(command=program(tmp_path, text)), CONTEXT)) == ScalingInfo()


@pytest.mark.parametrize("command", ["/no/such/program", "nosuchprogram --now"])
def test_a_program_that_is_not_there_is_told(command: str) -> None:
    with pytest.raises(SchedulerError, match=r"^the program .*such.* cannot be started: No such file or directory$"):
        ask(ExecScheduler(ExecSettings(command=command), CONTEXT))


def test_a_program_that_does_not_end_is_told() -> None:
    settings = ExecSettings.model_validate({"type": "exec", "command": "sleep 600", "timeout": "200ms"})
    with pytest.raises(SchedulerError, match=r"^the program sleep has not ended within 0.2 s$"):
        ask(ExecScheduler(settings, CONTEXT))


def test_whoever_stops_waiting_ends_the_program_and_all_that_it_started(tmp_path: Path) -> None:
    pids = tmp_path / "pids"

    async def scenario() -> list[int]:
        command = f"sh -c 'echo $$ > {pids}; sleep 600 & echo $! >> {pids}; wait'"
        reading = asyncio.create_task(ExecScheduler(ExecSettings(command=command), CONTEXT).scaling_info())
        async with asyncio.timeout(60):
            while not (pids.exists() and len(pids.read_text().split()) == 2):
                await asyncio.sleep(0.01)
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        return [int(pid) for pid in pids.read_text().split()]

    for pid in asyncio.run(scenario()):
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(pid)
            # Whoever takes in orphans may not have looked at this one yet.
            wait_until(partial(_is_over, process), timeout=60)


def _is_over(process: psutil.Process) -> bool:
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        ({"command": ""}, "the command is empty"),
        ({"command": "sh -c 'open"}, "cannot be split into words: no closing quotation"),
        ({"command": "a\0b"}, "NUL character"),
        ({"command": "true", "drain_command": " "}, "the command is empty"),
        ({"command": "true", "timeout": "0s"}, "greater than 0"),
        ({"command": "true", "shell": True}, "Extra inputs"),
    ],
)
def test_settings_of_a_program_that_are_wrong(wrong: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        ExecSettings.model_validate({"type": "exec", **wrong})
