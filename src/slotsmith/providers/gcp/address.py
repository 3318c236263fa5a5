"""The scheduler's address as instances must know it: aliases for the daemon's own machine filled in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal

from slotsmith.boot import Address, AddressError, parse_address
from slotsmith.boot.address import EC2_ALIASES, GCE_ALIASES

_ALIASES: Final = {"gce": GCE_ALIASES, "ec2": EC2_ALIASES}


def alias_entry(address: Address, cloud: Literal["gce", "ec2"] | None) -> str | None:
    """The entry of this machine's metadata that the host stands for; None = the host is meant as it is.

    Raises:
        AddressError: there is no host, or an alias that means nothing where this machine is.
    """
    entry = _ALIASES[cloud].get(address.host) if cloud else None
    if entry is None and not address.host:
        raise AddressError("the scheduler's address has no host, and this machine is in no cloud that would tell it")
    if entry is None and any(address.host in aliases for aliases in _ALIASES.values()):
        raise AddressError(f"{address.host!r} stands for this machine's address only where that cloud's metadata is")
    return entry


def resolve(text: str, cloud: Literal["gce", "ec2"] | None, metadata: Callable[[str], str | None]) -> Address:
    """The address that `text` means on a machine in `cloud` (None = in neither); `metadata` reads an entry.

    Raises:
        AddressError: it is no address, or an alias that cannot be filled in.
    """
    address = parse_address(text)
    entry = alias_entry(address, cloud)
    if entry is None:
        return address
    host = metadata(entry)
    if not host:
        raise AddressError(f"{address.host!r} is an address that this machine does not have")
    return Address(address.scheme, host, address.port)
