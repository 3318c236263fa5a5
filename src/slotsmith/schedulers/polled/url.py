"""A scheduler whose view is read from a URL."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Final, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, model_validator

from slotsmith.model.scaling_info import ScalingInfo
from slotsmith.schedulers.base import (
    DrainAnswer,
    SchedulerContext,
    SchedulerError,
    SchedulerPlugin,
    SchedulerSettings,
)
from slotsmith.schedulers.polled.exchange import (
    answers_by_view,
    cancel_request,
    drain_request,
    read_answers,
    read_view,
)
from slotsmith.settings import PositiveDuration
from slotsmith.text import one_line

if TYPE_CHECKING:
    import httpx

_MISSING: Final = 'the http connector needs the package "httpx"; install it with: pip install "slotsmith[http]"'
_MIB: Final = 1024 * 1024
_HEADER_NAME: Final = r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$"


def _check_url(url: str) -> str:
    example = "expected a URL like http://127.0.0.1:9000/view"
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise ValueError(f"{error}; {example}") from None
    if parts.scheme not in ("http", "https") or not host or any(sign.isspace() or sign < " " for sign in url):
        raise ValueError(example)
    if "@" in parts.netloc:
        raise ValueError("a URL with a password in it would be shown in logs, expected it in headers")
    return url


def _check_value(value: SecretStr) -> SecretStr:
    if any(sign < " " or sign > "~" for sign in value.get_secret_value()):
        raise ValueError("expected a header's value of printable ASCII characters, in one line")
    return value


Url = Annotated[str, AfterValidator(_check_url)]


class HttpSettings(SchedulerSettings):
    """`scheduler: {type: http, url: "http://127.0.0.1:9000/view"}`.

    `url` is asked for the view, every `poll_period`. `drain_url` is told which agents to give up, and which not any
    more; without it the view decides: idle there is released. `headers` go with each request, and are secret.
    `ca_file`: the authority that signed the server's certificate, in PEM format (None: those that the system trusts).
    """

    type: Literal["http"] = "http"
    url: Url
    drain_url: Url | None = None
    headers: Mapping[
        Annotated[str, Field(pattern=_HEADER_NAME)], Annotated[SecretStr, AfterValidator(_check_value)]
    ] = {}
    poll_period: PositiveDuration = 5.0
    timeout: PositiveDuration = 10.0
    max_body_mib: Annotated[int, Field(ge=1, le=1024)] = 64
    ca_file: str | None = None

    @model_validator(mode="after")
    def _fits(self) -> HttpSettings:
        if self.ca_file is not None and not self.url.startswith("https://"):
            raise ValueError("ca_file is given, but the url is not https://")
        return self


class HttpScheduler:
    """See `slotsmith.schedulers.base.Scheduler`. One request at a time, so that drains and views do not cross."""

    def __init__(self, settings: HttpSettings, _context: SchedulerContext) -> None:
        self.poll_period: float = settings.poll_period
        self._settings = settings
        self._client: httpx.AsyncClient | None = None
        self._tag: str | None = None
        self._last: ScalingInfo | None = None

    async def setup(self) -> None:
        await self.scaling_info()

    async def scaling_info(self) -> ScalingInfo:
        headers = {"If-None-Match": self._tag} if self._tag and self._last is not None else {}
        status, tag, body = await self._ask("GET", self._settings.url, None, headers)
        if status == 304 and self._last is not None:
            return self._last
        info = await read_view(body, self._settings.url)
        self._tag, self._last = tag, info
        return info

    async def drain(self, agents: Sequence[str], *, when_done: bool) -> Mapping[str, DrainAnswer]:
        if not agents:
            return {}
        if self._settings.drain_url is None:
            return answers_by_view(await self.scaling_info(), agents, when_done=when_done)
        _, _, body = await self._ask("POST", self._settings.drain_url, drain_request(agents, when_done))
        return await read_answers(body, self._settings.drain_url)

    async def cancel_drain(self, agents: Sequence[str]) -> None:
        if agents and self._settings.drain_url is not None:
            await self._ask("POST", self._settings.drain_url, cancel_request(agents))

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def _ask(
        self, method: str, url: str, content: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, str | None, bytes]:
        """Status, ETag and body of an answer that is a good one. Raises `SchedulerError`."""
        client = await self._connected()
        import httpx

        given = {name: value.get_secret_value() for name, value in self._settings.headers.items()}
        kind = {"Content-Type": "application/json"} if content is not None else {}
        try:
            async with (
                # The client's own limit is for each wait; one that sends a byte now and then would never meet it.
                asyncio.timeout(self._settings.timeout),
                client.stream(method, url, content=content, headers={**given, **kind, **(headers or {})}) as answer,
            ):
                body = await self._body(answer, url)
        except TimeoutError:
            raise SchedulerError(f"{url} did not answer within {self._settings.timeout:g} s") from None
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            text = one_line(str(error) or type(error).__name__, 200)
            raise SchedulerError(f"cannot reach the scheduler at {url}: {text}") from error
        if answer.status_code == 304 or answer.is_success:
            return answer.status_code, answer.headers.get("etag"), body
        raise SchedulerError(f"{method} {url} was answered with {answer.status_code}{_said(body)}")

    async def _body(self, answer: httpx.Response, url: str) -> bytes:
        most, parts, size = self._settings.max_body_mib * _MIB, [], 0
        async for part in answer.aiter_bytes():
            size += len(part)
            if size > most:
                raise SchedulerError(f"the answer of {url} is larger than max_body_mib, {self._settings.max_body_mib}")
            parts.append(part)
        return b"".join(parts)

    async def _connected(self) -> httpx.AsyncClient:
        if self._client is None:
            self._client = await asyncio.to_thread(_connect, self._settings)
        return self._client


def _connect(settings: HttpSettings) -> httpx.AsyncClient:
    """In a thread: the import and reading certificates take a tenth of a second, and other pools share the loop."""
    try:
        import httpx
    except ModuleNotFoundError as error:
        raise SchedulerError(_MISSING) from error
    verify: ssl.SSLContext | bool = any(
        url and url.startswith("https://") for url in (settings.url, settings.drain_url)
    )
    if settings.ca_file is not None:
        try:
            verify = ssl.create_default_context(cafile=settings.ca_file)
        except (OSError, ssl.SSLError) as error:
            raise SchedulerError(f"the authority's certificate {settings.ca_file} cannot be used: {error}") from error
    # A proxy of the environment is not for what the file names, and neither are its passwords.
    return httpx.AsyncClient(timeout=settings.timeout, verify=verify, trust_env=False)


def _said(body: bytes) -> str:
    """The first words of an answer that is none, for people."""
    text = one_line(body[:300].decode("utf-8", "replace"), 150)
    return f": {text}" if text else ""


plugin = SchedulerPlugin(HttpSettings, HttpScheduler)
