"""What a pool offers: each offering, with the places in which its instances may come up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from slotsmith.model.offering import NO_SHORTAGES, Offering, Shortage
from slotsmith.model.resources import Resources
from slotsmith.providers.aws.catalogue import Catalogue, TypeInfo
from slotsmith.providers.aws.memory import CapacityMemory, Place
from slotsmith.providers.aws.settings import AwsSettings

ANY_TYPE = "any"
"""The type of an offering whose instances may be of several; its capacity is what each of them has at least."""


@dataclass(frozen=True, slots=True)
class Choice:
    """An offering, and where it may be launched: one place, or several among which EC2 chooses."""

    offering: Offering
    places: tuple[Place, ...]


def choices(settings: AwsSettings, catalogue: Catalogue) -> list[Choice]:
    """What is on offer: by price, and among equals by market, type and zone as they are given.

    A pool chooses among several offerings by what they cost; so one without a known price is left out, unless none has
    one.
    """
    made = [
        choice
        for market in settings.effective_markets
        for choice in _of_market(settings, catalogue, market)
        if choice.places
    ]
    made.sort(key=lambda choice: choice.offering.price or 0.0)
    return [choice for choice in made if choice.offering.price] or made


def _of_market(settings: AwsSettings, catalogue: Catalogue, market: str) -> list[Choice]:
    types = [info for info in catalogue.types.values() if market != "spot" or info.spot]
    if settings.spread == "types":
        places = tuple(Place(info.name, zone, market) for info in types for zone in catalogue.zones[info.name])
        if not places:
            return []
        capacity = _least([_capacity(info, settings) for info in types])
        prices = [catalogue.price(place.instance_type, place.zone, market) for place in places]
        known = [price for price in prices if price is not None]
        return [Choice(Offering(ANY_TYPE, capacity, "", market, max(known, default=None)), places)]
    made = []
    for info in types:
        zones = catalogue.zones[info.name]
        for group in [zones] if settings.spread == "zones" else [(zone,) for zone in zones]:
            zone = group[0] if settings.spread == "each" else ""
            price = catalogue.price(info.name, zone, market)
            offering = Offering(info.name, _capacity(info, settings), zone, market, price)
            made.append(Choice(offering, tuple(Place(info.name, each, market) for each in group)))
    return made


def _capacity(info: TypeInfo, settings: AwsSettings) -> Resources:
    return Resources(info.slots(settings), float(info.cpus), info.mem_gib)


def _least(capacities: Sequence[Resources]) -> Resources:
    return Resources(
        min(each.slots for each in capacities),
        min(each.cpus for each in capacities),
        min(each.mem_gib for each in capacities),
    )


def capacities(settings: AwsSettings, catalogue: Catalogue) -> Mapping[str, Resources]:
    """What an instance of each type has."""
    return {info.name: _capacity(info, settings) for info in catalogue.types.values()}


def shortages(made: Sequence[Choice], memory: CapacityMemory, now: float) -> Mapping[str, Shortage]:
    """The choices, by name, of which no place has had room lately; until the first of them may have some again."""
    if not memory:
        return NO_SHORTAGES
    memory.forget(now)
    found = {}
    for choice in made:
        blocks = [memory.block(place, now) for place in choice.places]
        soonest = min((each for each in blocks if each is not None), key=lambda each: each.until, default=None)
        if soonest is not None and None not in blocks:
            found[choice.offering.name] = Shortage(soonest.until, soonest.reason)
    return found
