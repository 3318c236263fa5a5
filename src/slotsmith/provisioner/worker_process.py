"""The process in which the pools of a program have cheaper launches looked for."""

from __future__ import annotations

import asyncio
import os
import signal
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Final

from anyio import to_process

from slotsmith.core.rules import Decide
from slotsmith.core.view import View
from slotsmith.model.decision import Decision
from slotsmith.model.policy import Policy

_NICE: Final = 10


class WorkerProcess:
    """A `Searcher` for all pools of a program: one process, from the first search to the end of the program.

    As with all that starts Python again, the program's main module must be one that can be imported without running.
    So it is for programs that say that they want it, as the command line does.
    """

    def __init__(self) -> None:
        self._work: asyncio.Task[Decision] | None = None

    async def __call__(self, search: Decide, view: View, policy: Policy, now: float, /) -> Decision:
        while self._work is not None and not self._work.done():
            await asyncio.wait({self._work})
        self._work = asyncio.create_task(to_process.run_sync(_decide, search, view, policy, now))
        self._work.add_done_callback(lambda work: work.cancelled() or work.exception())
        # Who gives up must not end the process, nor leave one behind that is half begun.
        return await asyncio.shield(self._work)


def _decide(search: Decide, view: View, policy: Policy, now: float) -> Decision:
    _prepare()
    return search(view, policy, now)


@cache
def _prepare() -> None:
    """What the process does once: it leaves signals for the whole program to its parent, and goes last."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(_NICE)
    if find_spec("highspy"):
        import_module("slotsmith.core.planning.columns")
        import_module("slotsmith.core.planning.pooled")
