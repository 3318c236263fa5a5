"""CSV files that commands read, line by line, with errors that name file and line and say what was expected."""

from __future__ import annotations

import csv
import gzip
import math
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import Final, NamedTuple, TextIO

from slotsmith.cli.errors import CommandError
from slotsmith.text import one_line, quoted

MOST: Final = 1e9
"""What is larger than this is a mistake."""

# A fraction that is whole but for the way it was computed (0.1 * 30) is no fraction.
_WHOLE: Final = 1e-9
# Near enough to be a slip of the pen: `taskid`, `max-count`. Other columns are the user's own and are left alone.
_SLIP: Final = 0.8


class Line(NamedTuple):
    """A line that is not empty; `fields` has the known columns that the file has."""

    path: Path
    number: int
    fields: dict[str, str]

    def error(self, text: str) -> CommandError:
        return CommandError(f"{self.path}:{self.number}: {one_line(text)}")

    def text(self, name: str) -> str:
        """What stands there; empty when nothing does or the column is missing."""
        return self.fields.get(name, "").strip()

    def name(self, column: str) -> str:
        """Text that must be there."""
        text = self.text(column)
        if not text:
            raise self.error(f"{column} is empty, expected a name")
        return text

    def amount(self, name: str) -> float:
        """A number of at least 0; nothing is 0."""
        text = self.text(name)
        if not text:
            return 0.0
        value = _number(text)
        if not 0 <= value <= MOST:
            raise self.error(f"{name} is {quoted(text)}, expected a number from 0 to {MOST:.10g}")
        return value + 0.0

    def rounded_up(self, name: str) -> int:
        """A number of at least 0; a fraction counts as the next whole one."""
        return math.ceil(self.amount(name) - _WHOLE)

    def rounded_down(self, name: str) -> int:
        """A number of at least 0 without its fraction."""
        return math.floor(self.amount(name) + _WHOLE)

    def price(self, name: str) -> float:
        """A number above 0, which must be there."""
        text = self.text(name)
        if not text:
            raise self.error(f"{name} is missing, expected dollars per hour, more than 0")
        value = _number(text)
        if not 0 < value <= MOST:
            raise self.error(f"{name} is {quoted(text)}, expected dollars per hour, more than 0")
        return value

    def whole(self, name: str, *, least: int, most: int) -> int | None:
        """A whole number; None when nothing stands there."""
        text = self.text(name)
        if not text:
            return None
        value = _number(text)
        if not (least <= value <= most and value.is_integer()):
            raise self.error(f"{name} is {quoted(text)}, expected a whole number from {least} to {most}")
        return int(value)


def _number(text: str) -> float:
    """Not a number when it is none. Python would also take `1_000`, which no other reader of CSV does."""
    try:
        return math.nan if "_" in text else float(text)
    except ValueError:
        return math.nan


def read_lines(path: Path, needed: Sequence[str], optional: Sequence[str]) -> Iterator[Line]:
    """The lines of a CSV file (with gzip when its name ends in `.gz`), whose header has at least what is needed.

    Raises CommandError when the file cannot be read, a needed column is missing, or a line is no CSV.
    """
    with _opened(path) as lines:
        rows = _rows(path, csv.reader(lines, strict=True))
        place, header = next(rows, (Line(path, 1, {}), []))
        columns = _columns(place, header, needed, optional)
        for place, row in rows:
            if len(row) != len(header):
                raise place.error(f"has {len(row)} fields, expected {len(header)}, as the header has")
            yield place._replace(fields={name: row[position] for name, position in columns})


@contextmanager
def _opened(path: Path) -> Iterator[TextIO]:
    try:
        with (
            gzip.open(path, "rt", encoding="utf-8-sig", newline="")
            if path.suffix == ".gz"
            else path.open(encoding="utf-8-sig", newline="") as lines
        ):
            yield lines
    except (OSError, EOFError, zlib.error) as error:
        text = getattr(error, "strerror", None) or str(error)
        raise CommandError(f"{path}: cannot be read: {one_line(text)}") from error
    except UnicodeDecodeError as error:
        raise CommandError(
            f"{path}: expected text in UTF-8, found the byte {error.object[error.start]:#04x}"
        ) from error


def _rows(path: Path, reader: Iterator[list[str]]) -> Iterator[tuple[Line, list[str]]]:
    """The rows that are not empty, each with its place."""
    while True:
        # A quoted field may hold line ends: the row begins where the last one has ended.
        place = Line(path, getattr(reader, "line_num", 0) + 1, {})
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise place.error(f"is no CSV: {error}") from error
        if row:
            yield place, row


def _columns(
    place: Line, header: Sequence[str], needed: Sequence[str], optional: Sequence[str]
) -> list[tuple[str, int]]:
    """The known columns that are there, each with its position."""
    names = [name.strip() for name in header]
    known = [*needed, *optional]
    for name in known:
        if names.count(name) > 1:
            raise place.error(f"the column {name} is there twice")
    expected = f"expected a header with {','.join(needed)} and, as you like, {','.join(optional)}"
    missing = [name for name in needed if name not in names]
    if missing:
        raise place.error(f"has no column {missing[0]}, {expected}")
    for name in names:
        meant = (
            [] if name in known else get_close_matches(name, [each for each in known if each not in names], 1, _SLIP)
        )
        if meant:
            raise place.error(f"has an unknown column {quoted(name)}, did you mean {meant[0]}?")
    return [(name, names.index(name)) for name in known if name in names]
