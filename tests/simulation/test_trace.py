"""Traces: what is read, and what is said of those that cannot be."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from slotsmith.model.resources import Resources
from slotsmith.schedulers.simulated import Job
from slotsmith.simulation.trace import TraceError, only_stated, read_trace

HEADER = "submit_s,duration_s,gpus,cpus,mem_gib,job_id,spans\n"


def written(path: Path, text: str) -> Path:
    file = path / "trace.csv"
    file.write_text(text, encoding="utf-8")
    return file


def test_all_columns(tmp_path: Path) -> None:
    text = HEADER + "0,2240,8,,,first,0\n5.5,60,0.46,6,12.5,second,1\n7,,,,,,\n"
    assert read_trace(written(tmp_path, text)) == [
        Job("first", 0.0, 2240.0, Resources(8), False),
        Job("second", 5.5, 60.0, Resources(1, 6.0, 12.5), True),
        Job("line-4", 7.0, 0.0, Resources(), False),
    ]


def test_compressed_and_out_of_order(tmp_path: Path) -> None:
    file = tmp_path / "trace.csv.gz"
    with gzip.open(file, "wt") as out:
        out.write(HEADER + "9,1,1,,,c,0\n3,1,1,,,a,0\n9,1,1,,,d,0\n\n4,1,1,,,b,0\n")
    assert [job.id for job in read_trace(file)] == ["a", "b", "c", "d"]


def test_columns_may_be_missing_unknown_and_in_any_order(tmp_path: Path) -> None:
    text = "\ufeffuser, gpus,duration_s,submit_s\nme,2,10,1\n"
    assert read_trace(written(tmp_path, text)) == [Job("line-2", 1.0, 10.0, Resources(2))]


@pytest.mark.parametrize(("gpus", "slots"), [("0", 0), ("0.05", 1), ("1", 1), ("1.2", 2), ("3.0000000000000004", 3)])
def test_fractions_of_gpus_are_rounded_up(tmp_path: Path, gpus: str, slots: int) -> None:
    (job,) = read_trace(written(tmp_path, f"submit_s,duration_s,gpus\n0,1,{gpus}\n"))
    assert job.resources == Resources(slots)


def test_an_empty_trace(tmp_path: Path) -> None:
    assert read_trace(written(tmp_path, HEADER)) == []


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "trace.csv:1: has no column submit_s, expected a header with submit_s,duration_s,"),
        ("submit_s,gpus\n", "trace.csv:1: has no column duration_s"),
        ("submit_s,duration_s,submit_s\n", "trace.csv:1: the column submit_s is there twice"),
        (HEADER + "0,1,1,,,a,0\n1,2,3\n", "trace.csv:3: has 3 fields, expected 7"),
        (HEADER + "0,soon,1,,,a,0\n", "trace.csv:2: duration_s is 'soon', expected a number from 0 to"),
        (HEADER + "-1,1,1,,,a,0\n", "trace.csv:2: submit_s is '-1', expected a number from 0 to"),
        (HEADER + "nan,1,1,,,a,0\n", "trace.csv:2: submit_s is 'nan'"),
        (HEADER + "1,inf,1,,,a,0\n", "trace.csv:2: duration_s is 'inf'"),
        (HEADER + "1,1e300,1,,,a,0\n", "trace.csv:2: duration_s is '1e300'"),
        (HEADER + "1,1,1e12,,,a,0\n", "trace.csv:2: gpus is '1e12', expected a number from 0 to 1000000000"),
        (HEADER + "1,1,1,,,a,0.5\n", "trace.csv:2: spans is '0.5', expected 0 or 1"),
        (HEADER + "1,1,1,,,a,yes\n", "trace.csv:2: spans is 'yes', expected"),
        (HEADER + "0,1,1,,,a,0\n\n1,1,1,,,a,0\n", "trace.csv:4: job_id is 'a', as on line 2; expected each only once"),
        (HEADER + '0,1,1,,,"a,0\n', "is no CSV"),
    ],
)
def test_errors_name_file_and_line(tmp_path: Path, text: str, error: str) -> None:
    with pytest.raises(TraceError) as caught:
        read_trace(written(tmp_path, text))
    assert error in str(caught.value)
    assert "\n" not in str(caught.value)
    assert str(tmp_path) in str(caught.value)


def test_files_that_are_no_traces(tmp_path: Path) -> None:
    plain = tmp_path / "plain.csv.gz"
    plain.write_text(HEADER)
    cut = tmp_path / "cut.csv.gz"
    cut.write_bytes(gzip.compress((HEADER + "1,1,1,,,,0\n" * 1000).encode())[:-20])
    binary = tmp_path / "binary.csv"
    binary.write_bytes(b"submit_s,duration_s\n\xff\xfe,1\n")
    for file in (plain, cut, binary, tmp_path, tmp_path / "nothing.csv", tmp_path / "nothing.csv.gz"):
        with pytest.raises(TraceError, match=file.name):
            read_trace(file)


def test_what_no_capacity_states_is_not_asked_for() -> None:
    jobs = [Job("a", 0, 1, Resources(1, 4, 8)), Job("b", 0, 1, Resources(1, 2, 16))]
    assert [job.resources for job in only_stated(jobs, [Resources(8)])] == [Resources(1), Resources(1)]
    assert [job.resources for job in only_stated(jobs, [Resources(8), Resources(1, 0, 4)])] == [
        Resources(1, 0, 8),
        Resources(1, 0, 16),
    ]
    assert only_stated(jobs, [Resources(8, 8, 8)]) == jobs
