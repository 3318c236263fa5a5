"""One `slotsmith run` per store."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from filelock import FileLock, Timeout

from slotsmith.store.base import StoreError
from slotsmith.store.errors import told
from slotsmith.store.place import Place


class StoreLock:
    """Exclusive ownership of a store, from `acquire` to `release` or the end of the process, however it ends.

    The lock is on `FILE.lock` beside the database; the holder's process id stands in `FILE.pid`. A database without a
    file has one user and needs no lock. May be released from another thread.
    """

    def __init__(self, place: Place, *, patience: float = 0.0) -> None:
        """`patience`: for how many seconds `acquire` waits for another holder."""
        self._place = place
        self._patience = patience
        self._lock: FileLock | None = None
        if place.path is not None:
            self._lock = FileLock(_beside(place.path, ".lock"), thread_local=False)

    def acquire(self) -> None:
        """Raises `StoreError` when another slotsmith holds it, or when it cannot be taken."""
        if self._lock is None:
            return
        with told(self._place):
            try:
                self._lock.acquire(timeout=self._patience)
            except Timeout as error:
                raise StoreError(
                    f"{self._place} is taken: another slotsmith{self._holder()} works on this store; "
                    "stop it first, or use another store"
                ) from error
            except NotImplementedError as error:
                raise StoreError(f"{self._place} is on a file system without locks: use another one") from error
            try:
                self._pid_file.write_text(f"{os.getpid()}\n")
            except OSError:
                self._lock.release()
                raise

    def release(self) -> None:
        """Let others have it. Without effect when it is not held."""
        if self._lock is None or not self._lock.is_locked:
            return
        # A number left behind misleads nobody: it is read only while somebody holds the lock.
        with suppress(OSError):
            self._pid_file.unlink(missing_ok=True)
        self._lock.release()

    def __enter__(self) -> StoreLock:
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    @property
    def _pid_file(self) -> Path:
        return _beside(self._place.file, ".pid")

    def _holder(self) -> str:
        try:
            return f" (pid {int(self._pid_file.read_text())})"
        except (OSError, ValueError):
            # It has only just taken the lock, or is not of our user.
            return ""


def _beside(path: Path, ending: str) -> Path:
    return path.with_name(path.name + ending)
