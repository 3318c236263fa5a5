"""What one client may ask for: so many requests a second, and so many at once."""

from __future__ import annotations

import json
import math
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from slotsmith.clock import Clock
from slotsmith.service.problems import MEDIA_TYPE, problem_body

MOST_CLIENTS: Final = 10_000
"""Clients whose requests are counted; the one that has been away for longest is forgotten, and begins anew."""
BURST: Final = 2.0
"""Seconds' worth of requests that may come at once after a quiet time."""


class PerClient:
    """Hands requests on to `app` as long as their client keeps to its limits, else answers 429.

    A client is a token that is known, by `recognise`, or else an address. A token that somebody has made up is none, so
    that guessing tokens is counted as well. `exempt` says of a header that the request was counted by another replica.
    """

    def __init__(
        self,
        app: ASGIApp,
        clock: Clock,
        recognise: Callable[[str], str | None],
        *,
        rate: float,
        most: int,
        exempt: Callable[[str], bool] = lambda _: False,
    ) -> None:
        self._exempt = exempt
        self._app = app
        self._clock = clock
        self._recognise = recognise
        self._rate = rate
        self._most = most
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._inside: dict[str, int] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # Whoever watches over the service must not be told to come again later.
        if scope["type"] != "http" or scope["path"].startswith("/health/"):
            await self._app(scope, receive, send)
            return
        given = _authorization(scope)
        if self._exempt(given):
            await self._app(scope, receive, send)
            return
        client = self._client(scope, given)
        wait = self._wait(client)
        if wait > 0:
            await _too_many(send, wait, f"more than {self._rate:g} requests a second")
        elif scope["path"].endswith("/events"):
            # Streams stay for hours; they have a limit of their own.
            await self._app(scope, receive, send)
        elif self._inside.get(client, 0) >= self._most:
            await _too_many(send, 1.0, f"more than {self._most} requests at once")
        else:
            await self._counted(client, scope, receive, send)

    async def _counted(self, client: str, scope: Scope, receive: Receive, send: Send) -> None:
        self._inside[client] = self._inside.get(client, 0) + 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._inside[client] -= 1
            if not self._inside[client]:
                del self._inside[client]

    def _client(self, scope: Scope, given: str) -> str:
        known = self._recognise(given) if given else None
        address = scope.get("client") or ("",)
        return f"token {known}" if known is not None else f"address {address[0]}"

    def _wait(self, client: str) -> float:
        """Seconds until this client may ask again; 0 = now, and it has."""
        now, full = self._clock.now(), max(1.0, BURST * self._rate)
        left, at = self._left.pop(client, (full, now))
        left = min(full, left + (now - at) * self._rate)
        enough = left >= 1.0
        self._left[client] = (left - 1.0 if enough else left, now)
        if len(self._left) > MOST_CLIENTS:
            self._left.popitem(last=False)
        return 0.0 if enough else (1.0 - left) / self._rate


def _authorization(scope: Scope) -> str:
    given = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
    return str(given.decode("latin-1"))


async def _too_many(send: Send, wait: float, what: str) -> None:
    body = json.dumps(problem_body(429, f"{what} from one client, try again later")).encode()
    headers = [
        (b"content-type", MEDIA_TYPE.encode()),
        (b"content-length", str(len(body)).encode()),
        (b"retry-after", str(max(1, math.ceil(wait))).encode()),
    ]
    await send({"type": "http.response.start", "status": 429, "headers": headers})
    await send({"type": "http.response.body", "body": body})
