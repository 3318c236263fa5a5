"""Lengths of time, moments and numbers as people say them."""

from __future__ import annotations

from datetime import UTC, datetime

from slotsmith.model.durations import format_duration


def span(seconds: float) -> str:
    """A length of time as a person would say it: `3d4h`, `5m12s`, `0s`."""
    whole = max(0, round(seconds))
    for coarse, unit in ((86400, 3600), (3600, 60)):
        if whole >= coarse:
            whole -= whole % unit
            break
    return format_duration(whole)


def ago(at: float | None, now: float) -> str:
    """How long ago something was; `-` when it never was."""
    return "-" if at is None else span(now - at)


def moment(at: float, now: float) -> str:
    """A time of day, with its date unless that is today's."""
    try:
        local = datetime.fromtimestamp(at, tz=UTC).astimezone()
        today = datetime.fromtimestamp(now, tz=UTC).astimezone().date()
    except (OverflowError, ValueError, OSError):
        return "never"
    return local.strftime("%H:%M:%S" if local.date() == today else "%Y-%m-%d %H:%M:%S")


def plural(count: int, word: str) -> str:
    """`1 task`, `2 tasks`."""
    return f"{count} {word}" if count == 1 else f"{count} {word}s"
