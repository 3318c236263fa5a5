"""A program that launches and terminates with the provider, and can be killed: run as `python ec2_driver.py URL`.

It is started once, reads a line of JSON for each run, and forks: the child does the run, so that none waits for the
imports. What a run must keep lies in a file, as the books of a daemon do: the intent before the launch is asked for,
and the wish to end everything before the first termination.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

import pytest

from providers.aws.ec2_catalogue import REGION
from providers.aws.ec2_clients import made, share
from providers.aws.ec2_persistent import Persistent
from providers.aws.ec2_world import settings
from slotsmith.clock import SystemClock
from slotsmith.providers.aws import create
from slotsmith.providers.aws.client import READ_TIMEOUT
from slotsmith.providers.base import LaunchRequest, ProviderContext


async def run(order: dict[str, Any]) -> None:
    """Launch what is on record and not yet answered, then end all of it; each step is on record before it is taken."""
    book = Path(order["book"])
    known = _read(book) or {"token": order["token"], "step": "launch"}
    _write(book, known)
    context = ProviderContext("team", "one", book.parent, SystemClock(), lambda: None)
    provider = Persistent(create(settings(order["url"], **order["settings"]), context))
    await provider.setup()
    if known["step"] == "launch":
        result = await provider.launch(LaunchRequest(known["token"], provider.offerings()[0], order["count"]))
        known |= {"step": "terminate", "ids": result.instance_ids}
        _write(book, known)
    await provider.list_instances()
    if order["terminate"] and known["step"] == "terminate":
        assert await provider.terminate(known["ids"]) == {}
        _write(book, {**known, "step": "done"})
    await provider.close()


def _read(book: Path) -> dict[str, Any] | None:
    return json.loads(book.read_text()) if book.exists() else None


def _write(book: Path, known: dict[str, Any]) -> None:
    fresh = book.with_suffix(".new")
    fresh.write_text(json.dumps(known))
    fresh.replace(book)


def main() -> None:
    print("ready", flush=True)
    for line in sys.stdin:
        child = os.fork()
        if not child:
            status = 1
            # Standard output is for the parent's answers.
            os.dup2(2, 1)
            try:
                asyncio.run(run(json.loads(line)))
                status = 0
            finally:
                os._exit(status)
        print(child, flush=True)
        print(os.waitpid(child, 0)[1], flush=True)


def warm_up() -> None:
    """Load what every run needs, before the first fork."""
    from slotsmith.providers.aws import provider

    assert provider
    share(pytest.MonkeyPatch())
    made("ec2", "", REGION, READ_TIMEOUT)


if __name__ == "__main__":
    warm_up()
    main()
