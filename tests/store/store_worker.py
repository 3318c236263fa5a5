"""What tests run as another process, to kill it or to starve it: `python store_worker.py WHAT URL [ARGUMENTS]`.

Each prints a line when something is done, so that a test can wait for that and never for a time.
"""

from __future__ import annotations

import itertools
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

from store_values import changes, intent

from slotsmith.store.base import StoreError
from slotsmith.store.sql import SqlStore, open_store


def say(text: object) -> None:
    print(text, flush=True)


def commit_intents(url: str) -> None:
    """Commit an intent per transaction for ever, and print its token when it is on record."""
    with open_store(url) as store:
        for number in itertools.count(1):
            store.commit(changes(float(number), intents=(intent(f"t{number}"),), summary={"n": number}))
            say(f"t{number}")


def hold_lock(url: str) -> None:
    """Take the lock, start a process that outlives us, print both process ids, and wait to be killed."""
    with open_store(url) as store, store.lock():
        child = subprocess.Popen(["sleep", "600"])
        say(f"{os.getpid()} {child.pid}")
        signal.pause()


def _fill(store: SqlStore) -> tuple[int, str]:
    """Commit until that fails: how many times it worked, and the error."""
    for number in itertools.count():
        try:
            # Text that does not compress, so that every kind of page grows.
            store.commit(
                changes(float(number), intents=(intent(f"t{number}", reason="x" * 2000),), summary={"n": number})
            )
        except StoreError as error:
            return number, str(error)
    raise AssertionError


def _tell_books(store: SqlStore) -> None:
    books = store.load("gpu")
    say(f"{len(books.intents)} {int(books.heartbeat or 0)} {(store.summary('gpu') or {}).get('n')}")


def fill_disk(directory: str) -> None:
    """In a directory on a small disk: fill it up, tell what is on record, make room, and go on."""
    ballast = Path(directory) / "ballast"
    ballast.write_bytes(bytes(200_000))
    url = f"sqlite:///{directory}/books.db"
    with open_store(url) as store:
        done, error = _fill(store)
        say(done)
        say(error)
        _tell_books(store)
        ballast.unlink()
        store.commit(changes(1.0, intents=(intent("after"),)))
    with open_store(url) as store:
        _tell_books(store)


def open_on_full_disk(directory: str) -> None:
    """In a directory on a small disk: fill it first, then try to make a store, then make room and try again."""
    ballast = Path(directory) / "ballast"
    try:
        with ballast.open("wb") as file:
            while True:
                file.write(bytes(4096))
                file.flush()
    except OSError:
        pass
    url = f"sqlite:///{directory}/books.db"
    try:
        open_store(url)
    except StoreError as error:
        say(error)
    ballast.unlink()
    with open_store(url) as store:
        say(list(store.pools()))


def reach_size_limit(url: str, limit: str) -> None:
    """Under a limit on the size of files: the same, and lift the limit to make room."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    with open_store(url) as store:
        store.commit(changes())
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), hard))
        done, error = _fill(store)
        say(done)
        say(error)
        _tell_books(store)
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        store.commit(changes(1.0, intents=(intent("after"),)))
    with open_store(url) as store:
        _tell_books(store)


def open_only(url: str) -> None:
    """Open for writing, then for reading, and print the errors."""
    for read_only in (False, True):
        try:
            with open_store(url, read_only=read_only) as store:
                store.commit(changes())
                say("written")
        except StoreError as error:
            say(error)


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
