"""Who asks, and whether they may."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from fastapi import Request

from slotsmith.clock import Clock
from slotsmith.service.problems import Problem
from slotsmith.store.base import StoreError, StoreRunner
from slotsmith.store.people import People, Role, Token

PREFIX: Final = "slotsmith"
PEER: Final = "slotsmith-replica"
"""The scheme by which one replica shows another that it may send requests on."""
ON_BEHALF: Final = "slotsmith-on-behalf-of"
"""The header with who asked: name, role and pool, as JSON."""
FRESH: Final = 2.0
"""Seconds for which tokens that were read are relied on; a revoked one works no longer than that."""
SESSION: Final = 12 * 3600.0
"""Seconds for which a browser stays signed in."""
COOKIE: Final = "slotsmith_session"
_MOST_SESSIONS: Final = 10_000
_LOCAL: Final = ("localhost", "127.0.0.1", "::1")
_MAY: Final[Mapping[Role, frozenset[Role]]] = {
    Role.VIEW: frozenset({Role.VIEW}),
    Role.PUSH: frozenset({Role.VIEW, Role.PUSH}),
    Role.OPERATE: frozenset({Role.VIEW, Role.OPERATE}),
    Role.ADMIN: frozenset(Role),
}


def hash_of(secret: str) -> str:
    """What is kept of a secret. It has 256 random bits, so a plain hash is enough."""
    return hashlib.sha256(secret.encode()).hexdigest()


def written(token_id: str, secret: str) -> str:
    """A token as it is handed out, once."""
    return f"{PREFIX}_{token_id}_{secret}"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: their name for the record, and what they may do. `pool`: the only one they may see."""

    who: str
    role: Role
    pool: str | None = None

    def may(self, role: Role, pool: str | None) -> bool:
        """Whether they may do what needs `role`, with a pool or (None) with all of them."""
        return role in _MAY[self.role] and self.pool in (None, pool)

    def check(self, role: Role, pool: str | None) -> None:
        """Raises `Problem` when they may not."""
        if not self.may(role, pool):
            raise Problem(403, f"this token lets {self.role.value}{f' pool {self.pool}' if self.pool else ''} only")


NOBODY_ASKED: Final = Caller("somebody on this machine", Role.ADMIN)
"""Who asks where no tokens are needed: only this machine can."""


@dataclass(frozen=True, slots=True)
class _Session:
    token_id: str
    until: float


class Gate:
    """Finds the caller of each request. `required`: without a token nobody gets in.

    `peer_secret` is what another replica shows that sends a request on to this one; empty = this one does not lead.
    """

    def __init__(
        self, people: People, run_read: StoreRunner, clock: Clock, new_secret: Callable[[], str], *, required: bool
    ) -> None:
        self.required = required
        self._people = people
        self._run_read = run_read
        self._clock = clock
        self._new_secret = new_secret
        self._tokens: dict[str, Token] = {}
        self._read_at = float("-inf")
        self._reading = asyncio.Lock()
        self._sessions: dict[str, _Session] = {}
        self.peer_secret: Callable[[], str] = lambda: ""

    async def caller(self, request: Request) -> Caller:
        """Who sends the request.

        Raises:
            Problem: there is no valid token, or a page of another site sends it.
        """
        self.check_site(request)
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == PEER:
            return self._sent_on(request, given.strip())
        if not self.required:
            return NOBODY_ASKED
        if scheme.lower() == "bearer":
            token = await self._token(given.strip())
        else:
            token = await self._of_session(request.cookies.get(COOKIE))
        if token is None:
            # The same whatever was wrong: a stranger learns nothing about which tokens there are.
            raise Problem(401, "a valid token is needed", headers={"WWW-Authenticate": "Bearer"})
        return Caller(f"{token.name} ({token.id})", token.role, token.pool)

    async def sign_in(self, given: str) -> tuple[str, Caller]:
        """A session for a browser, and whose it is. Raises `Problem`."""
        token = await self._token(given.strip())
        if token is None:
            raise Problem(401, "this token is not valid")
        now = self._clock.now()
        self._sessions = {i: each for i, each in self._sessions.items() if each.until > now}
        if len(self._sessions) >= _MOST_SESSIONS:
            raise Problem(503, "too many browsers are signed in")
        session = self._new_secret()
        self._sessions[session] = _Session(token.id, now + SESSION)
        return session, Caller(token.name, token.role, token.pool)

    def sign_out(self, session: str | None) -> None:
        """A browser's session is over."""
        self._sessions.pop(session or "", None)

    def check_site(self, request: Request) -> None:
        """What only this machine can reach, a page that it shows in a browser must not reach for it."""
        host = urlsplit(f"//{request.headers.get('host', '')}").hostname or ""
        if not self.required and host not in _LOCAL:
            raise Problem(403, "without tokens only requests to localhost are answered")
        origin = request.headers.get("origin")
        own = request.headers.get("host", "").lower()
        if request.method not in ("GET", "HEAD") and origin is not None and urlsplit(origin).netloc.lower() != own:
            raise Problem(403, "a page of another site may change nothing here")

    def _sent_on(self, request: Request, given: str) -> Caller:
        """Who has asked another replica, which has looked at their token."""
        try:
            if not self._is_peer(given):
                raise ValueError("not from a replica that knows who leads")
            who, role, pool = json.loads(request.headers.get(ON_BEHALF, ""))
            return Caller(str(who), Role(role), pool)
        except (ValueError, TypeError):
            raise Problem(401, "a valid token is needed", headers={"WWW-Authenticate": "Bearer"}) from None

    def _is_peer(self, given: str) -> bool:
        secret = self.peer_secret()
        return bool(secret) and hmac.compare_digest(secret.encode(), given.encode())

    def is_peer(self, authorization: str) -> bool:
        """Whether a header is that of another replica, which sends on what it has been asked."""
        scheme, _, given = authorization.partition(" ")
        return scheme.lower() == PEER and self._is_peer(given.strip())

    def recognise(self, authorization: str) -> str | None:
        """The id of the token in a header, as far as it is known without looking; None = it is not a valid one."""
        scheme, _, given = authorization.partition(" ")
        token = self._valid(given.strip(), self._tokens) if self.required and scheme.lower() == "bearer" else None
        return token.id if token else None

    async def _token(self, given: str) -> Token | None:
        # What cannot be a token is no reason to look.
        return self._valid(given, await self._known()) if given.startswith(f"{PREFIX}_") else None

    def _valid(self, given: str, known: Mapping[str, Token]) -> Token | None:
        prefix, _, rest = given.partition("_")
        token_id, _, secret = rest.partition("_")
        token = known.get(token_id) if prefix == PREFIX else None
        if token is None or not hmac.compare_digest(token.hash, hash_of(secret)):
            return None
        return token if token.valid(self._clock.now()) else None

    async def _of_session(self, session: str | None) -> Token | None:
        kept = self._sessions.get(session or "")
        now = self._clock.now()
        if kept is None or kept.until <= now:
            return None
        token = (await self._known()).get(kept.token_id)
        return token if token is not None and token.valid(now) else None

    async def _known(self) -> Mapping[str, Token]:
        async with self._reading:
            if self._clock.now() >= self._read_at + FRESH:
                try:
                    self._remember(await self._run_read(self._people.tokens))
                except StoreError as error:
                    raise Problem(503, f"the tokens cannot be read: {error}") from None
        return self._tokens

    def _remember(self, tokens: Iterable[Token]) -> None:
        self._tokens = {token.id: token for token in tokens}
        self._read_at = self._clock.now()
