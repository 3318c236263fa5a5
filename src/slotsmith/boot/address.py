"""Where agents find their scheduler: its address as the settings say it, and the aliases for hosts in a cloud."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final
from urllib.parse import urlsplit

EC2_ALIASES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "local-ipv4": "local-ipv4",
        "public-ipv4": "public-ipv4",
        "local-hostname": "local-hostname",
        "public-hostname": "public-hostname",
        "ipv6": "ipv6",
        "": "local-ipv4",
    }
)
"""Host aliases that stand for this machine on EC2, and the entry of its metadata that has the real one."""

GCE_ALIASES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "internal-ip": "instance/network-interfaces/0/ip",
        "external-ip": "instance/network-interfaces/0/access-configs/0/external-ip",
        "": "instance/network-interfaces/0/ip",
    }
)
"""The same for GCE."""

DEFAULT_PORTS: Final[Mapping[str, int]] = MappingProxyType({"http": 8080, "https": 8443, "tcp": 8786, "tls": 8786})
"""By scheme: Determined's two, and Dask's."""

_ENCRYPTED = frozenset({"https", "tls"})
_HOST = re.compile(r"[A-Za-z0-9._:%-]*")


class AddressError(ValueError):
    """The address cannot be used; the text says why."""


@dataclass(frozen=True, slots=True)
class Address:
    """`host` is bare: an IPv6 address has no brackets here, and gets them where it is written into a URL."""

    scheme: str
    host: str
    port: int

    @property
    def encrypted(self) -> bool:
        """Whether agents must speak TLS. That follows from the scheme alone: a certificate says whom to trust."""
        return self.scheme in _ENCRYPTED

    @property
    def url(self) -> str:
        """The address as a URL, an IPv6 host in brackets."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


def parse_address(text: str, default_scheme: str = "http") -> Address:
    """Read `scheme://host:port`, of which only the host must be there; an empty text is the alias "".

    Raises:
        AddressError: not an address, an unknown scheme, or something that does not belong (user, path, query).
    """
    whole = text if "://" in text else f"{default_scheme}://{text}"
    try:
        parts = urlsplit(whole)
        port = parts.port
    except ValueError as error:
        raise AddressError(f"{text!r} is not an address: {error}") from None
    if parts.scheme not in DEFAULT_PORTS:
        raise AddressError(f"{text!r} has an unknown scheme, expected one of: {', '.join(sorted(DEFAULT_PORTS))}")
    if parts.username or parts.password or parts.query or parts.fragment or parts.path not in ("", "/"):
        raise AddressError(f"{text!r} has more than a scheme, a host and a port")
    host = parts.hostname or ""
    if not _HOST.fullmatch(host) or port == 0:
        raise AddressError(f"{text!r} is not an address")
    return Address(parts.scheme, host, port or DEFAULT_PORTS[parts.scheme])
