"""Runs a command and turns whatever it ends with into an exit status."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any

import typer
import typer.main

from slotsmith.cli.app import app
from slotsmith.cli.errors import BAD_INPUT, DONE, FAILED, INTERRUPTED, as_failure

# What Typer raises for bad usage. It may depend on Click or bring its own copy; this leads to whichever it is.
_USAGE_ERROR: type[Any] = typer.BadParameter.__mro__[1]


def main(args: Sequence[str] | None = None) -> int:
    """Run `slotsmith` with `args` (by default those of the process); the exit status is 0, 1, 2 or 130."""
    try:
        status = _run(sys.argv[1:] if args is None else args)
        sys.stdout.flush()
    except BrokenPipeError:
        _discard_output()
        return FAILED
    return status


def _run(args: Sequence[str]) -> int:
    command = typer.main.get_command(app)
    try:
        status = command.main(args=list(args), prog_name="slotsmith", standalone_mode=False)
    except KeyboardInterrupt:
        return INTERRUPTED
    except typer.Abort:
        return INTERRUPTED
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else FAILED
    except Exception as error:  # noqa: BLE001 - what is no user's mistake is raised again below
        return _tell(error)
    return status if isinstance(status, int) else DONE


def _tell(error: Exception) -> int:
    if isinstance(error, _USAGE_ERROR):
        context, message = error.ctx, error.format_message()
        if message.startswith("Usage: "):
            # A command without arguments: its help, as it stands.
            print(message, file=sys.stderr)
            return BAD_INPUT
        hint = "" if context is None else f" (see {context.command_path} --help)"
        _print([" ".join(message.split()) + hint])
        return BAD_INPUT
    failure = as_failure(error)
    if failure is None:
        raise error
    _print(str(failure).splitlines())
    return failure.status


def _print(lines: Sequence[str]) -> None:
    for line in lines:
        print(f"slotsmith: {line}", file=sys.stderr)


def _discard_output() -> None:
    """Nobody reads any more: what is left in the buffer must not raise again when the interpreter ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
