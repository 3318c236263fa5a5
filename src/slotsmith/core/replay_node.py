"""Reading of a JSON document that says of every value where it stands, so that what is wrong can be told."""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from slotsmith.text import one_line, quoted

T = TypeVar("T")

LONGEST_VALUE: Final = 40
"""Characters of a wrong value that are shown."""

# Up to here every whole number is exact in JSON readers that know only floats.
_LARGEST: Final = 2**53


class ReplayError(Exception):
    """The input cannot be read. The text is one line that names the file, or the case, tick and key, at fault."""


@dataclass(frozen=True, slots=True)
class Node:
    """A piece of the document, with the words that say where it stands."""

    value: Any
    where: str
    joint: str = "."

    def wrong(self, problem: str) -> ReplayError:
        return ReplayError(f"{self.where}: {problem}" if self.where else problem)

    def expected(self, what: str) -> ReplayError:
        return self.wrong(f"expected {what}, got {one_line(json.dumps(self.value), LONGEST_VALUE)}")

    def get(self, key: str) -> Node | None:
        """The value of a key; None when it is missing or null."""
        value = self.mapping().get(key)
        return None if value is None else Node(value, f"{self.where}{self.joint}{key}" if self.where else key)

    def need(self, key: str) -> Node:
        node = self.get(key)
        if node is None:
            raise self.wrong(f"has no {quoted(key)}")
        return node

    def mapping(self) -> dict[str, Any]:
        if not isinstance(self.value, dict):
            raise self.expected("an object")
        return self.value

    def elements(self) -> list[Node]:
        if not isinstance(self.value, list):
            raise self.expected("a list")
        return [Node(value, f"{self.where}[{number}]") for number, value in enumerate(self.value)]

    def text(self) -> str:
        if not isinstance(self.value, str):
            raise self.expected("a text")
        return self.value

    def flag(self) -> bool:
        if not isinstance(self.value, bool):
            raise self.expected("true or false")
        return self.value

    def number(self, low: float = -math.inf) -> float:
        """A finite number of at least `low`."""
        if isinstance(self.value, int | float) and not isinstance(self.value, bool):
            try:
                number = float(self.value)
            except OverflowError:
                number = math.inf
            if math.isfinite(number) and number >= low:
                return number
        raise self.expected("a number" if low == -math.inf else f"a number of at least {low:g}")

    def whole(self, low: int = 0) -> int:
        """A whole number of at least `low`, and small enough to count with."""
        is_number = isinstance(self.value, int | float) and not isinstance(self.value, bool)
        if is_number and low <= self.value <= _LARGEST and self.value == int(self.value):
            return int(self.value)
        raise self.expected(f"a whole number of at least {low}")

    def each(self, key: str, read: Callable[[Node], T]) -> tuple[T, ...]:
        """What `read` makes of each element of the list under `key`; nothing when there is no such key."""
        node = self.get(key)
        return () if node is None else tuple(read(element) for element in node.elements())

    def optional(self, key: str, read: Callable[[Node], T], default: T) -> T:
        node = self.get(key)
        return default if node is None else read(node)

    def check_keys(self, known: Sequence[str], also: Sequence[str] = ()) -> None:
        """Refuse keys that look like a known one: a misspelt key would otherwise be left out without a word."""
        for key in self.mapping().keys() - {*known, *also}:
            meant = difflib.get_close_matches(key, (*known, *also), n=1, cutoff=0.8)
            if meant:
                raise self.wrong(f"unknown key {quoted(key)}, did you mean {quoted(meant[0])}?")
