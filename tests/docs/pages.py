"""Reads what can be checked out of the pages of the documentation."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "docs" / "examples"
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])

_FENCE = re.compile(r"^```(?P<info>[^\n]*)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
_CELL = re.compile(r"(?<!\\)\|")


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its title ("" = none) and its text."""

    language: str
    title: str
    text: str


def page(name: str) -> str:
    """The text of a page, by its path in the project."""
    return (ROOT / name).read_text()


def blocks(text: str, language: str | None = None) -> list[Block]:
    """The fenced blocks of a page, of one language or all."""
    found = []
    for match in _FENCE.finditer(text):
        kind, _, rest = match["info"].partition(" ")
        title = re.search(r'title="([^"]*)"', rest)
        found.append(Block(kind, title[1] if title else "", match["body"]))
    return [block for block in found if language in (None, block.language)]


def code_spans(text: str) -> list[str]:
    """What stands in single backticks outside of fenced blocks."""
    return _CODE.findall(_FENCE.sub("", text))


def rows(text: str) -> Iterator[list[str]]:
    """The cells of each line of a table, without its heading's rule."""
    for line in _FENCE.sub("", text).splitlines():
        if line.startswith("|") and not set(line) <= set("|- :"):
            yield [cell.strip() for cell in _CELL.split(line)[1:-1]]


def section(text: str, heading: str) -> str:
    """What stands under a heading, up to the next one that is not below it."""
    level = len(heading) - len(heading.lstrip("#"))
    _, _, rest = f"\n{text}".partition(f"\n{heading}\n")
    assert rest, f"there is no heading {heading!r}"
    return re.split(rf"^#{{1,{level}}} ", rest, maxsplit=1, flags=re.MULTILINE)[0]


def literal(cell: str) -> str:
    """The text of a cell that is one code span."""
    assert cell[0] == cell[-1] == "`", cell
    return cell.strip("`")
