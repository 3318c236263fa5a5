"""Token buckets as EC2 has them, kept on our side, so that we are not the ones who get the account throttled.

Figures: EC2 Developer Guide, "Request throttling for the Amazon EC2 API"; they hold for each account and region. Others
use the same account, so ours are no promise that EC2 never throttles, and a throttled call is told as such.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import Final


@dataclass(slots=True)
class Bucket:
    """`size` tokens at most, `rate` more each second."""

    size: float
    rate: float
    left: float
    at: float = 0.0

    def wait(self, amount: float, now: float) -> float:
        """Seconds until `amount` tokens are there (more than the bucket holds: until it is full)."""
        self._fill(now)
        return max(0.0, (min(amount, self.size) - self.left) / self.rate)

    def take(self, amount: float, now: float) -> None:
        """Take them, below zero if need be, so that the next one waits for what this one took."""
        self._fill(now)
        self.left -= amount

    def _fill(self, now: float) -> None:
        self.left = min(self.size, self.left + max(0.0, now - self.at) * self.rate)
        self.at = max(self.at, now)


_REQUESTS: Final = MappingProxyType(
    {
        "Describe": (100.0, 20.0),
        "RunInstances": (5.0, 2.0),
        "CreateFleet": (5.0, 2.0),
        "RequestSpotInstances": (5.0, 2.0),
        "TerminateInstances": (100.0, 5.0),
        "CreateTags": (100.0, 10.0),
        "": (50.0, 5.0),
    }
)
"""Requests: size and refill for each second, by operation; Describe calls are all filtered or paginated."""

_INSTANCES: Final = MappingProxyType({"launch": (1000.0, 2.0), "end": (1000.0, 20.0)})
"""Instances started and terminated."""

_OF_INSTANCES: Final = MappingProxyType(
    {"RunInstances": "launch", "CreateFleet": "launch", "RequestSpotInstances": "launch", "TerminateInstances": "end"}
)


class Buckets:
    """The buckets of one account and region."""

    def __init__(self) -> None:
        self._requests = {name: Bucket(size, rate, size) for name, (size, rate) in _REQUESTS.items()}
        self._instances = {name: Bucket(size, rate, size) for name, (size, rate) in _INSTANCES.items()}

    def wait(self, operation: str, instances: int, now: float) -> float:
        """Seconds until this call should be made."""
        return max(bucket.wait(amount, now) for bucket, amount in self._of(operation, instances))

    def take(self, operation: str, instances: int, now: float) -> None:
        """It is made now."""
        for bucket, amount in self._of(operation, instances):
            bucket.take(amount, now)

    def empty(self, operation: str, now: float) -> None:
        """EC2 has said that it is empty: others took from it too."""
        bucket = self._of(operation, 0)[0][0]
        bucket.take(max(0.0, bucket.left), now)

    def _of(self, operation: str, instances: int) -> list[tuple[Bucket, float]]:
        family = "Describe" if operation.startswith("Describe") else operation
        needed = [(self._requests.get(family) or self._requests[""], 1.0)]
        if instances and operation in _OF_INSTANCES:
            needed.append((self._instances[_OF_INSTANCES[operation]], float(instances)))
        return needed
