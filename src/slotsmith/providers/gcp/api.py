"""Calls of the compute API: JSON over HTTP, each with a deadline, no retries, errors typed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from copy import copy
from typing import Any, Final

import httpx

from slotsmith.model.launch_error import ErrorKind
from slotsmith.providers.base import ProviderError
from slotsmith.providers.gcp.credentials import Credentials
from slotsmith.providers.gcp.errors import http_error
from slotsmith.text import one_line

CALL_TIMEOUT: Final = 30.0
"""Seconds for one call but `wait`."""
WAIT_TIMEOUT: Final = 150.0
"""Seconds for a call of `wait`, which Google holds for up to two minutes."""
_PAGE: Final = 500
"""Instances on a page, the most that Google gives."""
_MOST_PAGES: Final = 1000


class Api:
    """One project's compute API at an endpoint."""

    def __init__(self, endpoint: str, project: str) -> None:
        """An endpoint without TLS gets no credentials: a token must not travel in the clear."""
        self.project = project
        self._endpoint = endpoint.rstrip("/")
        self._credentials = Credentials() if self._endpoint.startswith("https://") else None
        limits = httpx.Limits(max_connections=40, max_keepalive_connections=10)
        # Reading the certificates takes longer than all else, and without TLS there is nothing to verify.
        secure = self._credentials is not None
        self._client = httpx.AsyncClient(timeout=CALL_TIMEOUT, limits=limits, verify=secure)

    def of_project(self, project: str) -> Api:
        """The same connections and credentials, for what lies in another project."""
        other = copy(self)
        other.project = project
        return other

    async def default_project(self) -> str:
        """The project that the credentials belong to; empty when they do not say."""
        if self._credentials is None:
            return ""
        await self._credentials.header()
        return self._credentials.project

    async def get(self, path: str, **query: str) -> dict[str, Any]:
        """Read one thing; `path` is relative to the project."""
        return await self._call("GET", path, query)

    async def post(self, path: str, body: Any = None, *, timeout: float = CALL_TIMEOUT, **query: str) -> dict[str, Any]:
        """Have something done."""
        return await self._call("POST", path, query, body, timeout)

    async def delete(self, path: str, **query: str) -> dict[str, Any]:
        """Have something ended."""
        return await self._call("DELETE", path, query)

    async def pages(self, path: str, **query: str) -> AsyncIterator[dict[str, Any]]:
        """Every page of a listing."""
        query["maxResults"] = str(_PAGE)
        for _ in range(_MOST_PAGES):
            page = await self.get(path, **query)
            yield page
            token = page.get("nextPageToken")
            if not token:
                return
            query["pageToken"] = token
        raise ProviderError(ErrorKind.TRANSIENT, f"a listing of more than {_MOST_PAGES} pages")

    async def close(self) -> None:
        """Let go of all connections."""
        await self._client.aclose()

    async def _call(
        self, method: str, path: str, query: Mapping[str, str], body: Any = None, timeout: float = CALL_TIMEOUT
    ) -> dict[str, Any]:
        headers = {} if self._credentials is None else {"Authorization": await self._credentials.header()}
        url = f"{self._endpoint}/projects/{self.project}{f'/{path}' if path else ''}"
        try:
            answer = await self._client.request(
                method, url, params=dict(query), json=body, headers=headers, timeout=timeout
            )
        except httpx.TimeoutException:
            raise ProviderError(ErrorKind.TRANSIENT, f"Google did not answer within {timeout:g} seconds") from None
        except (httpx.HTTPError, httpx.InvalidURL, RuntimeError) as error:
            # A client that was closed while others wait for its listing raises RuntimeError.
            text = one_line(f"cannot reach Google at {self._endpoint}: {error or type(error).__name__}", 300)
            raise ProviderError(ErrorKind.TRANSIENT, text) from error
        if answer.status_code == 401 and self._credentials is not None:
            # The token was taken back before its time; the next call asks for a new one.
            self._credentials.forget()
        return _read(answer)


def _read(answer: httpx.Response) -> dict[str, Any]:
    try:
        content = answer.json()
    except ValueError:
        content = None
    if answer.is_success and isinstance(content, dict):
        return content
    if answer.is_success:
        raise ProviderError(ErrorKind.TRANSIENT, f"Google's answer ({answer.status_code}) is no JSON object")
    raise http_error(answer.status_code, content)
