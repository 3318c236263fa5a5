"""Answers of DescribeInstances, read for what a listing needs and nothing else.

botocore's own parser makes a Python object of each of the some 100 to 150 elements that an instance has; with thousands
of instances that is half a second of CPU for each thousand, and holds up the event loop. Here the text of each instance
is looked through for the fields of `Row`. Where the text is not as EC2 writes it, the page is parsed as XML instead,
so the quick way is never the only one; tests hold both to the same result.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from html import unescape
from typing import Any, Final, NamedTuple
from xml.etree.ElementTree import Element, fromstring
from xml.sax.saxutils import escape

EVENT: Final = "before-parse.ec2.DescribeInstances"
"""The botocore event that `pick_rows` is registered for."""


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
    agent: str = ""
    """The agent's name, where it is not the id."""


def pick_rows(response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: Any) -> None:
    """A handler for botocore: rows take the place of the reservations, and botocore parses only what is left."""
    if response_dict["status_code"] != 200:
        return
    rows, token = read_rows(response_dict["body"])
    customized_response_dict["Reservations"] = rows
    response_dict["body"] = f"<R><nextToken>{escape(token)}</nextToken></R>".encode() if token else b"<R></R>"


def read_rows(body: bytes) -> tuple[list[Row], str]:
    """The rows of one page, and the token of the next one ("" = there is none)."""
    found = scan_rows(body)
    return parse_rows(body) if found is None else found


# An instance begins with its id; no other list of an answer has items that do.
_BEGIN = re.compile(rb"<item>\s*<instanceId>")
_STATE = re.compile(rb"<instanceState>\s*(?:<code>\d+</code>\s*)?<name>([a-z-]+)</name>")
_ZONE = re.compile(rb"<placement>(?:(?!</placement>).)*?<availabilityZone>([^<]*)</availabilityZone>", re.DOTALL)
_REASON = re.compile(rb"<stateReason>(?:(?!</stateReason>).)*?<message>([^<]*)</message>", re.DOTALL)
_TAG = re.compile(rb"<item>\s*<key>([^<]*)</key>\s*(?:<value>([^<]*)</value>|<value\s*/>)\s*</item>")
_TOKEN = re.compile(rb"<nextToken>([^<]*)</nextToken>")
# What the patterns do not know: then XML's own rules must be asked.
_STRANGE = (b"<![CDATA[", b"<!--", b"<!DOCTYPE")


def scan_rows(body: bytes) -> tuple[list[Row], str] | None:
    """The same from the text; None = it is not as EC2 writes it."""
    begins = [match.start() for match in _BEGIN.finditer(body)]
    if len(begins) != body.count(b"<instanceState>") or any(mark in body for mark in _STRANGE):
        return None
    rows = []
    for begin, end in zip(begins, [*begins[1:], len(body)][: len(begins)], strict=True):
        row = _scan(body[begin:end])
        if row is None:
            return None
        rows.append(row)
    token = _TOKEN.search(body, begins[-1] if begins else 0) or _TOKEN.search(body)
    return rows, _text(token[1]) if token else ""


def _scan(text: bytes) -> Row | None:
    state = _STATE.search(text)
    launched = _between(text, b"<launchTime>")
    instance_id = _between(text, b"<instanceId>")
    if state is None or not launched or not instance_id:
        return None
    begin = text.find(b"<tagSet>")
    tags = text[begin : text.find(b"</tagSet>", begin)] if begin >= 0 else b""
    found = _TAG.findall(tags)
    if len(found) != tags.count(b"<key>"):
        return None
    zone = _ZONE.search(text)
    reason = _REASON.search(text) if b"<stateReason>" in text else None
    return Row(
        id=instance_id,
        state=_text(state[1]),
        launched_at=datetime.fromisoformat(launched).timestamp(),
        instance_type=_between(text, b"<instanceType>"),
        zone=_text(zone[1]) if zone else "",
        spot=_between(text, b"<instanceLifecycle>") == "spot",
        request=_between(text, b"<spotInstanceRequestId>"),
        reason=_text(reason[1]) if reason else "",
        tags={_text(key): _text(value) for key, value in found},
    )


def _between(text: bytes, tag: bytes) -> str:
    """What stands after a tag, up to the next one; "" when there is none."""
    begin = text.find(tag)
    if begin < 0:
        return ""
    begin += len(tag)
    return _text(text[begin : text.find(b"<", begin)])


def _text(raw: bytes) -> str:
    text = raw.decode()
    return unescape(text) if "&" in text else text


def parse_rows(body: bytes) -> tuple[list[Row], str]:
    """The same from the XML tree."""
    root = fromstring(body)  # noqa: S314 - the answer of the service that holds our credentials, over TLS
    space = root.tag.partition("}")[0] + "}" if root.tag.startswith("{") else ""
    rows = [
        _row(item, space)
        for reservation in root.iterfind(f"{space}reservationSet/{space}item")
        for item in reservation.iterfind(f"{space}instancesSet/{space}item")
    ]
    return rows, root.findtext(f"{space}nextToken") or ""


def _row(item: Element, space: str) -> Row:
    def text(*path: str) -> str:
        return item.findtext("/".join(space + name for name in path)) or ""

    tags = item.find(f"{space}tagSet")
    return Row(
        id=text("instanceId"),
        state=text("instanceState", "name"),
        launched_at=datetime.fromisoformat(text("launchTime")).timestamp(),
        instance_type=text("instanceType"),
        zone=text("placement", "availabilityZone"),
        spot=text("instanceLifecycle") == "spot",
        request=text("spotInstanceRequestId"),
        reason=text("stateReason", "message"),
        tags={
            each.findtext(f"{space}key") or "": each.findtext(f"{space}value") or ""
            for each in (() if tags is None else tags)
        },
    )
