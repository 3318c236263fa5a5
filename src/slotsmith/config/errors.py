"""What is wrong with a configuration file, in lines that a person can act on."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from slotsmith.text import hide_password, one_line, quoted

Path = tuple[str | int, ...]
"""Where a value stands in the file: `("pools", 0, "name")`."""

_LONGEST_KEY = 60
_PLAIN_KEY = re.compile(r"[A-Za-z0-9_-]+")


def shown(value: object) -> str:
    """A value of the file as an error names it; lists and mappings by their kind, since they may hold secrets."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return _number(value)
    if isinstance(value, str):
        return quoted(value)
    kind = "mapping" if isinstance(value, dict) else "list"
    return f"a {kind}" if value else f"an empty {kind}"


def key_path(path: Path) -> str:
    """`("pools", 0, "name")` as `pools[0].name`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            key = part if _PLAIN_KEY.fullmatch(part) and len(part) <= _LONGEST_KEY else quoted(part)
            text += f".{key}" if text else key
    return text


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong: in which file, on which line (1 is the first, None = the file as a whole), and what."""

    file: str
    line: int | None
    key: str
    text: str

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        text = hide_password(self.text)
        return one_line(f"{place}: {self.key}: {text}" if self.key else f"{place}: {text}")


class ConfigError(Exception):
    """A configuration that cannot be used. Its text has one line for each problem, in the order of the file."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        ordered = sorted(problems, key=lambda problem: problem.line or 0)
        self.problems = tuple({str(problem): problem for problem in ordered}.values())
        super().__init__("\n".join(str(problem) for problem in self.problems))


def _number(value: float) -> str:
    # A whole number can be longer than Python is willing to print.
    if isinstance(value, int) and abs(value) >= 10**30:
        return "a number of more than 30 digits"
    return str(value)
