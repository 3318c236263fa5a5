"""A store between processes: one is killed, one reads while another writes, one runs while another wants to."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO

import pytest
from store_values import Opener, changes, url_of

from slotsmith.store.base import StoreError
from slotsmith.store.sql import SqlStore, open_store
from waiting import PATIENCE

Worker = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def worker() -> Iterator[Worker]:
    """Starts `store_worker.py`; whatever it starts is ended with the test."""
    with ExitStack() as stack:

        def start(*arguments: str) -> subprocess.Popen[str]:
            script = str(Path(__file__).with_name("store_worker.py"))
            process = subprocess.Popen([sys.executable, script, *arguments], stdout=subprocess.PIPE, text=True)
            stack.callback(process.wait, PATIENCE)
            stack.callback(process.kill)
            return process

        yield start


def output(process: subprocess.Popen[str]) -> IO[str]:
    assert process.stdout is not None
    return process.stdout


@pytest.mark.parametrize("lines", [1, 40, 300])
def test_a_kill_loses_no_intent(path: Path, worker: Worker, lines: int) -> None:
    """I3, I11: whatever was on record before a `kill -9` is on record after it."""
    process = worker("commit_intents", url_of(path))
    seen = [output(process).readline().strip() for _ in range(lines)]
    process.kill()
    seen += output(process).read().split("\n")[:-1]
    assert process.wait(PATIENCE) == -signal.SIGKILL
    assert len(seen) >= lines

    with open_store(url_of(path)) as store:
        kept = [each.token for each in store.load("gpu").intents]
        assert set(seen) <= set(kept)
        # At most the one that was committed and not printed any more; and each is there with all its commit.
        assert len(kept) <= len(seen) + 1
        assert store.load("gpu").heartbeat == len(kept)
        assert store.summary("gpu") == {"n": len(kept)}
    raw = sqlite3.connect(path)
    assert raw.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    raw.close()


def test_a_reader_beside_a_writer_sees_whole_commits(path: Path, worker: Worker) -> None:
    process = worker("commit_intents", url_of(path))
    output(process).readline()
    states: set[float | None] = set()
    until = time.monotonic() + PATIENCE
    with open_store(url_of(path), read_only=True) as reader:
        while len(states) < 20 and time.monotonic() < until:
            books = reader.load("gpu")
            # The writer numbers its commits by the time it gives, and each adds one intent.
            assert len(books.intents) == books.heartbeat
            states.add(books.heartbeat)
    assert len(states) == 20
    # The reader has not kept the writer from its work.
    assert process.poll() is None


def test_one_store_has_one_owner(path: Path, store: SqlStore, worker: Worker, opened: Opener) -> None:
    holder = worker("hold_lock", url_of(path))
    pid, child = map(int, output(holder).readline().split())
    try:
        with pytest.raises(StoreError, match=rf"store {path} is taken: another slotsmith \(pid {pid}\) works on this"):
            store.lock().acquire()
        assert path.with_name("books.db.pid").read_text() == f"{pid}\n"
        # Neither readers nor writers are kept out, only a second owner.
        assert opened(read_only=True).pools() == []
        holder.kill()
        holder.wait(PATIENCE)
        # The lock goes with its holder, even when a process that the holder started lives on.
        os.kill(child, 0)
        with store.lock():
            assert path.with_name("books.db.pid").read_text() == f"{os.getpid()}\n"
    finally:
        os.kill(child, signal.SIGKILL)


def test_the_lock_can_be_taken_again_after_its_release(path: Path, store: SqlStore) -> None:
    mine = store.lock()
    for _ in range(2):
        mine.acquire()
        with pytest.raises(StoreError, match=rf"another slotsmith \(pid {os.getpid()}\) works on this store"):
            store.lock().acquire()
        mine.release()
        mine.release()
        assert not path.with_name("books.db.pid").exists()


def test_a_lock_whose_holder_is_not_known_yet(path: Path, store: SqlStore) -> None:
    with store.lock():
        path.with_name("books.db.pid").write_text("")
        with pytest.raises(StoreError, match="is taken: another slotsmith works on this store"):
            store.lock().acquire()


def test_a_lock_in_a_directory_that_is_gone(path: Path) -> None:
    with open_store(url_of(path)) as store:
        store.commit(changes())
        path.with_name("books.db.lock").unlink()
        path.with_name("books.db.lock").mkdir()
        with pytest.raises(StoreError, match=f"store {path} "):
            store.lock().acquire()
