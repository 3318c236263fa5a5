"""What this machine is told about itself when it is an EC2 instance: for its region, and for aliases of addresses."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Final
from urllib.error import URLError
from urllib.request import Request, urlopen

from slotsmith.boot import Address
from slotsmith.boot.address import EC2_ALIASES
from slotsmith.model.launch_error import ErrorKind
from slotsmith.providers.base import ProviderError

Look = Callable[[str], str | None]
"""The entry of the metadata under a path; None = there is none, or no such service."""

_TIMEOUT: Final = 1.0
"""Seconds. The service is on the same host; elsewhere nothing answers."""


def look_up(path: str) -> str | None:
    """Ask the metadata service (IMDSv2). Blocks for up to two seconds."""
    base = os.environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://169.254.169.254").rstrip("/")
    if os.environ.get("AWS_EC2_METADATA_DISABLED", "").lower() == "true" or not base.startswith("http"):
        return None
    try:
        token = _ask(f"{base}/latest/api/token", "PUT", {"X-aws-ec2-metadata-token-ttl-seconds": "60"})
        return _ask(f"{base}/latest/meta-data/{path}", "GET", {"X-aws-ec2-metadata-token": token}) or None
    except (URLError, OSError, ValueError):
        return None


def _ask(url: str, method: str, headers: dict[str, str]) -> str:
    request = Request(url, method=method, headers=headers)  # noqa: S310 - http on the link-local address
    with urlopen(request, timeout=_TIMEOUT) as answer:  # noqa: S310
        return str(answer.read().decode())


def resolve(address: Address, look: Look) -> Address:
    """The address with a host that agents can reach: an alias stands for this machine.

    Raises:
        ProviderError: there is no host, or an alias for it, and this machine is no EC2 instance (INVALID).
    """
    entry = EC2_ALIASES.get(address.host)
    if entry is None:
        return address
    host = look(entry)
    if not host:
        what = f"{address.host!r} stands for an EC2 instance's own address" if address.host else "it names no host"
        text = f"agent.scheduler: {what}, and this machine is none; give the scheduler's host"
        raise ProviderError(ErrorKind.INVALID, text)
    return Address(address.scheme, host, address.port)
