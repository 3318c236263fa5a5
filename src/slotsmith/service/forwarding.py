"""A standby's other half: what only the leader can do is sent on to it, with who asks."""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncIterator
from typing import Final

import httpx
from fastapi import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from slotsmith.config.models import ServiceSettings
from slotsmith.model.lease import Lease
from slotsmith.service.access import ON_BEHALF, PEER, Caller
from slotsmith.service.bodies import too_large
from slotsmith.service.context import Service
from slotsmith.service.problems import MEDIA_TYPE, Problem, problem_body

ANSWER_DEADLINE: Final = 60.0
"""Seconds for the leader's answer: a body may take 30 s to come, and the store as long to answer."""
CONNECT_DEADLINE: Final = 3.0
_API: Final = "/api/v1/"
# What is known to the process that runs the pools, and to no other.
_IN_MEMORY: Final = ("/scaling-info", "/drains", "/reservations", "/events")
_SENT_ON: Final = (
    *("accept", "content-type", "content-encoding", "content-length"),
    *("if-match", "last-event-id"),
)
_GIVEN_BACK: Final = (
    *("content-type", "content-encoding", "content-length"),
    *("etag", "retry-after", "cache-control", "www-authenticate", "accept-encoding"),
)


class Forwarding:
    """Answers what the store knows, and asks the leader for the rest."""

    def __init__(self, app: ASGIApp, service: Service, settings: ServiceSettings) -> None:
        self._app = app
        self._service = service
        self._settings = settings
        self._made: httpx.AsyncClient | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or self._service.leads or not _for_leader(scope["method"], scope["path"]):
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        try:
            response = await self._sent_on(request)
        except Problem as problem:
            body = problem_body(problem.status, problem.detail)
            response = JSONResponse(body, problem.status, problem.headers, MEDIA_TYPE)
        await response(scope, receive, send)

    async def _sent_on(self, request: Request) -> Response:
        if request.headers.get("authorization", "").lower().startswith(PEER):
            raise _not_now("this replica does not lead any more")
        caller = await self._service.gate.caller(request)
        said = request.headers.get("content-length", "0")
        if said.isdigit() and int(said) > self._service.max_body:
            raise too_large(self._service.max_body)
        replica = self._service.replica
        leader = replica.leader if replica is not None else None
        if leader is None:
            raise _not_now("no replica leads at the moment")
        if not leader.address:
            raise _not_now(f"{leader.holder} leads, and has no address: it was not started with slotsmith serve")
        try:
            return await self._ask(leader, request, caller)
        except httpx.HTTPError as error:
            raise _not_now(f"the replica that leads cannot be reached: {str(error) or type(error).__name__}") from None

    async def _ask(self, leader: Lease, request: Request, caller: Caller) -> Response:
        headers = {name: value for name in _SENT_ON if (value := request.headers.get(name)) is not None}
        headers["authorization"] = f"{PEER} {leader.secret}"
        headers[ON_BEHALF] = json.dumps([caller.who, caller.role.value, caller.pool])
        url = f"{leader.address}{request.url.path}"
        asked = self._client.build_request(
            request.method,
            f"{url}?{request.url.query}" if request.url.query else url,
            headers=headers,
            content=request.stream() if request.method not in ("GET", "HEAD") else None,
        )
        if request.url.path.endswith("/events"):
            asked.extensions["timeout"]["read"] = None
        answer = await self._client.send(asked, stream=True)
        kept = {name: value for name in _GIVEN_BACK if (value := answer.headers.get(name)) is not None}
        return StreamingResponse(_parts(answer), answer.status_code, kept)

    @property
    def _client(self) -> httpx.AsyncClient:
        if self._made is None:
            timeout = httpx.Timeout(ANSWER_DEADLINE, connect=CONNECT_DEADLINE)
            limits = httpx.Limits(max_connections=None)
            self._made = httpx.AsyncClient(timeout=timeout, limits=limits, verify=self._trust(), trust_env=False)
        return self._made

    def _trust(self) -> ssl.SSLContext:
        settings = self._settings
        context = ssl.create_default_context(cafile=settings.peers_ca)
        if settings.tls_client_ca is not None:
            # Replicas are clients of each other, and show the certificate that they have.
            context.load_cert_chain(str(settings.tls_certificate), settings.tls_key)
        return context


def _for_leader(method: str, path: str) -> bool:
    return path.startswith(_API) and (method not in ("GET", "HEAD", "OPTIONS") or path.endswith(_IN_MEMORY))


def _not_now(why: str) -> Problem:
    return Problem(503, why, headers={"Retry-After": "2"})


async def _parts(answer: httpx.Response) -> AsyncIterator[bytes]:
    try:
        async for part in answer.aiter_raw():
            yield part
    except httpx.HTTPError:
        # A stream that has lost its leader ends, and its reader comes again; half of anything else is no answer.
        if "content-length" in answer.headers:
            raise
    finally:
        await answer.aclose()
