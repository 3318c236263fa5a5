"""Hears at once when a process ends, whether it is a child of ours or not."""

import asyncio
import os
import sys
from collections.abc import Callable, Collection

from slotsmith.providers.local.processes import Identity

# Each costs a file descriptor, and a process has some 1024 of them for everything; the rest is looked at now and then.
_MOST_WATCHED = 256


class ExitWatch:
    """Watches processes from the running event loop; `on_exit` is called there, without arguments."""

    def __init__(self, on_exit: Callable[[], None]) -> None:
        self._on_exit = on_exit
        self._fds: dict[Identity, int] = {}

    def follow(self, processes: Collection[Identity]) -> bool:
        """Watch these and no others; returns whether all could be. One that has ended before counts as ending now."""
        for process in set(self._fds).difference(processes):
            self._drop(process)
        missed = [process for process in processes if process not in self._fds and not self._add(process)]
        return not missed

    def close(self) -> None:
        """Watch nothing any more."""
        self.follow(())

    def _add(self, process: Identity) -> bool:
        if sys.platform != "linux" or len(self._fds) >= _MOST_WATCHED:
            return False
        try:
            fd = os.pidfd_open(process.pid)
        except ProcessLookupError:
            self._on_exit()
            return True
        except OSError:
            return False
        self._fds[process] = fd
        asyncio.get_running_loop().add_reader(fd, self._ended, process)
        if not process.alive:
            self._ended(process)
        return True

    def _ended(self, process: Identity) -> None:
        self._drop(process)
        self._on_exit()

    def _drop(self, process: Identity) -> None:
        fd = self._fds.pop(process)
        asyncio.get_running_loop().remove_reader(fd)
        os.close(fd)
