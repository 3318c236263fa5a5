"""What the server for tests does wrong when it is told to, and what it was asked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal["error", "cut", "hang", "lose"]


class Ec2Error(Exception):
    """An error as EC2 answers it."""

    def __init__(self, code: str, message: str = "", status: int = 400) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message or code
        self.status = status


STATUS = {
    "InsufficientInstanceCapacity": 500,
    "InsufficientHostCapacity": 500,
    "InternalError": 500,
    "RequestLimitExceeded": 503,
    "Unavailable": 503,
    "UnauthorizedOperation": 403,
    "AuthFailure": 401,
    "DryRunOperation": 412,
}
"""The codes that do not come with 400."""


@dataclass
class Fault:
    """The next `count` calls of `operation` ("" = any) go wrong.

    `error` answers `code` and does nothing; `cut` closes the connection before anything is done; `hang` answers
    nothing until the client goes; `lose` does what was asked and then closes the connection.
    """

    kind: Kind
    operation: str = ""
    code: str = ""
    count: int = 1
    message: str = ""

    def takes(self, operation: str) -> bool:
        return self.count > 0 and self.operation in ("", operation)


@dataclass
class Journal:
    """The calls, in order, and what is to go wrong with the next ones."""

    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    watch: Callable[[str, str], None] | None = None
    """Called with the operation and `before` or `after`, in the thread of the call."""

    def fault(self, kind: Kind, operation: str = "", code: str = "", count: int = 1, message: str = "") -> None:
        self.faults.append(Fault(kind, operation, code, count, message))

    def next_fault(self, operation: str) -> Fault | None:
        found = next((each for each in self.faults if each.takes(operation)), None)
        if found is not None:
            found.count -= 1
        return found

    @property
    def counts(self) -> Counter[str]:
        return Counter(name for name, _ in self.calls)

    def told(self, operation: str) -> list[dict[str, Any]]:
        """The parameters of each call of an operation."""
        return [params for name, params in self.calls if name == operation]
