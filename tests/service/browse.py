"""Pages for a browser: the service on a port of this machine, with pools of any size."""

from __future__ import annotations

import asyncio
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from service.stage import Stage, stage
from slotsmith.config.models import ServiceSettings
from slotsmith.service.server import HttpServer
from waiting import PATIENCE

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class Served:
    """A stage whose service listens; `do` runs a coroutine function in its event loop."""

    def __init__(self, the_stage: Stage, address: str, loop: asyncio.AbstractEventLoop) -> None:
        self.stage = the_stage
        self.address = address
        self._loop = loop

    def do(self, work: Any, *arguments: Any, **more: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work(*arguments, **more), self._loop).result(PATIENCE)


@contextmanager
def served(*, listening: ServiceSettings | None = None, **options: Any) -> Iterator[Served]:
    """The service in a thread of its own."""
    found: list[Served] = []
    up, done = threading.Event(), threading.Event()

    async def serve() -> None:
        settings = listening or ServiceSettings(listen="127.0.0.1:0")
        async with stage(settings=settings, **options) as the_stage:
            server = HttpServer(the_stage.app, settings, the_stage.service.clock)
            running = asyncio.create_task(server.run())
            found.append(Served(the_stage, server.address, asyncio.get_running_loop()))
            up.set()
            await asyncio.to_thread(done.wait)
            the_stage.service.hub.close()
            server.stop()
            await running

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    try:
        assert up.wait(PATIENCE)
        yield found[0]
    finally:
        done.set()
        thread.join(PATIENCE)


def many(count: int, now: float) -> dict[str, Any]:
    """A summary of a pool with many instances."""
    busy, idle, starting = ("running", "busy"), ("running", "idle"), ("starting", "starting")
    kinds = [busy, busy, idle, starting, busy]
    instances = []
    for n in range(count):
        state, agent = kinds[n % len(kinds)]
        ending = {"reason": "long idle", "phase": "draining", "since": now - 3, "attempts": 0, "error": None}
        instances.append(
            {
                "id": f"gpu-{n:05d}",
                "state": state,
                "offering": "g5.xlarge/us-east-1a/spot",
                "detail": "",
                "launched_at": now - 60 - n,
                "agent": agent,
                "idle_since": now - 30 if agent == "idle" else None,
                "missing_since": None,
                "termination": ending if n % 500 == 2 else None,
            }
        )
    states: dict[str, int] = {}
    for each in instances:
        states[each["state"]] = states.get(each["state"], 0) + 1
    return {"instances": instances, "counts": states}
