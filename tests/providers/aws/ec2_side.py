"""What stands beside EC2: a queue of SQS, and the metadata that an instance can read."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping
from hashlib import md5
from itertools import count
from typing import Any

from providers.aws.ec2_catalogue import REGION, TYPES
from providers.aws.ec2_faults import Ec2Error


class Queue:
    """One SQS queue: long polling, visibility, deletion. `put` is what EventBridge does."""

    def __init__(self) -> None:
        self.exists = True
        self._messages: dict[str, tuple[str, float]] = {}
        self._changed = threading.Condition()
        self._ids = count(1)
        self._open = True

    def put(self, body: str) -> None:
        with self._changed:
            self._messages[f"m-{next(self._ids)}"] = (body, 0.0)
            self._changed.notify_all()

    def __len__(self) -> int:
        return len(self._messages)

    def close(self) -> None:
        with self._changed:
            self._open = False
            self._changed.notify_all()

    def call(self, name: str, params: Mapping[str, Any]) -> dict[str, Any]:
        if not self.exists:
            raise Ec2Error("AWS.SimpleQueueService.NonExistentQueue", "The specified queue does not exist.")
        if name == "ReceiveMessage":
            return self._receive(params)
        if name == "DeleteMessageBatch":
            return self._delete(params)
        if name == "GetQueueAttributes":
            return {"Attributes": {"ApproximateNumberOfMessages": str(len(self._messages))}}
        raise Ec2Error("InvalidAction", name)

    def _receive(self, params: Mapping[str, Any]) -> dict[str, Any]:
        deadline = time.monotonic() + params.get("WaitTimeSeconds", 0)
        with self._changed:
            while self._open:
                now = time.monotonic()
                ready = [key for key, (_, hidden) in self._messages.items() if hidden <= now]
                if ready or now >= deadline:
                    break
                self._changed.wait(deadline - now)
            else:
                ready = []
            ready = ready[: params.get("MaxNumberOfMessages", 1)]
            hide = time.monotonic() + params.get("VisibilityTimeout", 30)
            for key in ready:
                self._messages[key] = (self._messages[key][0], hide)
            return {"Messages": [self._message(key) for key in ready]} if ready else {}

    def _message(self, key: str) -> dict[str, Any]:
        body = self._messages[key][0]
        return {"MessageId": key, "ReceiptHandle": key, "Body": body, "MD5OfBody": md5(body.encode()).hexdigest()}

    def _delete(self, params: Mapping[str, Any]) -> dict[str, Any]:
        with self._changed:
            for entry in params["Entries"]:
                self._messages.pop(entry["ReceiptHandle"], None)
        return {"Successful": [{"Id": entry["Id"]} for entry in params["Entries"]], "Failed": []}


def prices(name: str, params: Mapping[str, Any]) -> dict[str, Any]:
    """The Pricing API: one product for each type that is asked for, beside one that is for reserved capacity only."""
    wanted = {each["Field"]: each["Value"] for each in params["Filters"]}
    known = TYPES.get(wanted["instanceType"])
    if known is None or wanted["regionCode"] != REGION:
        return {"FormatVersion": "aws_v1", "PriceList": []}

    def product(price: float) -> str:
        dimension = {"unit": "Hrs", "pricePerUnit": {"USD": f"{price:.10f}"}}
        return json.dumps({"product": {}, "terms": {"OnDemand": {"a": {"priceDimensions": {"b": dimension}}}}})

    return {"FormatVersion": "aws_v1", "PriceList": [product(known[4]), product(0.0)]}


class Quotas:
    """Service Quotas: vCPUs by quota code."""

    def __init__(self) -> None:
        self.values: dict[str, float] = {}

    def call(self, name: str, params: Mapping[str, Any]) -> dict[str, Any]:
        code = params["QuotaCode"]
        return {
            "Quota": {"QuotaCode": code, "ServiceCode": params["ServiceCode"], "Value": self.values.get(code, 512.0)}
        }


def metadata(entries: Mapping[str, str] | None, method: str, path: str, headers: Mapping[str, str]) -> str | None:
    """IMDSv2: a token first. None = there is no such entry, or no metadata service at all."""
    if entries is None:
        return None
    if method == "PUT" and path == "/latest/api/token":
        return "a-token"
    if {key.lower(): value for key, value in headers.items()}.get("x-aws-ec2-metadata-token") != "a-token":
        return None
    return entries.get(path.removeprefix("/latest/meta-data/"))
