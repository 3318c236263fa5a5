"""What is said of wrong files and options of `slotsmith plan`: one line with file, line and what was expected."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from cli.command_line import CommandLine
from cli.test_cli_bad_input import assert_one_line

TASKS = "task_id,gpus,cpus,mem_gib,count,gang\n"
CATALOG = "instance_type,gpus,cpus,mem_gib,price_per_hour,zone,market,max_count,gpu_type\n"
FLEET = "instance_id,gpus,cpus,mem_gib\n"
PLAN = ("plan", "--tasks", "tasks.csv", "--catalog", "catalog.csv", "--fleet", "fleet.csv")


@pytest.fixture(autouse=True)
def files(slotsmith: CommandLine) -> None:
    slotsmith.config(f"{TASKS}a,1,2,4,,\n", "tasks.csv")
    slotsmith.config(f"{CATALOG}x,1,4,16,1,,,,\n", "catalog.csv")
    slotsmith.config(f"{FLEET}i-1,1,4,16\n", "fleet.csv")


AMOUNT = ", expected a number from 0 to 1000000000"
COUNT = ", expected a whole number from 1 to 1000000000000"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "tasks.csv:1: has no column gpus, expected a header with gpus,cpus,mem_gib and, as you like, task_id,"),
        ("gpu,cpus,mem_gib\n1,2,3\n", "tasks.csv:1: has no column gpus, expected a header"),
        ("gpus,cpus,mem_gib,taskid\n", "tasks.csv:1: has an unknown column 'taskid', did you mean task_id?"),
        ("gpus,cpus,mem_gib,cpus\n", "tasks.csv:1: the column cpus is there twice"),
        (f"{TASKS}a,1,2\n", "tasks.csv:2: has 3 fields, expected 6, as the header has"),
        (f"{TASKS}a,1,2,4,,\n\nb,-1,2,4,,\n", "tasks.csv:4: gpus is '-1'" + AMOUNT),
        (f"{TASKS}a,1,nan,4,,\n", "tasks.csv:2: cpus is 'nan'" + AMOUNT),
        (f"{TASKS}a,1,inf,4,,\n", "tasks.csv:2: cpus is 'inf'" + AMOUNT),
        (f"{TASKS}a,1,2,lots,,\n", "tasks.csv:2: mem_gib is 'lots'" + AMOUNT),
        (f"{TASKS}a,1,2,1_0,,\n", "tasks.csv:2: mem_gib is '1_0'" + AMOUNT),
        (f"{TASKS}a,1,2,1e12,,\n", "tasks.csv:2: mem_gib is '1e12'" + AMOUNT),
        (f"{TASKS}a,1,2,4,0,\n", "tasks.csv:2: count is '0'" + COUNT),
        (f"{TASKS}a,1,2,4,1.5,\n", "tasks.csv:2: count is '1.5'" + COUNT),
        (f"{TASKS}a,1,2,4,-3,\n", "tasks.csv:2: count is '-3'" + COUNT),
        (f"{TASKS}a,1,2,4,,0\n", "tasks.csv:2: gang is '0'" + COUNT),
        (f"{TASKS}a,1,2,4,1e12,2\n", "tasks.csv: 2000000000000 tasks are too many to plan, expected at most 100000000"),
        (f"{TASKS}a,1,2,4,,\na,1,2,4,,\n", "tasks.csv:3: task_id is 'a', as on line 2; expected each only once"),
        (f"{TASKS}line-3,1,2,4,,\n,1,2,4,,\n", "tasks.csv:3: task_id is 'line-3', as on line 2"),
        (f'{TASKS}"a,1,2,4,,\n', "tasks.csv:2: is no CSV: unexpected end of data"),
    ],
)
def test_wrong_tasks(slotsmith: CommandLine, text: str, told: str) -> None:
    slotsmith.config(text, "tasks.csv")
    assert_one_line(slotsmith(*PLAN), f"slotsmith: {told}")


PRICE = ", expected dollars per hour, more than 0"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "catalog.csv:1: has no column instance_type, expected a header with instance_type,gpus,"),
        (CATALOG, "catalog.csv: has no offerings, expected at least one line below the header"),
        (f"{CATALOG}x,1,4,16,0,,,,\n", "catalog.csv:2: price_per_hour is '0'" + PRICE),
        (f"{CATALOG}x,1,4,16,,,,,\n", "catalog.csv:2: price_per_hour is missing" + PRICE),
        (f"{CATALOG}x,1,4,16,-1,,,,\n", "catalog.csv:2: price_per_hour is '-1'" + PRICE),
        (f"{CATALOG}x,1,4,16,nan,,,,\n", "catalog.csv:2: price_per_hour is 'nan'" + PRICE),
        (f"{CATALOG}x,1,4,16,$1,,,,\n", "catalog.csv:2: price_per_hour is '$1'" + PRICE),
        (f"{CATALOG},1,4,16,1,,,,\n", "catalog.csv:2: instance_type is empty, expected a name"),
        (f"{CATALOG}x,-1,4,16,1,,,,\n", "catalog.csv:2: gpus is '-1'" + AMOUNT),
        (f"{CATALOG}x,1,4,16,1,,,-1,\n", "catalog.csv:2: max_count is '-1', expected a whole number from 0 to"),
        (
            f"{CATALOG}x,1,4,16,1,a,spot,,\nx,1,4,16,2,a,spot,,\n",
            "catalog.csv:3: offering x/a/spot is there twice, as on line 2; expected each once",
        ),
        (
            f"{CATALOG}x,1,4,16,1,a,,,T4\nx,1,4,16,2,b,,,L4\n",
            "catalog.csv:3: gpu_type of x is 'L4', expected 'T4' as on line 2",
        ),
        (CATALOG.replace("price_per_hour", "price"), "catalog.csv:1: has no column price_per_hour"),
        (
            CATALOG.replace("max_count", "maxcount"),
            "catalog.csv:1: has an unknown column 'maxcount', did you mean max_co",
        ),
    ],
)
def test_a_wrong_catalogue(slotsmith: CommandLine, text: str, told: str) -> None:
    slotsmith.config(text, "catalog.csv")
    assert_one_line(slotsmith(*PLAN), f"slotsmith: {told}")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("id,gpus,cpus,mem_gib\n", "fleet.csv:1: has no column instance_id"),
        (f"{FLEET},1,1,1\n", "fleet.csv:2: instance_id is empty, expected a name"),
        (f"{FLEET}i,1,1,1\ni,1,1,1\n", "fleet.csv:3: instance_id is 'i', as on line 2; expected each only once"),
        (f"{FLEET}i,1,-1,1\n", "fleet.csv:2: cpus is '-1'" + AMOUNT),
    ],
)
def test_a_wrong_fleet(slotsmith: CommandLine, text: str, told: str) -> None:
    slotsmith.config(text, "fleet.csv")
    assert_one_line(slotsmith(*PLAN), f"slotsmith: {told}")


@pytest.mark.parametrize("name", ["tasks.csv", "catalog.csv", "fleet.csv"])
def test_files_that_cannot_be_read(slotsmith: CommandLine, tmp_path: Path, name: str) -> None:
    (tmp_path / name).unlink()
    assert_one_line(slotsmith(*PLAN), f"{name}: cannot be read: No such file or directory")
    (tmp_path / name).mkdir()
    assert_one_line(slotsmith(*PLAN), f"{name}: cannot be read: Is a directory")


def test_files_that_are_something_else(slotsmith: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "tasks.csv").write_bytes(b"gpus,cpus,mem_gib\n\xff\n")
    assert_one_line(slotsmith(*PLAN), "tasks.csv: expected text in UTF-8, found the byte 0xff")
    other = tmp_path / "tasks.csv.gz"
    words = [word if word != "tasks.csv" else other.name for word in PLAN]
    other.write_text(TASKS)
    assert_one_line(slotsmith(*words), "tasks.csv.gz: cannot be read: Not a gzipped file")
    other.write_bytes(gzip.compress(TASKS.encode())[:-9])
    assert_one_line(slotsmith(*words), "tasks.csv.gz: cannot be read: Compressed file ended")


def test_fractions_of_gpus_never_promise_too_much(slotsmith: CommandLine) -> None:
    slotsmith.config(f"{TASKS}a,0.5,1,1,,\n", "tasks.csv")
    slotsmith.config(f"{CATALOG}x,0.9,4,16,1,,,,\ny,1.9,4,16,3,,,,\n", "catalog.csv")
    slotsmith.config(f"{FLEET}i-1,0.75,4,16\n", "fleet.csv")
    said = slotsmith(*PLAN)
    assert (said.status, said.err) == (0, "")
    assert [line.split()[0] for line in said.out.splitlines() if "on-demand" in line] == ["y"]
    assert "0 of 1" in said.out


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--max-seconds", "-1"], "--max-seconds: expected a number of seconds of at least 0, got -1"),
        (["--max-seconds", "nan"], "--max-seconds: expected a number of seconds of at least 0, got nan"),
        (["--max-seconds", "inf"], "--max-seconds: expected a number of seconds of at least 0, got inf"),
        (["--max-seconds", "soon"], "Invalid value for '--max-seconds'"),
        (["--assignments"], "--assignments needs --json; --explain TASK tells people where a task goes"),
        (["--explain", "b"], "--explain: tasks.csv has no task 'b', expected one of: a"),
    ],
)
def test_wrong_options(slotsmith: CommandLine, more: list[str], told: str) -> None:
    assert_one_line(slotsmith(*PLAN, *more), told)


def test_files_that_must_be_named(slotsmith: CommandLine) -> None:
    assert_one_line(slotsmith("plan", "--catalog", "catalog.csv"), "Missing option '--tasks'")
    assert_one_line(slotsmith("plan", "--tasks", "tasks.csv"), "Missing option '--catalog'")


def test_help_tells_the_columns(slotsmith: CommandLine) -> None:
    said = slotsmith("plan", "--help")
    assert said.status == 0
    for part in (
        "--tasks TASKS.csv",
        "--catalog CATALOG.csv",
        "--fleet FLEET.csv",
        "--max-seconds S",
        "--explain TASK",
    ):
        assert part in said.out
