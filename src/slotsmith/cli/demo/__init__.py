"""`slotsmith demo`: the main job on this machine, with nothing to set up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from slotsmith.cli.errors import FAILED, INTERRUPTED, CommandError

if TYPE_CHECKING:
    from slotsmith.cli.demo.play import Demo


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("demo", short_help="Run a Dask computation on agents that are launched for it.")(demo)


def demo(
    address: Annotated[
        str | None,
        typer.Option(help="Use the Dask scheduler at this address (tcp://HOST:PORT) instead of starting one."),
    ] = None,
) -> int:
    """Run a real Dask computation on agents that are launched for it, and account for every one of them.

    Starts a Dask scheduler without workers, submits a few hundred tasks with different needs, and keeps a pool of
    local processes as large as they need. Half-way one agent is killed. Takes about a minute; needs no cloud, no
    account and no free port in particular, and leaves nothing behind.
    """
    import asyncio
    import tempfile
    from pathlib import Path

    from slotsmith import logs

    try:
        import distributed  # noqa: F401 - only whether it is there
    except ImportError:
        raise CommandError('the demo needs Dask: pip install "slotsmith[dask]"') from None
    from slotsmith.cli.demo.play import Demo

    logs.setup("console", "error")
    with tempfile.TemporaryDirectory(prefix="slotsmith-demo-") as directory:
        try:
            return asyncio.run(_interruptible(Demo(Path(directory).resolve(), address)))
        except asyncio.CancelledError:
            return INTERRUPTED


async def _interruptible(demo: Demo) -> int:
    """Ctrl-C and SIGTERM cancel the play, and nothing interrupts the cleaning up that follows."""
    import asyncio
    import signal

    playing = asyncio.create_task(demo.play())
    interrupted = False

    def interrupt() -> None:
        nonlocal interrupted
        if not interrupted:
            interrupted = True
            demo.interrupted()
            playing.cancel()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, interrupt)
    try:
        right = await playing
    except asyncio.CancelledError:
        return INTERRUPTED
    return 0 if right else FAILED
