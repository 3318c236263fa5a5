"""`slotsmith plan`: the cheapest launches for tasks in CSV files, as JSON and for people."""

from __future__ import annotations

import gzip
import json
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from cli.command_line import CommandLine, Said

CATALOG = """\
instance_type,gpus,cpus,mem_gib,price_per_hour,zone,market,max_count,gpu_type
small,1,4,16,1.0,z1,on-demand,,T4
small,1,4,16,0.4,z1,spot,2,T4
large,4,16,64,3.5,z1,on-demand,,T4
fast,4,16,64,9,z2,on-demand,,A100
cpu,0,8,32,0.5,z2,,,
"""
TASKS = """\
task_id,gpus,cpus,mem_gib,count,gang,gpu_type
one,1,2,4,7,,
two,0,1,2,,,
"""
FLEET = """\
instance_id,gpus,cpus,mem_gib,gpu_type
i-1,1,4,16,A100
i-2,0,3,8,
"""


@pytest.fixture(autouse=True)
def files(slotsmith: CommandLine) -> None:
    slotsmith.config(CATALOG, "catalog.csv")
    slotsmith.config(TASKS, "tasks.csv")
    slotsmith.config(FLEET, "fleet.csv")


def planned(slotsmith: CommandLine, *more: object, tasks: str | None = None, catalog: str | None = None) -> Any:
    """The JSON of a plan; `tasks` and `catalog` are lines below the usual headers."""
    if tasks is not None:
        slotsmith.config(f"{TASKS.splitlines()[0]}\n{tasks}", "tasks.csv")
    if catalog is not None:
        slotsmith.config(f"{CATALOG.splitlines()[0]}\n{catalog}", "catalog.csv")
    said = run(slotsmith, "--json", *more)
    assert (said.status, said.err) == (0, "")
    return json.loads(said.out)


def run(slotsmith: CommandLine, *more: object) -> Said:
    return slotsmith("plan", "--tasks", "tasks.csv", "--catalog", "catalog.csv", *more)


def launched(told: Any) -> dict[tuple[str, str, str], int]:
    return {(each["instance_type"], each["zone"], each["market"]): each["count"] for each in told["launch"]}


def test_the_cheapest_launches_are_told_with_their_bound(slotsmith: CommandLine) -> None:
    told = planned(slotsmith)
    assert list(told) == [
        "launch", "cost_per_hour", "lower_bound_per_hour", "gap", "placed", "unplaced", "seconds", "stopped_by",
    ]  # fmt: skip
    assert launched(told) == {
        ("large", "z1", "on-demand"): 1,
        ("small", "z1", "on-demand"): 1,
        ("small", "z1", "spot"): 2,
    }
    assert told["cost_per_hour"] == pytest.approx(5.3)
    assert told["lower_bound_per_hour"] <= told["cost_per_hour"]
    assert told["gap"] == pytest.approx(max(0, told["cost_per_hour"] / told["lower_bound_per_hour"] - 1), abs=1e-9)
    assert (told["placed"], told["unplaced"]) == (8, [])
    assert told["stopped_by"] in ("optimal", "work")
    assert told["seconds"] >= 0


def test_columns_in_any_order_compressed_and_with_others_between(slotsmith: CommandLine, tmp_path: Path) -> None:
    before = planned(slotsmith)
    with gzip.open(tmp_path / "tasks.csv.gz", "wt") as file:
        file.write("owner,mem_gib,count,cpus,gpus\nann,4,7,2,1\n\nbob,2,,1,\n")
    said = slotsmith("plan", "--tasks", "tasks.csv.gz", "--catalog", "catalog.csv", "--json")
    after = json.loads(said.out)
    assert {**after, "seconds": 0} == {**before, "seconds": 0}


def test_what_exists_is_used_first(slotsmith: CommandLine) -> None:
    told = planned(slotsmith, "--fleet", "fleet.csv", "--assignments")
    assert told["placed"] == 8
    assert told["cost_per_hour"] < 5
    holds = {each["instance_id"]: each["tasks"] for each in told["instances"] if "instance_id" in each}
    assert holds["i-1"][0] == {"task_id": "one", "count": 1}
    assert all(list(each) in (["instance_id", "tasks"], ["instance_type", "tasks"]) for each in told["instances"])


def test_every_assignment_fits_and_nothing_is_lost(slotsmith: CommandLine) -> None:
    """Seen from the files alone: what lies on an instance, in members, fits; all of each task lies somewhere."""
    draw = random.Random(4)
    rows = [
        (
            f"t{n}",
            draw.choice([0, 0, 1, 2]),
            draw.randint(1, 12),
            draw.randint(1, 40),
            draw.randint(1, 9),
            draw.choice([1, 1, 3]),
        )
        for n in range(40)
    ]
    told = planned(
        slotsmith,
        *("--fleet", "fleet.csv", "--assignments"),
        tasks="".join(",".join(map(str, row)) + ",\n" for row in rows),
    )
    asks = {row[0]: row[1:4] for row in rows}
    has = {
        "small": (1, 4, 16),
        "large": (4, 16, 64),
        "fast": (4, 16, 64),
        "cpu": (0, 8, 32),
        "i-1": (1, 4, 16),
        "i-2": (0, 3, 8),
    }
    lying: Counter[str] = Counter()
    for each in told["instances"]:
        sums = [0, 0, 0]
        for task in each["tasks"]:
            lying[task["task_id"]] += task["count"]
            sums = [total + task["count"] * amount for total, amount in zip(sums, asks[task["task_id"]], strict=True)]
        room = has[each.get("instance_type") or each["instance_id"]]
        assert all(total <= most for total, most in zip(sums, room, strict=True)), each
    unplaced = {each["task_id"]: each["count"] for each in told["unplaced"]}
    assert lying == {
        row[0]: (row[4] - unplaced.get(row[0], 0)) * row[5] for row in rows if row[4] > unplaced.get(row[0], 0)
    }
    assert told["placed"] == sum(row[4] for row in rows) - sum(unplaced.values())
    new = Counter(each["instance_type"] for each in told["instances"] if "instance_type" in each)
    assert new == sum((Counter({each["instance_type"]: each["count"]}) for each in told["launch"]), Counter())


def test_a_gpu_type_is_kept(slotsmith: CommandLine) -> None:
    told = planned(slotsmith, tasks="a,1,2,4,3,,A100\nb,1,2,4,,,T4\n")
    assert launched(told) == {("fast", "z2", "on-demand"): 1, ("small", "z1", "spot"): 1}
    told = planned(slotsmith, "--fleet", "fleet.csv", "--assignments", tasks="a,1,2,4,1,,A100\nb,0,1,1,1,,T4\n")
    assert told["instances"] == [
        {"instance_id": "i-1", "tasks": [{"task_id": "a", "count": 1}]},
        {"instance_type": "small", "tasks": [{"task_id": "b", "count": 1}]},
    ]
    told = planned(slotsmith, "--fleet", "fleet.csv", tasks="b,0,1,1,1,,T4\n", catalog="only,2,8,8,3,,,,T4\n")
    assert launched(told) == {("only", "", "on-demand"): 1}, "what exists is not taken for the only offering"


@pytest.mark.parametrize(
    ("tasks", "count", "reason"),
    [
        ("x,9,1,1,2,,", 2, "asks for 9 slots; the largest offering of the catalogue has 4 slots"),
        ("x,1,1,1,,,A10", 1, "wants gpu_type 'A10', which no offering of the catalogue has, did you mean 'A100'?"),
        (
            "x,8,1,1,,,T4",
            1,
            "asks for 8 slots; the largest offering of the catalogue with gpu_type 'T4' has 4 slots",
        ),
        ("x,4,1,32.5,,,\ny,0,1,100,3,2,", 3, "each member asks for 100 GiB of memory; the largest"),
    ],
)
def test_what_is_left_over_has_its_reason(slotsmith: CommandLine, tasks: str, count: int, reason: str) -> None:
    (left,) = planned(slotsmith, tasks=f"{tasks}\n")["unplaced"]
    assert left["task_id"] == tasks.splitlines()[-1][0]
    assert left["count"] == count
    assert left["reason"].startswith(reason)


def test_no_more_than_there_are_to_be_had(slotsmith: CommandLine) -> None:
    told = planned(slotsmith, tasks="a,1,1,1,9,,\n", catalog="only,2,8,8,3,,spot,3,\n")
    assert (told["placed"], launched(told)) == (6, {("only", "", "spot"): 3})
    assert told["unplaced"] == [{"task_id": "a", "count": 3, "reason": "no more than 3 of only/spot may be had"}]


def test_a_gang_has_a_place_as_a_whole_or_none(slotsmith: CommandLine) -> None:
    told = planned(slotsmith, tasks="a,1,1,1,2,4,\n", catalog="only,2,8,8,3,,spot,3,\n")
    assert (told["placed"], told["unplaced"][0]["count"]) == (1, 1)


def test_a_thousand_million_tasks_of_one_class(slotsmith: CommandLine) -> None:
    told = planned(slotsmith, tasks="many,1,2,4,1000000000,,\n")
    assert told["placed"] == 1_000_000_000
    assert told["gap"] < 1e-6
    said = run(slotsmith, "--explain", "many")
    assert "placed: 1,000,000,000 of 1,000,000,000 tasks" in said.out
    refused = run(slotsmith, "--json", "--assignments")
    assert (refused.status, refused.out) == (2, "")
    assert "--assignments: the plan has " in refused.err


def test_no_task_at_all_costs_nothing(slotsmith: CommandLine) -> None:
    told = planned(slotsmith, tasks="")
    assert (told["launch"], told["cost_per_hour"], told["placed"], told["stopped_by"]) == ([], 0, 0, "optimal")
    assert run(slotsmith).status == 0


def test_a_task_that_asks_for_nothing_needs_an_instance(slotsmith: CommandLine) -> None:
    told = planned(slotsmith, tasks="idle,,,,3,,\n")
    assert (told["placed"], told["cost_per_hour"]) == (3, 0.4)


def test_the_same_files_give_the_same_plan_in_any_order(slotsmith: CommandLine) -> None:
    rows = [f"t{n},{n % 3},{1 + n % 7},{1 + n % 11},{1 + n % 4},,\n" for n in range(60)]
    first = planned(slotsmith, tasks="".join(rows))
    second = planned(slotsmith, tasks="".join(reversed(rows)))
    for told in (first, second):
        del told["seconds"]
    assert first == second


def test_the_budget_of_work(slotsmith: CommandLine) -> None:
    tasks = "".join(f"t{n},{n % 3},{1 + n % 7},{1 + n % 11},{1 + n % 4},,\n" for n in range(60))
    quick = planned(slotsmith, "--max-seconds", "0", tasks=tasks)
    better = planned(slotsmith, "--max-seconds", "1", tasks=tasks)
    assert better["cost_per_hour"] <= quick["cost_per_hour"]
    assert better["gap"] <= quick["gap"]


def test_nothing_but_json_reaches_standard_output(slotsmith: CommandLine) -> None:
    tasks = "".join(f"t{n},{n % 3},{1 + n % 7},{1 + n % 11},{1 + n % 4},,\n" for n in range(60))
    slotsmith.config(f"{TASKS.splitlines()[0]}\n{tasks}", "tasks.csv")
    pytest.importorskip("highspy")
    said = slotsmith.apart("plan", "--tasks", "tasks.csv", "--catalog", "catalog.csv", "--json")
    assert (said.status, said.err) == (0, "")
    assert said.out.startswith("{\n")
    assert json.loads(said.out)["placed"] == 150


def test_without_the_solver_it_works_and_says_how_to_get_it(
    slotsmith: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = "".join(f"t{n},{n % 3},{1 + n % 7},{1 + n % 11},{1 + n % 4},,\n" for n in range(60))
    pytest.importorskip("highspy")
    with_solver = planned(slotsmith, tasks=tasks)
    for place in ("slotsmith.cli.plan", "slotsmith.core.planning.solve"):
        monkeypatch.setattr(f"{place}.find_spec", lambda _: None)
    said = run(slotsmith, "--json")
    told = json.loads(said.out)
    assert said.status == 0
    assert with_solver["cost_per_hour"] <= told["cost_per_hour"] <= 1.1 * with_solver["cost_per_hour"]
    (hint,) = said.errors
    assert hint.startswith("slotsmith: highspy is not installed: this is the quick plan")
    assert "pip install 'slotsmith[plan]'" in hint
    assert run(slotsmith, "--json", "--max-seconds", "0").err == "", "who asks for the quick plan needs no hint"


def test_a_table_for_people(slotsmith: CommandLine) -> None:
    slotsmith.config(TASKS + "huge,9,1,1,2,,\nrare,1,1,1,,,V100\n", "tasks.csv")
    said = run(slotsmith, "--fleet", "fleet.csv")
    assert (said.status, said.err) == (0, "")
    for part in (
        "launch",
        "cost per hour",
        "least possible",
        "8 of 11 tasks",
        "existing instances used",
        "2 of 2",
        "left over",
    ):
        assert part in said.out
    assert "1 of 1 gpus, " in said.out
    assert "asks for 9 slots; the largest offering of the catalogue has 4 slots" in said.out
    assert "wants gpu_type 'V100', which no offering of the catalogue has" in said.out


def test_why_a_task_lies_where_it_lies(slotsmith: CommandLine) -> None:
    said = run(slotsmith, "--fleet", "fleet.csv", "--explain", "one")
    assert (said.status, said.err) == (0, "")
    assert "task one: asks for 1 slot, 2 cpus, 4 GiB of memory each, 7 of them" in said.out
    assert "placed: 7 of 7 tasks" in said.out
    assert "i-1 (exists)" in said.out
    assert "has 0 gpus, 1 asked" in said.out
    assert "existing instances with room for it, were it alone: 1 of 2" in said.out
    told = planned(slotsmith, "--explain", "one")["explain"]
    assert (told["task_id"], told["count"], told["placed"], told["unplaced"]) == ("one", 7, 7, [])
    assert sum(place["instances"] * place["members_on_each"] for place in told["places"]) == 7
    assert next(other["offering"] for other in told["alternatives"] if other["holds"]) == "small/z1/spot"


def test_why_a_task_has_no_place(slotsmith: CommandLine) -> None:
    slotsmith.config(TASKS + "huge,9,1,1,2,,A100\n", "tasks.csv")
    said = run(slotsmith, "--explain", "huge")
    assert "placed: 0 of 2 tasks" in said.out
    reason = "asks for 9 slots; an instance of the catalogue with gpu_type 'A100' has 4"
    assert f"left over: 2 tasks: {reason}\n" in said.out
    lines = [" ".join(line.split()) for line in said.out.splitlines()]
    assert "fast/z2/on-demand $9.0000 has 4 gpus, 9 asked" in lines
    assert any(line.endswith("has 1 gpu, 9 asked; has gpu_type 'T4', not 'A100'") for line in lines)


def test_progress_is_for_terminals_only(slotsmith: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(slotsmith).err == ""
    code = """if True:
        import os, pty, sys
        command = [sys.executable, "-m", "slotsmith", *sys.argv[1:]]
        sys.exit(os.waitstatus_to_exitcode(pty.spawn(command, lambda file: os.read(file, 9999))))
    """
    words = [sys.executable, "-c", code, "plan", "--tasks", "tasks.csv", "--catalog", "catalog.csv"]
    done = subprocess.run(
        words, capture_output=True, text=True, stdin=subprocess.DEVNULL, cwd=slotsmith.directory, timeout=60
    )
    assert done.returncode == 0
    assert "planning 8 tasks" in done.stdout
    assert "least possible" in done.stdout
