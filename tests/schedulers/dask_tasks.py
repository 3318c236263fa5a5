"""Tasks for Dask workers; found there by name. Must not import slotsmith, which is not installed there."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any


def square(number: int) -> int:
    return number * number


def fail(number: int) -> int:
    raise ValueError(f"task {number} fails")


def held(gate: str, value: Any = None) -> Any:
    """Runs until the file `gate` exists; tells that it has started by making `gate.started-VALUE`."""
    Path(f"{gate}.started-{value}").touch()
    while not Path(gate).exists():
        time.sleep(0.01)
    return value


def held_outside(gate: str, value: Any = None) -> Any:
    """The same, after leaving its thread to other tasks."""
    from distributed import secede

    secede()
    return held(gate, value)


def noted(directory: str, number: int, seconds: float, gate: str = "") -> int:
    """Writes down that it was started, takes some time, and until the file `gate` exists; the square of `number`."""
    with (Path(directory) / f"starts-{os.getpid()}").open("a") as file:
        file.write(f"{number}\n")
    time.sleep(seconds)
    while gate and not Path(gate).exists():
        time.sleep(0.01)
    return number * number


def total(numbers: list[int]) -> int:
    return sum(numbers)


def block(size: int) -> bytes:
    """So many bytes, which no compression makes smaller."""
    return os.urandom(size)


class Adder:
    """An actor."""

    def __init__(self) -> None:
        self.value = 0

    def add(self, number: int) -> int:
        self.value += number
        return self.value
