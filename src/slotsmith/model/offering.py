"""What a provider can launch."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from slotsmith.model.resources import Resources


@dataclass(frozen=True, slots=True)
class Offering:
    """An instance type in a zone and market; `price` is in dollars per hour, None when it is not known."""

    instance_type: str
    capacity: Resources
    zone: str = ""
    market: str = "on-demand"
    price: float | None = None

    @property
    def name(self) -> str:
        """How logs, the store and back-off tell offerings apart, e.g. `g4dn.xlarge/us-east-1a/spot`."""
        return "/".join(part for part in (self.instance_type, self.zone, self.market) if part)


@dataclass(frozen=True, slots=True)
class Shortage:
    """There was no room for an offering lately, so that until then (epoch seconds) any other one is tried first."""

    until: float
    reason: str


NO_SHORTAGES: Final[Mapping[str, Shortage]] = MappingProxyType({})
