"""What a test may let go wrong in the GCE of the tests."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field


class ApiError(Exception):
    """An answer with an error, as Google writes it."""

    def __init__(self, status: int, reason: str, message: str = "", domain: str = "global") -> None:
        super().__init__(message or reason)
        self.status = status
        self.reason = reason
        self.message = message or reason
        self.domain = domain

    def body(self) -> dict[str, object]:
        error = {"message": self.message, "domain": self.domain, "reason": self.reason}
        return {"error": {"code": self.status, "message": self.message, "errors": [error]}}


RATE = ApiError(403, "rateLimitExceeded", "Rate Limit Exceeded", "usageLimits")
BACKEND = ApiError(503, "backendError", "Backend error")
STOCK_OUT = ApiError(
    503, "resourcesExhausted", "ZONE_RESOURCE_POOL_EXHAUSTED: the zone does not have enough resources available"
)
QUOTA = ApiError(403, "quotaExceeded", "Quota 'GPUS_ALL_REGIONS' exceeded. Limit: 0.0 globally.", "usageLimits")
FORBIDDEN = ApiError(403, "forbidden", "Required 'compute.instances.create' permission")


@dataclass
class Gate:
    """Holds requests until it is opened; `reached` says that one is there."""

    reached: threading.Event = field(default_factory=threading.Event)
    opened: threading.Event = field(default_factory=threading.Event)


@dataclass
class Fault:
    """Strikes the next `times` calls of a method (`*` = any): before it is done, or after.

    `error` is answered instead; `lost` cuts the connection without an answer; `gate` holds the call; `act` is called.
    The first `skip` calls are let through.
    """

    method: str
    error: ApiError | None = None
    lost: bool = False
    gate: Gate | None = None
    act: Callable[[], None] | None = None
    after: bool = False
    times: int = 1
    skip: int = 0


class Faults:
    """Those that are still to strike, in order; each call meets the first that fits."""

    def __init__(self) -> None:
        self._waiting: deque[Fault] = deque()
        self._lock = threading.Lock()

    def add(self, *faults: Fault) -> None:
        with self._lock:
            self._waiting.extend(faults)

    def clear(self) -> None:
        """None is to strike any more."""
        with self._lock:
            self._waiting.clear()

    def take(self, method: str, *, after: bool) -> Fault | None:
        with self._lock:
            for fault in self._waiting:
                if fault.after == after and fault.method in ("*", method):
                    if fault.skip:
                        fault.skip -= 1
                        continue
                    fault.times -= 1
                    if fault.times == 0:
                        self._waiting.remove(fault)
                    return fault
        return None


@dataclass(frozen=True)
class OperationFault:
    """How the next bulk insert ends: `code` in the operation, after `created` of the instances."""

    code: str
    created: int = 0
    message: str = "it is a test"
