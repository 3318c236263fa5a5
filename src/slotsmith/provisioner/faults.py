"""Any exception from a provider or scheduler as a kind and one line of text."""

from __future__ import annotations

from slotsmith.model.launch_error import ErrorKind
from slotsmith.providers.base import ProviderError
from slotsmith.schedulers.base import SchedulerError
from slotsmith.text import hide_password


def kind_of(error: Exception) -> ErrorKind:
    """The kind of a provider's error; anything that is not a `ProviderError` says nothing of what was done."""
    return error.kind if isinstance(error, ProviderError) else ErrorKind.TRANSIENT


def describe(error: Exception, deadline: float | None = None) -> str:
    """One line for people, without the password of any URL; a fault of a plugin also names its type."""
    if isinstance(error, TimeoutError) and deadline is not None:
        return f"no answer within {deadline:g}s"
    text = " ".join(hide_password(str(error)).split())
    if isinstance(error, (ProviderError, SchedulerError)):
        return text or type(error).__name__
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
