"""Disks that are full or read-only: a clear error, nothing half written, and work goes on when it can."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from store_values import url_of

WORKER = str(Path(__file__).with_name("store_worker.py"))


def run_worker(*arguments: str) -> list[str]:
    """The lines it prints; it must not fail."""
    done = subprocess.run([sys.executable, WORKER, *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def run_on_small_disk(directory: Path, *arguments: str, then: str = "") -> list[str]:
    """Mount a disk of 1 MB on `directory`, run the worker, then (`then`) a shell command and the worker again.

    In a mount namespace of its own, so that the disk is gone with the process, whatever happens.
    """
    words = [sys.executable, WORKER, *arguments]
    script = 'd=$1; shift; mount -t tmpfs -o size=1m tmpfs "$d"; "$@"'
    if then:
        script += f'; {then}; "$@"'
    command = ["unshare", "--map-root-user", "--mount", "sh", "-ec", script, "sh", str(directory), *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def _can_mount() -> bool:
    if shutil.which("unshare") is None:
        return False
    command = ["unshare", "--map-root-user", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


needs_mount = pytest.mark.skipif(not _can_mount(), reason="needs a mount namespace of its own")


def check_filled(lines: list[str], says: str) -> None:
    done, error, books, books_after = lines
    assert says in error
    assert int(done) > 10
    # Exactly what was committed: as many intents, and the time and the summary of the last of them.
    assert books == f"{done} {int(done) - 1} {int(done) - 1}"
    assert books_after == f"{int(done) + 1} 1 {int(done) - 1}"


@needs_mount
def test_a_disk_that_fills_up(tmp_path: Path) -> None:
    check_filled(
        run_on_small_disk(tmp_path, "fill_disk", str(tmp_path)),
        f"store {tmp_path}/books.db has no room: its disk is full; free some space, then try again",
    )


@needs_mount
def test_a_disk_that_is_full_from_the_start(tmp_path: Path) -> None:
    error, pools = run_on_small_disk(tmp_path, "open_on_full_disk", str(tmp_path))
    assert error.startswith(f"store {tmp_path}/books.db ")
    assert "room" in error
    assert pools == "[]"


@needs_mount
def test_a_disk_that_is_read_only(tmp_path: Path) -> None:
    lines = run_on_small_disk(
        tmp_path, "open_only", url_of(tmp_path / "books.db"), then=f"mount -o remount,ro {tmp_path}"
    )
    written, reader, *after = lines
    assert (written, "for reading only" in reader) == ("written", True)
    assert len(after) == 2
    for error in after:
        assert error.startswith(f"store {tmp_path}/books.db ")
    assert "is read-only: make the file and its directory writable for this user" in after[0]


def test_a_limit_on_the_size_of_files(path: Path) -> None:
    check_filled(
        run_worker("reach_size_limit", url_of(path), "500000"),
        f"store {path} could not be read or written (disk I/O error): see that its disk has room and is healthy",
    )
