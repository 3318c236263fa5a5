"""Who we are to Google: the ordinary chain of application default credentials, asked in a thread."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

import google.auth
import google.auth.exceptions
import google.auth.transport
import httpx

from slotsmith.model.launch_error import ErrorKind
from slotsmith.providers.base import ProviderError
from slotsmith.text import one_line

_SCOPES: Final = ("https://www.googleapis.com/auth/compute",)
_TIMEOUT: Final = 10.0
"""Seconds for one question to the metadata server or to Google's token service."""


class Credentials:
    """Gives the header of each call, and a new token when the old one is about to expire."""

    def __init__(self) -> None:
        self._credentials: Any = None
        self._lock = asyncio.Lock()
        self.project = ""

    async def header(self) -> str:
        """The value of `Authorization`.

        Raises:
            ProviderError: there are no credentials (denied), or Google cannot be asked (transient).
        """
        async with self._lock:
            if self._credentials is None or not self._credentials.valid:
                await asyncio.to_thread(self._refresh)
            return f"Bearer {self._credentials.token}"

    def forget(self) -> None:
        """What was found is no longer good."""
        self._credentials = None

    def _refresh(self) -> None:
        try:
            if self._credentials is None:
                self._credentials, project = google.auth.default(scopes=_SCOPES)
                self.project = project or ""
            self._credentials.refresh(_Request())
        except google.auth.exceptions.TransportError as error:
            raise ProviderError(ErrorKind.TRANSIENT, one_line(f"no token from Google: {error}", 300)) from error
        except google.auth.exceptions.GoogleAuthError as error:
            text = f"no credentials for Google: {error}; see `gcloud auth application-default login`"
            raise ProviderError(ErrorKind.DENIED, one_line(text, 300)) from error


class _Response(google.auth.transport.Response):
    def __init__(self, answer: httpx.Response) -> None:
        self._answer = answer

    @property
    def status(self) -> int:
        return self._answer.status_code

    @property
    def headers(self) -> Mapping[str, str]:
        return self._answer.headers

    @property
    def data(self) -> bytes:
        return self._answer.content


class _Request(google.auth.transport.Request):
    """How google-auth makes its calls, without another HTTP client."""

    def __call__(
        self,
        url: str,
        method: str = "GET",
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
        **_more: Any,
    ) -> _Response:
        try:
            return _Response(httpx.request(method, url, content=body, headers=headers, timeout=timeout or _TIMEOUT))
        except httpx.HTTPError as error:
            raise google.auth.exceptions.TransportError(error) from error  # type: ignore[no-untyped-call]
