"""What this machine's metadata server says, when it is a machine of Google's."""

from __future__ import annotations

import os
from typing import Final

import httpx

_TIMEOUT: Final = 3.0
"""Seconds. The server is on the same host; elsewhere its name does not resolve, or nobody answers."""


class Metadata:
    """Entries by their path, such as `instance/zone`."""

    def __init__(self) -> None:
        host = os.environ.get("GCE_METADATA_HOST", "metadata.google.internal")
        self._url = f"http://{host}/computeMetadata/v1/"

    async def get(self, entry: str) -> str | None:
        """The entry's text; None = there is none, or no such server."""
        try:
            # Plain HTTP within the host, so there are no certificates to read.
            async with httpx.AsyncClient(timeout=_TIMEOUT, trust_env=False, verify=False) as client:  # noqa: S501
                answer = await client.get(self._url + entry, headers={"Metadata-Flavor": "Google"})
        except httpx.HTTPError:
            return None
        genuine = answer.status_code == 200 and answer.headers.get("Metadata-Flavor") == "Google"
        return answer.text.strip() if genuine else None

    async def is_google(self) -> bool:
        """Whether this machine is one of Google's."""
        return await self.get("") is not None
