"""Answers of DescribeInstances, read for what a listing needs and nothing else.

botocore's own parser makes a Python object of each of the some 150 elements that an instance has; with thousands of
instances that is half a second of CPU for each thousand, and holds up the event loop. Here the body is fed to expat in
pieces, so that the interpreter can turn to other threads in between, and only the fields of `Row` are looked at.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Final, NamedTuple
from xml.etree.ElementTree import Element, XMLParser
from xml.sax.saxutils import escape

EVENT: Final = "before-parse.ec2.DescribeInstances"
"""The botocore event that `pick_rows` is registered for."""

# A piece is parsed in well under a millisecond, in which no other thread can run.
_PIECE = 32 * 1024


class Row(NamedTuple):
    """One instance as EC2 describes it; `launched_at` is in epoch seconds of EC2's clock, whole ones."""

    id: str
    state: str
    launched_at: float
    instance_type: str
    zone: str
    spot: bool
    request: str
    reason: str
    tags: Mapping[str, str]


def pick_rows(response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: Any) -> None:
    """A handler for botocore: rows take the place of the reservations, and botocore parses only what is left."""
    if response_dict["status_code"] != 200:
        return
    rows, token = read_rows(response_dict["body"])
    customized_response_dict["Reservations"] = rows
    response_dict["body"] = f"<R><nextToken>{escape(token)}</nextToken></R>".encode() if token else b"<R></R>"


def read_rows(body: bytes) -> tuple[list[Row], str]:
    """The rows of one page, and the token of the next one ("" = there is none)."""
    parser = XMLParser()  # noqa: S314 - the answer of the service that holds our credentials, over TLS
    view = memoryview(body)
    for begin in range(0, len(view), _PIECE):
        parser.feed(bytes(view[begin : begin + _PIECE]))
    root = parser.close()
    # Before the namespace is known, so that an endpoint that speaks like EC2 under another one is read too.
    space = root.tag.partition("}")[0] + "}" if root.tag.startswith("{") else ""
    rows = [_row(item, space) for item in _items(root, space)]
    return rows, root.findtext(f"{space}nextToken") or ""


def _items(root: Element, space: str) -> Iterator[Element]:
    for reservation in root.iterfind(f"{space}reservationSet/{space}item"):
        for item in reservation.iterfind(f"{space}instancesSet/{space}item"):
            yield item
            # Bit by bit, for to free a whole page at once takes long enough to be felt.
            item.clear()


def _row(item: Element, space: str) -> Row:
    fields = {child.tag: child for child in item}

    def text(name: str) -> str:
        child = fields.get(space + name)
        return "" if child is None else child.text or ""

    def inner(name: str, part: str) -> str:
        child = fields.get(space + name)
        return "" if child is None else child.findtext(space + part) or ""

    launched = text("launchTime")
    tags = fields.get(f"{space}tagSet")
    return Row(
        id=text("instanceId"),
        state=inner("instanceState", "name"),
        launched_at=datetime.fromisoformat(launched).timestamp() if launched else 0.0,
        instance_type=text("instanceType"),
        zone=inner("placement", "availabilityZone"),
        spot=text("instanceLifecycle") == "spot",
        request=text("spotInstanceRequestId"),
        reason=inner("stateReason", "message"),
        tags={} if tags is None else {tag[0].text or "": tag[1].text or "" for tag in tags if len(tag) == 2},
    )
