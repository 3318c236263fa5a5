"""Ends what a test leaves running of the local provider."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path

from slotsmith.providers.local import find_processes
from waiting import wait_until


def end_all(directory: Path) -> None:
    """Kill all that runs for instances with their state there, also what is just being started."""

    def none_left() -> bool:
        for process in find_processes(state_dir=directory):
            # It may end by itself meanwhile.
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
        return not find_processes(state_dir=directory)

    wait_until(none_left, what="the end of all processes")
