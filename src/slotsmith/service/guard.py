"""What stands between the network and the routes: deadlines for headers, a limit on requests at once, safe headers."""

from __future__ import annotations

import asyncio
import json
import resource
from typing import Any, Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from slotsmith.service.problems import MEDIA_TYPE, problem_body

HEADER_DEADLINE: Final = 10.0
"""Seconds from a connection, or the first byte of a further request on it, to the end of its headers."""
KEEP_ALIVE: Final = 30.0
"""Seconds for which a connection without a request is kept."""
_SPARE_FILES: Final = 256
_LEAST_WAITING: Final = 64

# In the order in which connections came: those that have not sent all headers of a request yet.
_waiting: dict[HeaderDeadline, asyncio.TimerHandle] = {}


def most_waiting() -> int:
    """How many connections may wait for headers at once; when there are more, the oldest is closed."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(_LEAST_WAITING, soft - _SPARE_FILES) // 2


def raise_file_limit() -> None:
    """As many open files as the system lets this process have: each connection is one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class HeaderDeadline(HttpToolsProtocol):
    """A connection that must send its headers in time: uvicorn by itself would wait for ever."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait_for_headers()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._wait_for_headers()

    def on_headers_complete(self) -> None:
        self._heard()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._heard()
        super().connection_lost(exc)

    def _wait_for_headers(self) -> None:
        if self not in _waiting:
            _waiting[self] = self.loop.call_later(HEADER_DEADLINE, self._too_late)
            if len(_waiting) > most_waiting():
                next(iter(_waiting))._too_late()

    def _heard(self) -> None:
        timer = _waiting.pop(self, None)
        if timer is not None:
            timer.cancel()

    def _too_late(self) -> None:
        self._heard()
        if self.transport is not None:
            self.transport.abort()


class Doorkeeper:
    """Lets so many requests in at once, and gives every answer the headers that keep browsers out of trouble."""

    def __init__(self, app: ASGIApp, most: int) -> None:
        self._app = app
        self._most = most
        self._inside = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_safely(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *_SAFE]
            await send(message)

        # Streams stay for hours and take nothing; they have a limit of their own.
        if scope["path"].endswith("/events") or scope["path"].startswith("/health/"):
            await self._app(scope, receive, send_safely)
        elif self._inside >= self._most:
            await _busy(send_safely)
        else:
            self._inside += 1
            try:
                await self._app(scope, receive, send_safely)
            finally:
                self._inside -= 1


async def _busy(send: Send) -> None:
    body = json.dumps(problem_body(503, "too many requests at once, try again")).encode()
    headers: list[Any] = [
        (b"content-type", MEDIA_TYPE.encode()),
        (b"content-length", str(len(body)).encode()),
        (b"retry-after", b"1"),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": 503, "headers": headers})
    await send({"type": "http.response.body", "body": body})


_SAFE: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (
        b"content-security-policy",
        b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        b"form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    ),
)
