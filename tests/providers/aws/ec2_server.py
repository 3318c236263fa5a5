"""An EC2 on loopback for tests, spoken to by the real boto3; with STS, SQS and instance metadata beside it."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from typing import Any
from urllib.parse import parse_qsl

from providers.aws import ec2_wire as wire
from providers.aws.ec2_backend import Ec2
from providers.aws.ec2_faults import STATUS, Ec2Error, Journal
from providers.aws.ec2_side import Queue, Quotas, metadata, prices

ACCOUNT = "123456789012"


class _CutError(Exception):
    """Close the connection without an answer."""


class _Http(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that was killed is none of ours; everything else is."""
        error = sys.exception()
        if not isinstance(error, ConnectionError):
            super().handle_error(request, client_address)


class Server:
    """One region of one account. A context manager; `url` is the endpoint of every service."""

    def __init__(self, **how: Any) -> None:
        self.journal = Journal()
        self.ec2 = Ec2(**how)
        self.queue = Queue()
        self.quotas = Quotas()
        self.metadata: dict[str, str] | None = None
        self._lock = threading.RLock()
        self._going = threading.Event()
        self._ids = count(1)
        handler = type("Handler", (_Handler,), {"owner": self})
        self._http = _Http(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"

    def __enter__(self) -> Server:
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._going.set()
        self.queue.close()
        self._http.shutdown()
        self._http.server_close()
        assert not self.journal.problems, self.journal.problems

    def form(self, body: str) -> tuple[int, bytes, str]:
        """The answer to a form: EC2's and STS's protocol."""
        params = dict(parse_qsl(body, keep_blank_values=True))
        name = params.get("Action", "")
        request_id = f"request-{next(self._ids)}"
        try:
            if params.get("Version") == "2011-06-15":
                return 200, self._run(name, {}, lambda _: _identity()), "text/xml"
            return (
                200,
                self._run(name, wire.read_query(name, params), lambda it: self._ec2(name, it, request_id)),
                ("text/xml;charset=UTF-8"),
            )
        except wire.BadRequestError as error:
            self.journal.problems.append(f"{name}: {error}")
            return 400, wire.error_body("InvalidParameter", str(error), request_id), "text/xml"
        except Ec2Error as error:
            status = STATUS.get(error.code, error.status)
            return status, wire.error_body(error.code, error.message, request_id), "text/xml"

    def json(self, target: str, body: str) -> tuple[int, bytes, str]:
        """The answer to a JSON call: SQS's protocol."""
        prefix, _, name = target.rpartition(".")
        params = json.loads(body or "{}")
        services = {
            "AmazonSQS": ("sqs", self.queue.call),
            "AWSPriceListService": ("pricing", prices),
            "ServiceQuotasV20190624": ("service-quotas", self.quotas.call),
        }
        service, work = services[prefix]
        try:
            shape = wire.service(service).operation_model(name).input_shape
            if shape is not None:
                wire.check(shape, params)
            answer = self._run(name, params, lambda it: work(name, it), locked=service != "sqs")
            return 200, json.dumps(answer).encode(), "application/x-amz-json-1.0"
        except Ec2Error as error:
            told = {"__type": error.code, "message": error.message}
            return STATUS.get(error.code, error.status), json.dumps(told).encode(), "application/x-amz-json-1.0"

    def _ec2(self, name: str, params: Mapping[str, Any], request_id: str) -> bytes:
        try:
            answer = self.ec2.call(name, params)
        except wire.BadAnswerError as error:
            self.journal.problems.append(str(error))
            raise
        return wire.write_answer(name, answer, request_id)

    def _run(self, name: str, params: dict[str, Any], work: Any, *, locked: bool = True) -> Any:
        with self._lock:
            self.journal.calls.append((name, params))
            fault = self.journal.next_fault(name)
        if self.journal.watch:
            self.journal.watch(name, "before")
        if fault is not None and fault.kind == "error":
            raise Ec2Error(fault.code, fault.message, STATUS.get(fault.code, 400))
        if fault is not None and fault.kind == "cut":
            raise _CutError
        if fault is not None and fault.kind == "hang":
            self._going.wait(30)
            raise _CutError
        if locked:
            with self._lock:
                answer = work(params)
        else:
            answer = work(params)
        if self.journal.watch:
            self.journal.watch(name, "after")
        if fault is not None:
            raise _CutError
        return answer


def _identity() -> bytes:
    return (
        '<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult>'
        f"<Arn>arn:aws:iam::{ACCOUNT}:user/tester</Arn><UserId>AIDTESTER</UserId><Account>{ACCOUNT}</Account>"
        "</GetCallerIdentityResult><ResponseMetadata><RequestId>r</RequestId></ResponseMetadata>"
        "</GetCallerIdentityResponse>"
    ).encode()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Headers and body in one packet, or the client waits for the second one for 40 ms.
    wbufsize = -1
    disable_nagle_algorithm = True
    owner: Server

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        body = self.rfile.read(length).decode()
        if len(body.encode()) < length:
            # Who sent it was killed on the way.
            self.close_connection = True
            return
        target = self.headers.get("X-Amz-Target")
        try:
            answer = self.owner.json(target, body) if target else self.owner.form(body)
        except _CutError:
            self.close_connection = True
            return
        self._send(*answer)

    def do_GET(self) -> None:
        self._metadata()

    def do_PUT(self) -> None:
        self._metadata()

    def _metadata(self) -> None:
        entries, path = self.owner.metadata, self.path
        if path.startswith("/imds/"):
            # As this instance sees it.
            _, _, instance_id, path = path.split("/", 3)
            path = f"/{path}"
            one = self.owner.ec2.instances[instance_id]
            entries = {"instance-id": one.id, "instance-type": one.place[0], "placement/region": one.place[1][:-1]}
        text = metadata(entries, self.command, path, dict(self.headers.items()))
        self._send(404 if text is None else 200, (text or "").encode(), "text/plain")

    def _send(self, status: int, body: bytes, content_type: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def log_message(self, *_: Any) -> None:
        """Tests print what they need."""
