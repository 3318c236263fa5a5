"""What a provider can launch."""

from dataclasses import dataclass

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
