"""Starts Dask schedulers and workers by forking a process that has imported Dask once.

Reads requests from standard input, a JSON object a line, and answers each with a line. When standard input ends, or
this process does, however that comes about, everything that was started is killed.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import traceback
from typing import Any

sys.modules["slotsmith"] = None  # type: ignore[assignment]  # where Dask runs, slotsmith is not installed

import dask  # noqa: E402
from distributed.cli import dask_scheduler, dask_worker  # noqa: E402

PR_SET_PDEATHSIG = 1
MAINS = {"scheduler": dask_scheduler.main, "worker": dask_worker.main}


def start(role: str, arguments: list[str], config: dict[str, Any], log: str) -> int:
    """The id of a new process, which leads a group of its own."""
    pid = os.fork()
    if pid:
        return pid
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    os.setsid()
    for sign in (signal.SIGINT, signal.SIGTERM):
        signal.signal(sign, signal.SIG_DFL)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (output, 1), (output, 2)):
        os.dup2(source, target)
    status = 1
    try:
        dask.config.set(config)
        MAINS[role](arguments, standalone_mode=False)
        status = 0
    except SystemExit as stop:
        status = stop.code if isinstance(stop.code, int) else 1
    except BaseException:  # noqa: BLE001 - it is printed, and would be lost in `_exit`
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def ended() -> dict[int, int]:
    """The exit status of each process that has ended since the last call; negative = killed by that signal."""
    found = {}
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return found
        if not pid:
            return found
        found[pid] = os.waitstatus_to_exitcode(status)


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the tests, which then close us
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    started: set[int] = set()
    statuses: dict[int, int] = {}
    for line in sys.stdin:
        request = json.loads(line)
        answer: Any = None
        if "role" in request:
            answer = start(**request)
            started.add(answer)
        else:
            statuses.update(ended())
            answer = statuses.get(request["status_of"])
        print(json.dumps(answer), flush=True)
    statuses.update(ended())
    for pid in started - statuses.keys():
        os.killpg(pid, signal.SIGKILL)


if __name__ == "__main__":
    main()
