"""How a command ends when it cannot do what was asked: one line each on standard error, and an exit status."""

from __future__ import annotations

from slotsmith.text import one_line

DONE = 0
FAILED = 1
BAD_INPUT = 2
INTERRUPTED = 130


class CommandError(Exception):
    """Ends the command. Each line of the text is one thing that is wrong; `status` is 1 (failed) or 2 (bad input)."""

    def __init__(self, text: str, status: int = BAD_INPUT) -> None:
        super().__init__(text)
        self.status = status


def as_failure(error: Exception) -> CommandError | None:
    """What the user did wrong, or what outside of this program went wrong; None = it is a fault of the program."""
    # Imported here, because most runs end without an error and should start fast.
    from slotsmith.config.errors import ConfigError
    from slotsmith.providers.base import ProviderError
    from slotsmith.schedulers.base import SchedulerError
    from slotsmith.store.base import StoreError

    if isinstance(error, CommandError):
        return error
    if isinstance(error, ConfigError):
        return CommandError(str(error), BAD_INPUT)
    if isinstance(error, (StoreError, ProviderError, SchedulerError)):
        return CommandError(one_line(str(error)), FAILED)
    return None
