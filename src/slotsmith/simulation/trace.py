"""Traces of tasks: when each was submitted, how long it ran, what it asked for."""

from __future__ import annotations

import csv
import gzip
import math
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from slotsmith.model.resources import Resources
from slotsmith.schedulers.simulated.job import Job

COLUMNS: Final = ("submit_s", "duration_s", "gpus", "cpus", "mem_gib", "job_id", "spans")
"""The columns of a trace. `submit_s` and `duration_s` must be there, others count as empty, unknown ones are left."""

_NEEDED: Final = ("submit_s", "duration_s")
# Ten thousand years: what is longer is a mistake, and would lose its milliseconds as a float.
_LONGEST_S: Final = 3.2e11
_MOST: Final = 1e9
# A fraction that is whole but for the way it was computed (0.1 * 30) is no fraction.
_WHOLE: Final = 1e-9


class TraceError(Exception):
    """The trace cannot be read; the text names file and line, and what was expected there."""


def read_trace(path: str | Path) -> list[Job]:
    """The jobs of a CSV file (with gzip when its name ends in `.gz`), in the order of submission.

    Jobs of the same time keep the order of the file. An empty field is 0, fractions of gpus are rounded up; a job
    without id is called `line-N`.

    Raises:
        TraceError: the file cannot be read, or a line of it is wrong.
    """
    path = Path(path)
    try:
        with (
            gzip.open(path, "rt", encoding="utf-8-sig", newline="")
            if path.suffix == ".gz"
            else path.open(encoding="utf-8-sig", newline="") as lines
        ):
            jobs = list(_jobs(path, csv.reader(lines, strict=True)))
    except (OSError, EOFError, zlib.error) as error:
        text = getattr(error, "strerror", None) or str(error)
        raise TraceError(f"{path}: cannot be read: {text}") from error
    except UnicodeDecodeError as error:
        raise TraceError(f"{path}: expected text in UTF-8, found the byte {error.object[error.start]:#04x}") from error
    jobs.sort(key=lambda job: job.submit_s)
    return jobs


def only_stated(jobs: Iterable[Job], capacities: Sequence[Resources]) -> list[Job]:
    """The jobs without what no capacity states: where it is not known what an instance has, it limits nothing."""
    cpus = any(capacity.cpus for capacity in capacities)
    mem_gib = any(capacity.mem_gib for capacity in capacities)
    asked: dict[tuple[int, float, float], Resources] = {}
    result = []
    for job in jobs:
        need = job.resources
        key = (need.slots, need.cpus if cpus else 0.0, need.mem_gib if mem_gib else 0.0)
        result.append(job._replace(resources=asked.get(key) or asked.setdefault(key, Resources(*key))))
    return result


class _Place(NamedTuple):
    """Where in which file."""

    path: Path
    line: int

    def error(self, text: str) -> TraceError:
        return TraceError(f"{self.path}:{self.line}: {text}")


def _jobs(path: Path, reader: Iterator[list[str]]) -> Iterator[Job]:
    rows = _rows(path, reader)
    place, header = next(rows, (_Place(path, 1), []))
    columns = _columns(place, header)
    shapes: dict[tuple[int, float, float], Resources] = {}
    lines_of: dict[str, int] = {}
    for place, row in rows:
        if len(row) != len(header):
            raise place.error(f"has {len(row)} fields, expected {len(header)}, as the header has")
        text = {name: row[position] for name, position in columns.items()}
        key = (_slots(place, text), _number(place, "cpus", text, _MOST), _number(place, "mem_gib", text, _MOST))
        name = text.get("job_id", "").strip() or f"line-{place.line}"
        if name in lines_of:
            raise place.error(f"job_id is {name!r}, as on line {lines_of[name]}; expected each only once")
        lines_of[name] = place.line
        yield Job(
            name,
            _number(place, "submit_s", text, _LONGEST_S),
            _number(place, "duration_s", text, _LONGEST_S),
            shapes.get(key) or shapes.setdefault(key, Resources(*key)),
            _flag(place, "spans", text),
        )


def _rows(path: Path, reader: Iterator[list[str]]) -> Iterator[tuple[_Place, list[str]]]:
    """The rows that are not empty, each with its place."""
    while True:
        line = getattr(reader, "line_num", 0) + 1
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise _Place(path, line).error(f"is no CSV: {error}") from error
        if row:
            yield _Place(path, line), row


def _columns(place: _Place, header: Sequence[str]) -> dict[str, int]:
    """The position of each column that is there."""
    names = [name.strip() for name in header]
    for name in COLUMNS:
        if names.count(name) > 1:
            raise place.error(f"the column {name} is there twice")
    missing = [name for name in _NEEDED if name not in names]
    if missing:
        raise place.error(f"has no column {missing[0]}, expected a header with {','.join(COLUMNS)}")
    return {name: names.index(name) for name in COLUMNS if name in names}


def _number(place: _Place, name: str, row: dict[str, str], most: float) -> float:
    """A number of at least 0; nothing is 0."""
    text = row.get(name, "").strip()
    if not text:
        return 0.0
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= most:
        raise place.error(f"{name} is {text!r}, expected a number from 0 to {most:.10g}")
    return value + 0.0


def _slots(place: _Place, row: dict[str, str]) -> int:
    return math.ceil(_number(place, "gpus", row, _MOST) - _WHOLE)


def _flag(place: _Place, name: str, row: dict[str, str]) -> bool:
    value = _number(place, name, row, 1)
    if value not in (0.0, 1.0):
        raise place.error(f"{name} is {row[name]!r}, expected 0 or 1")
    return bool(value)
