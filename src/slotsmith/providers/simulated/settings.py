"""The `provider:` block of a pool whose cloud is simulated."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from slotsmith.model.offering import Offering
from slotsmith.model.resources import Resources
from slotsmith.providers.base import ProviderSettings
from slotsmith.settings import Duration, PositiveDuration

_Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class SimulatedType(BaseModel):
    """One thing that can be launched: an instance type, in a zone and a market if that matters.

    `cpus` are cores, `mem_gib` is in GiB, `price_per_hour` in dollars (None: not known).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(min_length=1)]
    slots: Annotated[int, Field(ge=0)] = 1
    cpus: _Amount = 0.0
    mem_gib: _Amount = 0.0
    price_per_hour: _Amount | None = None
    zone: str = ""
    market: Literal["on-demand", "spot"] = "on-demand"

    @property
    def offering(self) -> Offering:
        """What a launch request names."""
        capacity = Resources(self.slots, self.cpus, self.mem_gib)
        return Offering(self.name, capacity, self.zone, self.market, self.price_per_hour)


class SimulatedSettings(ProviderSettings):
    """A cloud that exists only in this process.

    An instance runs `boot_time` after it was launched, and its agent is connected `join_time` later. `latency` is how
    long a call takes, there and back. Each instance is paid for by the second, and for at least `min_billing`. `seed`
    is where all chance comes from. The pool launches whichever of `instance_types` are cheapest for its tasks.
    """

    type: Literal["simulated"]
    instance_types: Annotated[tuple[SimulatedType, ...], Field(min_length=1)]
    boot_time: Duration = 180.0
    join_time: Duration = 10.0
    poll_period: PositiveDuration = 60.0
    consistency_window: Duration = 0.0
    token_lifetime: PositiveDuration = 86_400.0
    min_billing: Duration = 60.0
    latency: Duration = 0.0
    seed: int = 0

    @field_validator("instance_types")
    @classmethod
    def _check_names(cls, types: tuple[SimulatedType, ...]) -> tuple[SimulatedType, ...]:
        names = [each.offering.name for each in types]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"{twice} stands twice, expected each type, zone and market once")
        unpriced = next((each.offering.name for each in types if len(types) > 1 and not each.price_per_hour), None)
        if unpriced is not None:
            raise ValueError(f"{unpriced} has no price_per_hour of more than 0, by which the cheapest is chosen")
        return types

    @property
    def largest(self) -> Offering:
        """The one with the most slots; of equals the first."""
        return max(self.offerings, key=lambda each: (each.capacity.slots, each.capacity.cpus, each.capacity.mem_gib))

    @property
    def offerings(self) -> tuple[Offering, ...]:
        """What can be launched; the first is what a pool is counted in where one number must do."""
        return tuple(each.offering for each in self.instance_types)
