"""Operations as data: what one of Google's long-running operations says of itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from slotsmith.providers.base import ProviderError
from slotsmith.providers.gcp.errors import ALREADY_EXISTS, operation_error


@dataclass(frozen=True, slots=True)
class Operation:
    """One look at an operation.

    `created` is how many machines it made and kept, None when it does not say. An unknown `status` is one that goes on.
    """

    name: str
    scope: str
    status: str
    error: ProviderError | None = None
    names_taken: bool = False
    created: int | None = None

    @property
    def done(self) -> bool:
        """Whether nothing more comes of it."""
        return self.status == "DONE"


def read_operation(body: Mapping[str, Any]) -> Operation:
    """An `Operation` of the API. Its scope is `zones/NAME` or `regions/NAME`."""
    scope = "zones" if "zone" in body else "regions"
    place = str(body.get("zone") or body.get("region") or "").rpartition("/")[2]
    failures = [each for each in _mapping(body.get("error")).get("errors") or () if isinstance(each, Mapping)]
    warnings = [each for each in body.get("warnings") or () if isinstance(each, Mapping)]
    told = failures or [each for each in warnings if each.get("code")]
    return Operation(
        name=str(body.get("name", "")),
        scope=f"{scope}/{place}",
        status=str(body.get("status", "")),
        error=operation_error(told) if told else None,
        names_taken=any(each.get("code") in ALREADY_EXISTS for each in failures),
        created=_created(body),
    )


def _created(body: Mapping[str, Any]) -> int | None:
    places = _mapping(_mapping(body.get("instancesBulkInsertOperationMetadata")).get("perLocationStatus"))
    if not places:
        return None
    counts = (_mapping(place) for place in places.values())
    return sum(int(each.get("createdVmCount", 0)) - int(each.get("deletedVmCount", 0)) for each in counts)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
