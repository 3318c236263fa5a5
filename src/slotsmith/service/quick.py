"""The short way for pushes, which come a thousand times a second: the same answers as the described route gives.

FastAPI takes ten times as long to find its route and to check what it was told as the push itself does. Only what is
plain comes this way: a `PUT` to a pool's view by a path without escapes. All else goes on to the routes.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from typing import Any, Final

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from slotsmith.service.bodies import read_body
from slotsmith.service.context import Service
from slotsmith.service.desk import Desk, Place
from slotsmith.service.metrics import Metrics
from slotsmith.service.problems import MEDIA_TYPE, Problem, problem_body
from slotsmith.service.pushing import Pushed, read_view, tag_of
from slotsmith.store.people import Role

SMALL: Final = 32 * 1024
"""Bytes of a view that is read at once; a larger one is read beside the event loop."""
LONGEST_IF_MATCH: Final = 200
_PATH: Final = re.compile(r"/api/v1/pools/([A-Za-z0-9_-]{1,40})/scaling-info")


class ShortWay:
    """Answers pushes, and hands everything else to `app`."""

    def __init__(self, app: ASGIApp, service: Service, metrics: Metrics) -> None:
        self._app = app
        self._service = service
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = _PATH.fullmatch(scope["path"]) if scope["type"] == "http" and scope["method"] == "PUT" else None
        request = Request(scope, receive) if found else None
        if_match = request.headers.get("if-match") if request else None
        if found is None or request is None or len(if_match or "") > LONGEST_IF_MATCH:
            await self._app(scope, receive, send)
            return
        try:
            caller = await self._service.gate.caller(request)
            caller.check(Role.PUSH, found[1])
            body, headers = await take(
                request, self._service.desk.place(found[1]), self._service, self._metrics, if_match
            )
            status, kind = 200, "application/json"
        except Problem as problem:
            status, kind, headers = problem.status, MEDIA_TYPE, problem.headers
            body = problem_body(status, problem.detail, problem.errors)
        await _answer(send, status, kind, headers, body)


async def take(
    request: Request, place: Place, service: Service, metrics: Metrics, if_match: str | None
) -> tuple[dict[str, Any], dict[str, str]]:
    """Take a pushed view; the answer's body and headers.

    Raises:
        Problem: it is not taken.
    """
    pushed = await _read(await read_body(request, service.max_body), place, service.desk)
    taken = service.desk.push(place.name, pushed, if_match)
    metrics.pushed(place.name, taken.value)
    pool = place.provisioner
    drains, reservations = (pool.drains, pool.reservations) if pool else ((), ())
    body = {
        "status": taken.value,
        "sequence": pushed.sequence,
        "drains": [{"agent": each.agent, "since": each.since, "when_done": each.when_done} for each in drains],
        "reservations": [{"task": each.task, "agents": list(each.agents)} for each in reservations],
    }
    return body, {"ETag": f'"{pushed.tag}"'}


async def _read(body: bytes, place: Place, desk: Desk) -> Pushed:
    last = desk.place(place.name).pushed
    if last is not None and last.tag == tag_of(body):
        return last  # the same bytes say the same
    return read_view(body) if len(body) <= SMALL else await asyncio.to_thread(read_view, body)


async def _answer(send: Send, status: int, kind: str, headers: Mapping[str, str], body: Mapping[str, Any]) -> None:
    content = json.dumps(body).encode()
    lines = {"content-type": kind, "content-length": str(len(content)), **headers}
    told = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in lines.items()]
    await send({"type": "http.response.start", "status": status, "headers": told})
    await send({"type": "http.response.body", "body": content})
