"""The GCE of the tests: instances and operations that take time, in one process and in real time."""

from __future__ import annotations

import itertools
import re
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from heapq import heappop, heappush
from typing import Any

from providers.gcp.gce_faults import ApiError, OperationFault

BASE = "https://www.googleapis.com/compute/v1"
MACHINES = {
    "n1-standard-8": (8, 30720, None),
    "n1-standard-32": (32, 122880, None),
    "e2-standard-4": (4, 16384, None),
    "a2-highgpu-1g": (12, 87040, ("nvidia-tesla-a100", 1)),
}
ACCELERATORS = {"nvidia-tesla-t4": 4, "nvidia-tesla-a100": 16}
ZONES = ("us-central1-a", "us-central1-b", "us-central1-c")
_TERM = re.compile(r'\(?\s*([A-Za-z][\w.-]*)\s*(!?=)\s*"?([^"()]*)"?\s*\)?')


@dataclass
class Operation:
    """A long-running one; `done` is set when it ends, in which `error` may be."""

    name: str
    kind: str
    scope: str
    target: str
    request_id: str
    inserted: float
    status: str = "PENDING"
    errors: list[dict[str, Any]] = field(default_factory=list)
    progress: dict[str, dict[str, Any]] | None = None
    done: threading.Event = field(default_factory=threading.Event)


@dataclass
class Machine:
    """An instance as the API lists it, without its status."""

    name: str
    zone: str
    body: dict[str, Any]
    created: float
    status: str = "PROVISIONING"


class Cloud:
    """All methods are called with the lock held, by the server."""

    def __init__(self, project: str = "proj", *, operation_time: float = 0.02, boot_time: float = 0.02) -> None:
        self.project = project
        self.operation_time = operation_time
        self.boot_time = boot_time
        self.page_size = 500
        self.machines: dict[tuple[str, str], Machine] = {}
        self.operations: dict[str, Operation] = {}
        self.calls: Counter[str] = Counter()
        self.room: dict[str, int] = {}
        """How many more instances a zone has room for; a zone that is not here has room for all."""
        self.operation_faults: list[OperationFault] = []
        self.tells_progress = True
        self.listing_lag = 0.0
        self.unreachable: list[str] = []
        self.created_ever: list[str] = []
        self._ids = itertools.count(10**15)
        self._events: list[tuple[float, int, Callable[[], None]]] = []

    def tick(self) -> None:
        """Let happen what is due."""
        while self._events and self._events[0][0] <= time.monotonic():
            heappop(self._events)[2]()

    def later(self, seconds: float, act: Callable[[], None]) -> None:
        heappush(self._events, (time.monotonic() + seconds, next(self._ids), act))

    def preempt(self, name: str) -> None:
        """The cloud takes a spot machine back: it stops, and an operation says so."""
        machine = next(each for each in self.machines.values() if each.name == name)
        operation = self._operation("compute.instances.preempted", f"zones/{machine.zone}", self.link(machine), "")
        machine.status = "STOPPING"

        def end() -> None:
            machine.status = "TERMINATED"
            self._end(operation)

        self.later(self.operation_time, end)

    def link(self, machine: Machine) -> str:
        return f"{BASE}/projects/{self.project}/zones/{machine.zone}/instances/{machine.name}"

    # Launching

    def bulk_insert(self, scope: str, body: dict[str, Any], request_id: str) -> Operation:
        """Of a zone or a region, by its scope `zones/…` or `regions/…`."""
        known = self._by_request(request_id, "bulkInsert")
        if known is not None:
            return known
        count = int(body["count"])
        names = list(body.get("perInstanceProperties", {}))
        if not 0 < count <= 1000 or len(names) != count:
            raise ApiError(400, "invalid", "perInstanceProperties must name as many instances as count says")
        self._check_properties(body["instanceProperties"])
        operation = self._operation("bulkInsert", scope, f"{BASE}/projects/{self.project}/{scope}", request_id)
        operation.progress = {}
        fault = self.operation_faults.pop(0) if self.operation_faults else None

        def work() -> None:
            operation.status = "RUNNING"
            made, why = self._make(operation, scope, body, names, fault)
            short = count - len(made)
            minimum = int(body.get("minCount", count))
            if len(made) < minimum:
                self.later(self.operation_time / 2, lambda: self._roll_back(operation, made, why))
            else:
                errors = [why] if short and why else []
                self.later(self.operation_time / 2, lambda: self._end(operation, errors))

        self.later(self.operation_time / 2, work)
        return operation

    def _make(
        self, operation: Operation, scope: str, body: dict[str, Any], names: list[str], fault: OperationFault | None
    ) -> tuple[list[Machine], dict[str, Any] | None]:
        made: list[Machine] = []
        why: dict[str, Any] | None = None
        for name in names:
            zone, kind = self._place(scope, body)
            if any(machine.name == name for machine in self.machines.values()):
                why = _error("RESOURCE_ALREADY_EXISTS", f"The resource '{name}' already exists")
            elif fault is not None and len(made) >= fault.created:
                why = _error(fault.code, fault.message)
            elif zone is None:
                why = _error("ZONE_RESOURCE_POOL_EXHAUSTED", f"The zone '{scope}' does not have enough resources")
            else:
                made.append(self._boot(name, zone, kind, body["instanceProperties"]))
                continue
            break
        self._count(operation, scope, names, made)
        return made, why

    def _count(self, operation: Operation, scope: str, names: list[str], made: list[Machine]) -> None:
        zones = Counter(machine.zone for machine in made)
        missing = len(names) - len(made)
        first = scope.removeprefix("zones/") if scope.startswith("zones/") else ZONES[0]
        for zone in zones.keys() | {first}:
            failed = missing if zone == first else 0
            status = {"targetVmCount": zones[zone] + failed, "createdVmCount": zones[zone], "status": "CREATING"}
            assert operation.progress is not None
            operation.progress[f"zones/{zone}"] = {**status, "failedToCreateVmCount": failed, "deletedVmCount": 0}

    def _place(self, scope: str, body: dict[str, Any]) -> tuple[str | None, str]:
        kind = body["instanceProperties"].get("machineType", "")
        choices = body.get("instanceFlexibilityPolicy", {}).get("instanceSelections", {})
        kinds = [k for choice in choices.values() for k in choice["machineTypes"]] or [kind]
        if scope.startswith("zones/"):
            zones = [scope.removeprefix("zones/")]
        else:
            policy = body.get("locationPolicy", {}).get("locations", {})
            # What is not named is allowed.
            zones = [zone for zone in ZONES if policy.get(f"zones/{zone}", {}).get("preference") != "DENY"]
        for each in kinds:
            for zone in zones:
                room = self.room.get(f"{zone}/{each}", self.room.get(zone, 1))
                if room > 0:
                    for key in (zone, f"{zone}/{each}"):
                        if key in self.room:
                            self.room[key] -= 1
                    return zone, each
        return None, kind

    def _boot(self, name: str, zone: str, kind: str, properties: dict[str, Any]) -> Machine:
        kept = ("labels", "scheduling", "metadata", "tags", "serviceAccounts", "disks", "guestAccelerators")
        body = {key: properties[key] for key in kept if key in properties}
        body |= {
            "kind": "compute#instance",
            "id": str(next(self._ids)),
            "name": name,
            "zone": f"{BASE}/projects/{self.project}/zones/{zone}",
            "machineType": f"{BASE}/projects/{self.project}/zones/{zone}/machineTypes/{kind}",
            "creationTimestamp": datetime.now(UTC).isoformat(timespec="milliseconds"),
        }
        machine = Machine(name, zone, body, time.monotonic())
        self.machines[zone, name] = machine
        self.created_ever.append(name)
        self.later(self.boot_time / 2, lambda: self._move(machine, "PROVISIONING", "STAGING"))
        self.later(self.boot_time, lambda: self._move(machine, "STAGING", "RUNNING"))
        return machine

    def _move(self, machine: Machine, before: str, after: str) -> None:
        if machine.status == before:
            machine.status = after

    def _roll_back(self, operation: Operation, made: list[Machine], why: dict[str, Any] | None) -> None:
        for machine in made:
            self.machines.pop((machine.zone, machine.name), None)
        for status in (operation.progress or {}).values():
            status["deletedVmCount"] = status["createdVmCount"]
        self._end(operation, [why] if why else [])

    def _check_properties(self, properties: dict[str, Any]) -> None:
        keys = [item["key"] for item in properties.get("metadata", {}).get("items", [])]
        if len(set(keys)) < len(keys):
            raise ApiError(400, "invalid", "Metadata has duplicate keys")
        if len(properties.get("serviceAccounts", [])) > 1:
            raise ApiError(400, "invalid", "At most one service account can be specified")
        for key, value in properties.get("labels", {}).items():
            if not re.fullmatch(r"[a-z][a-z0-9_-]{0,62}", key) or not re.fullmatch(r"[a-z0-9_-]{0,63}", value):
                raise ApiError(400, "invalid", f"Label value '{key}={value}' violates format constraints")

    # Ending

    def delete(self, zone: str, name: str, request_id: str) -> Operation:
        known = self._by_request(request_id, "delete")
        if known is not None:
            return known
        machine = self.machines.get((zone, name))
        if machine is None:
            raise ApiError(
                404, "notFound", f"The resource 'projects/{self.project}/zones/{zone}/instances/{name}' was not found"
            )
        operation = self._operation("delete", f"zones/{zone}", self.link(machine), request_id)
        machine.status = "STOPPING"

        def work() -> None:
            self.machines.pop((zone, name), None)
            self._end(operation)

        self.later(self.operation_time, work)
        return operation

    # Operations

    def _operation(self, kind: str, scope: str, target: str, request_id: str) -> Operation:
        name = f"operation-{next(self._ids)}"
        operation = Operation(name, kind, scope, target, request_id, time.time())
        self.operations[name] = operation
        return operation

    def _by_request(self, request_id: str, kind: str) -> Operation | None:
        if not request_id:
            return None
        found = (each for each in self.operations.values() if (each.request_id, each.kind) == (request_id, kind))
        return next(found, None)

    def _end(self, operation: Operation, errors: list[dict[str, Any]] | None = None) -> None:
        operation.errors = errors or []
        operation.status = "DONE"
        for status in (operation.progress or {}).values():
            status["status"] = "DONE"
        operation.done.set()

    def operation_body(self, operation: Operation) -> dict[str, Any]:
        scope, _, place = operation.scope.partition("/")
        body: dict[str, Any] = {
            "kind": "compute#operation",
            "name": operation.name,
            "operationType": operation.kind,
            "status": operation.status,
            "targetLink": operation.target,
            "insertTime": datetime.fromtimestamp(operation.inserted, UTC).isoformat(),
            "progress": 100 if operation.status == "DONE" else 0,
            scope.removesuffix("s"): f"{BASE}/projects/{self.project}/{scope}/{place}",
        }
        if operation.request_id:
            body["clientOperationId"] = operation.request_id
        if operation.errors:
            body["error"] = {"errors": operation.errors}
            body["httpErrorStatusCode"] = 503
        if operation.progress is not None and self.tells_progress:
            body["instancesBulkInsertOperationMetadata"] = {"perLocationStatus": operation.progress}
        return body

    # Reading

    def instances(self, zone: str | None, query: dict[str, str]) -> list[dict[str, Any]]:
        """Those of a zone (None = all) that a filter lets through and a listing already shows."""
        seen = time.monotonic() - self.listing_lag
        bodies = [
            {**machine.body, "status": machine.status}
            for machine in self.machines.values()
            if zone in (None, machine.zone) and machine.created <= seen
        ]
        return filtered(bodies, query.get("filter", ""))

    def page(self, items: list[Any], query: dict[str, str]) -> tuple[list[Any], dict[str, str]]:
        """One page, and the field that names the next one."""
        token = query.get("pageToken", "0")
        if not token.isdigit():
            raise ApiError(400, "invalid", "Invalid value for field 'pageToken'")
        size = min(self.page_size, int(query.get("maxResults", 500)))
        start = int(token)
        more = {"nextPageToken": str(start + size)} if start + size < len(items) else {}
        return items[start : start + size], more


def filtered(bodies: list[dict[str, Any]], text: str) -> list[dict[str, Any]]:
    """The bodies that a filter of `field = "value"` terms, joined by AND, lets through."""
    terms = [part for part in re.split(r"\s+AND\s+", text) if part]
    for term in terms:
        match = _TERM.fullmatch(term)
        if match is None:
            raise ApiError(
                400, "invalid", f"Invalid value for field 'filter': '{text}'. Invalid list filter expression."
            )
        field_name, sign, wanted = match.groups()
        bodies = [body for body in bodies if (_value(body, field_name) == wanted) is (sign == "=")]
    return bodies


def _value(body: dict[str, Any], path: str) -> Any:
    head, _, rest = path.partition(".")
    value = body.get(head)
    return value.get(rest) if rest and isinstance(value, dict) else value


def _error(code: str, message: str) -> dict[str, Any]:
    return {"code": code, "message": message}
