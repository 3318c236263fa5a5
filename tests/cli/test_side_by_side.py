"""Work in processes of its own: results in order, progress on the way, and a clean end whatever happens."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import psutil
import pytest

from slotsmith.cli.errors import FAILED, CommandError
from slotsmith.cli.side_by_side import side_by_side


def double(number: int, progress: Callable[[float], None]) -> tuple[int, int]:
    progress(0.5)
    return 2 * number, os.getpid()


def die(number: int, progress: Callable[[float], None]) -> int:
    progress(0.1)
    if number:
        os.kill(os.getpid(), signal.SIGKILL)
    while True:
        signal.pause()


def fail(number: int, progress: Callable[[float], None]) -> int:
    raise ZeroDivisionError(f"cannot divide {number}")


def is_deaf_to_ctrl_c(number: int, progress: Callable[[float], None]) -> bool:
    os.kill(os.getpid(), signal.SIGINT)
    return True


def told(_index: int, _share: float) -> None:
    """For those who do not look."""


def test_results_are_in_order_and_from_other_processes() -> None:
    seen: list[tuple[int, float]] = []
    results = side_by_side(double, [1, 2, 3], progress=lambda index, share: seen.append((index, share)))
    assert [value for value, _ in results] == [2, 4, 6]
    assert len({os.getpid(), *(pid for _, pid in results)}) == 4
    for index in range(3):
        assert [share for which, share in seen if which == index] == [0.5, 1.0]


def test_nothing_to_do() -> None:
    assert side_by_side(double, [], progress=told) == []


def test_one_that_is_killed_ends_the_others_and_is_told() -> None:
    with pytest.raises(CommandError, match=r"a run ended without a result \(exit status -9\)") as caught:
        side_by_side(die, [0, 1], progress=told)
    assert caught.value.status == FAILED
    assert not _children()


def test_a_fault_of_the_program_is_shown() -> None:
    with pytest.raises(CommandError, match=r"(?s)a fault of slotsmith:\nTraceback.*\nZeroDivisionError: cannot divide"):
        side_by_side(fail, [7], progress=told)
    assert not _children()


def test_an_interrupt_ends_all_of_them() -> None:
    def interrupt(_index: int, _share: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        side_by_side(die, [0, 0], progress=interrupt)
    assert not _children()


def test_ctrl_c_is_for_the_first_process_alone() -> None:
    assert side_by_side(is_deaf_to_ctrl_c, [1], progress=told) == [True]


def _children() -> list[psutil.Process]:
    """Those that work: what Python's own helper has forked, which stays for later ones."""
    helpers = filter(_is_helper, psutil.Process().children())
    return [each for helper in helpers for each in helper.children()]


def _is_helper(child: psutil.Process) -> bool:
    try:
        return "multiprocessing.forkserver" in " ".join(child.cmdline())
    except psutil.NoSuchProcess:  # another test's, which has ended
        return False
