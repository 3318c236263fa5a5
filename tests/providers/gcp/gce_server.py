"""The GCE of the tests on loopback: compute v1 over HTTP, held to Google's own description of it, and its metadata."""

from __future__ import annotations

import json
import re
import socket
import sys
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from providers.gcp.discovery import Call, Mismatch, check_answer, recognise
from providers.gcp.gce_cloud import ACCELERATORS, BASE, MACHINES, ZONES, Cloud, filtered
from providers.gcp.gce_faults import ApiError, Fault, Faults
from waiting import PATIENCE

_PREFIX = "/compute/v1"
_LONGEST_WAIT = 1.0
TOKEN = "ya29.of-the-tests"
METADATA = {
    "project/project-id": "proj",
    "instance/zone": "projects/1/zones/us-central1-b",
    "instance/network-interfaces/0/ip": "10.1.2.3",
    "instance/network-interfaces/0/access-configs/0/external-ip": "34.1.2.3",
}


class _Http(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that was killed is nothing to tell of."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class Cut(Exception):  # noqa: N818 - no error, but what was asked for
    """The connection ends without an answer."""


class GceServer:
    """A context manager; `url` is the API's endpoint, `metadata_host` where the metadata server listens.

    `quotas` are limit and usage of each.
    """

    def __init__(self, cloud: Cloud | None = None, *, needs_token: bool = False) -> None:
        self.cloud = cloud or Cloud()
        self.faults = Faults()
        self.needs_token = needs_token
        self.metadata = dict(METADATA)
        self.quotas = {"CPUS": (24.0, 2.0), "PREEMPTIBLE_CPUS": (0.0, 0.0), "NVIDIA_T4_GPUS": (4.0, 0.0)}
        self.mismatches: list[str] = []
        self.lock = threading.RLock()
        self.under_way = 0
        self._http = _Http(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True)

    @property
    def metadata_host(self) -> str:
        return f"127.0.0.1:{self._http.server_port}"

    @property
    def url(self) -> str:
        return f"http://{self.metadata_host}{_PREFIX}"

    def __enter__(self) -> GceServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()
        assert not self.mismatches, self.mismatches

    def answer(self, http_method: str, path: str, query: dict[str, str], body: Any) -> tuple[int, Any]:
        """Status and body. Raises Cut."""
        with self.lock:
            self.under_way += 1
        try:
            return self._answer(http_method, path, query, body)
        finally:
            with self.lock:
                self.under_way -= 1

    def _answer(self, http_method: str, path: str, query: dict[str, str], body: Any) -> tuple[int, Any]:
        try:
            call = recognise(http_method, path, query, body)
        except Mismatch as error:
            self.mismatches.append(str(error))
            return 400, ApiError(400, "invalid", str(error)).body()
        with self.lock:
            self.cloud.calls[call.method] += 1
        try:
            self._strike(self.faults.take(call.method, after=False))
            with self.lock:
                self.cloud.tick()
                answer = self._methods(call)
            if call.method.endswith("Operations.wait"):
                answer = self._wait(call)
            self._strike(self.faults.take(call.method, after=True))
        except ApiError as error:
            return error.status, error.body()
        try:
            check_answer(call.method, answer)
        except Mismatch as error:
            self.mismatches.append(str(error))
        return 200, answer

    def _strike(self, fault: Fault | None) -> None:
        if fault is None:
            return
        if fault.act is not None:
            fault.act()
        if fault.gate is not None:
            fault.gate.reached.set()
            fault.gate.opened.wait(PATIENCE)
        if fault.lost:
            raise Cut
        if fault.error is not None:
            raise fault.error

    def _wait(self, call: Call) -> Any:
        """Hold the answer until the operation is done, for a while."""
        operation = self.cloud.operations[call.path["operation"]]
        deadline = time.monotonic() + _LONGEST_WAIT
        while time.monotonic() < deadline:
            with self.lock:
                self.cloud.tick()
            if operation.done.wait(0.005):
                break
        with self.lock:
            return self.cloud.operation_body(operation)

    def _methods(self, call: Call) -> Any:
        cloud, path = self.cloud, call.path
        if path.get("project", cloud.project) != cloud.project:
            raise ApiError(404, "notFound", f"The resource 'projects/{path['project']}' was not found")
        if "zone" in path and path["zone"] not in ZONES:
            raise ApiError(400, "invalid", f"Invalid value for field 'zone': '{path['zone']}'. Unknown zone.")
        method = getattr(self, "_" + re.sub(r"(?<=[a-z])([A-Z])", r"_\1", call.method.replace(".", "_")).lower(), None)
        if method is None:
            raise ApiError(501, "notImplemented", f"{call.method} is not part of the tests' GCE")
        return method(call)

    def _instances_bulk_insert(self, call: Call) -> Any:
        scope = f"zones/{call.path['zone']}"
        return self._operation(self.cloud.bulk_insert(scope, call.body, call.query.get("requestId", "")))

    def _region_instances_bulk_insert(self, call: Call) -> Any:
        scope = f"regions/{call.path['region']}"
        return self._operation(self.cloud.bulk_insert(scope, call.body, call.query.get("requestId", "")))

    def _instances_delete(self, call: Call) -> Any:
        zone, name = call.path["zone"], call.path["instance"]
        return self._operation(self.cloud.delete(zone, name, call.query.get("requestId", "")))

    def _operation(self, operation: Any) -> Any:
        return self.cloud.operation_body(operation)

    def _instances_list(self, call: Call) -> Any:
        items, more = self.cloud.page(self.cloud.instances(call.path["zone"], call.query), call.query)
        return {"kind": "compute#instanceList", "items": items, **more}

    def _instances_aggregated_list(self, call: Call) -> Any:
        more: dict[str, Any]
        items, more = self.cloud.page(self.cloud.instances(None, call.query), call.query)
        dark = [f"zones/{zone}" for zone in self.cloud.unreachable]
        if dark:
            more["unreachables"] = dark
            items = [item for item in items if f"zones/{item['zone'].rpartition('/')[2]}" not in dark]
        scopes: dict[str, Any] = {f"zones/{zone}": {} for zone in ZONES}
        for item in items:
            scopes[f"zones/{item['zone'].rpartition('/')[2]}"].setdefault("instances", []).append(item)
        return {"kind": "compute#instanceAggregatedList", "items": scopes, **more}

    def _instances_get(self, call: Call) -> Any:
        machine = self.cloud.machines.get((call.path["zone"], call.path["instance"]))
        if machine is None:
            raise ApiError(404, "notFound", f"The resource '{call.path['instance']}' was not found")
        return {**machine.body, "status": machine.status}

    def _zone_operations_get(self, call: Call) -> Any:
        operation = self.cloud.operations.get(call.path["operation"])
        if operation is None:
            raise ApiError(404, "notFound", f"The resource '{call.path['operation']}' was not found")
        return self.cloud.operation_body(operation)

    _zone_operations_wait = _zone_operations_get
    _region_operations_wait = _zone_operations_get
    _region_operations_get = _zone_operations_get

    def _zone_operations_list(self, call: Call) -> Any:
        scope = f"zones/{call.path['zone']}" if "zone" in call.path else f"regions/{call.path['region']}"
        bodies = [self._operation(each) for each in self.cloud.operations.values() if each.scope == scope]
        items, more = self.cloud.page(filtered(bodies, call.query.get("filter", "")), call.query)
        return {"kind": "compute#operationList", "items": items, **more}

    _region_operations_list = _zone_operations_list

    def _machine_types_get(self, call: Call) -> Any:
        name = call.path["machineType"]
        if name not in MACHINES:
            raise ApiError(404, "notFound", f"The resource 'machineTypes/{name}' was not found")
        cpus, memory, gpu = MACHINES[name]
        body: dict[str, Any] = {"kind": "compute#machineType", "name": name, "guestCpus": cpus, "memoryMb": memory}
        if gpu:
            body["accelerators"] = [{"guestAcceleratorType": gpu[0], "guestAcceleratorCount": gpu[1]}]
        return body

    def _accelerator_types_get(self, call: Call) -> Any:
        name = call.path["acceleratorType"]
        if name not in ACCELERATORS:
            raise ApiError(404, "notFound", f"The resource 'acceleratorTypes/{name}' was not found")
        return {"kind": "compute#acceleratorType", "name": name, "maximumCardsPerInstance": ACCELERATORS[name]}

    def _zones_get(self, call: Call) -> Any:
        name = call.path["zone"]
        region = f"{BASE}/projects/proj/regions/{name.rpartition('-')[0]}"
        return {"kind": "compute#zone", "name": name, "status": "UP", "region": region}

    def _regions_get(self, call: Call) -> Any:
        quotas = [{"metric": name, "limit": limit, "usage": usage} for name, (limit, usage) in self.quotas.items()]
        zones = [f"{BASE}/projects/proj/zones/{zone}" for zone in ZONES]
        return {"kind": "compute#region", "name": call.path["region"], "status": "UP", "quotas": quotas, "zones": zones}

    def _projects_get(self, call: Call) -> Any:
        return {"kind": "compute#project", "name": call.path["project"]}

    def _images_get(self, call: Call) -> Any:
        if call.path["image"] == "missing":
            raise ApiError(404, "notFound", "The resource 'images/missing' was not found")
        return {"kind": "compute#image", "name": call.path["image"], "status": "READY", "diskSizeGb": "50"}

    def _networks_get(self, call: Call) -> Any:
        return {"kind": "compute#network", "name": call.path["network"]}

    def _subnetworks_get(self, call: Call) -> Any:
        return {"kind": "compute#subnetwork", "name": call.path["subnetwork"]}

    def metadata_answer(self, path: str) -> tuple[int, str]:
        """What the metadata server says; programs ask for credentials here."""
        account = "instance/service-accounts/default/"
        if path.startswith(f"{account}token"):
            return 200, json.dumps({"access_token": TOKEN, "expires_in": 3600, "token_type": "Bearer"})
        if path.startswith(account.rstrip("/")):
            return 200, json.dumps({"aliases": ["default"], "email": "me@proj", "scopes": []})
        if path == "":
            return 200, "computeMetadata/"
        return (200, self.metadata[path]) if path in self.metadata else (404, "")


def _handler(server: GceServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        wbufsize = -1

        def _serve(self) -> None:
            parts = urlsplit(self.path)
            length = int(self.headers.get("Content-Length") or 0)
            content = self.rfile.read(length) if length else b""
            if len(content) < length:
                # Its client is gone, and what it sent of its request is none.
                self.close_connection = True
                return
            if not parts.path.startswith(_PREFIX):
                self._metadata(parts.path)
                return
            if server.needs_token and self.headers.get("Authorization") != f"Bearer {TOKEN}":
                self._send(401, json.dumps(ApiError(401, "authError", "Invalid Credentials").body()))
                return
            try:
                query = dict(parse_qsl(parts.query, keep_blank_values=True))
                body = json.loads(content) if content else None
                status, answer = server.answer(self.command, parts.path.removeprefix(_PREFIX), query, body)
            except Cut:
                self.close_connection = True
                with suppress(OSError):
                    self.connection.shutdown(socket.SHUT_RDWR)
                return
            self._send(status, json.dumps(answer))

        do_GET = do_POST = do_DELETE = _serve  # noqa: N815

        def _metadata(self, path: str) -> None:
            status, text = server.metadata_answer(path.removeprefix("/computeMetadata/v1/").strip("/"))
            kind = "application/json" if text.startswith("{") else "application/text"
            self._send(status, text, kind)

        def _send(self, status: int, text: str, kind: str = "application/json") -> None:
            content = text.encode()
            with suppress(OSError):
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Metadata-Flavor", "Google")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)
                self.wfile.flush()

        def log_message(self, *_: object) -> None:
            """The tests look at the calls themselves."""

    return Handler
