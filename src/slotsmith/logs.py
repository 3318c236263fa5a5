"""Where log lines go: to standard error, for people or as one JSON object a line."""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
from typing import Any, Literal, TextIO

import structlog

from slotsmith.text import HIDDEN

Format = Literal["console", "json"]
Level = Literal["debug", "info", "warning", "error"]

_SECRET_WORDS = ("password", "secret", "credential", "authorization", "private_key", "api_key")


def setup(format: Format = "console", level: Level = "info", stream: TextIO | None = None) -> None:  # noqa: A002
    """Send every line of this program at `level` or above to `stream` (standard error by default).

    Other libraries' lines join from warnings up, in the same form.
    """
    stream = sys.stderr if stream is None else stream
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        hide_secrets,
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_renderers(format, stream)],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("slotsmith").setLevel(level.upper())


def hide_secrets(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Hide the values of keys that sound secret; a launch token is none, and has to be readable."""
    for key in event:
        if any(word in key.lower() for word in _SECRET_WORDS):
            event[key] = HIDDEN
    return event


# Tracebacks come without the values of local variables, in both forms: those may be secrets.
def _renderers(format: Format, stream: TextIO) -> list[structlog.typing.Processor]:  # noqa: A002
    if format == "json":
        exceptions = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
        return [structlog.processors.ExceptionRenderer(exceptions), structlog.processors.JSONRenderer()]
    return [
        structlog.dev.ConsoleRenderer(colors=stream.isatty(), exception_formatter=structlog.dev.plain_traceback),
    ]
