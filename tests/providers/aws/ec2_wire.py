"""EC2's wire format by botocore's own model of the service: requests are read and answers written by its shapes.

Whatever the model does not have (an unknown member, a wrong enum, a missing or wrongly typed value) is an error, in
requests as in answers, so that neither the provider nor the server for tests can invent a field.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from typing import Any
from xml.sax.saxutils import escape

import botocore.session
from botocore.model import ServiceModel, Shape
from botocore.validate import ParamValidator

NAMESPACE = "http://ec2.amazonaws.com/doc/2016-11-15/"


class BadRequestError(Exception):
    """What was sent is not what AWS publishes."""


class BadAnswerError(AssertionError):
    """The server for tests was about to answer something that AWS does not publish."""


@cache
def service(name: str) -> ServiceModel:
    return botocore.session.get_session().get_service_model(name)


def read_query(name: str, params: Mapping[str, str]) -> dict[str, Any]:
    """The input of an EC2 operation from its form."""
    shape = service("ec2").operation_model(name).input_shape
    tree: dict[str, Any] = {}
    for key, text in params.items():
        if key in ("Action", "Version"):
            continue
        place = tree
        *path, last = key.split(".")
        for part in path:
            place = place.setdefault(part, {})
        place[last] = text
    if shape is None:
        return {}
    value = _read(shape, tree, name)
    check(shape, value)
    return value  # type: ignore[no-any-return]


def check(shape: Shape, value: Any) -> None:
    """Required members, types, lengths, ranges. Raises BadRequestError."""
    report = ParamValidator().validate(value, shape)
    if report.has_errors():
        raise BadRequestError(report.generate_report())


def _read(shape: Shape, tree: Any, where: str) -> Any:
    if shape.type_name == "structure":
        return _read_structure(shape, tree, where)
    if shape.type_name == "list":
        items = sorted(tree.items(), key=lambda item: int(item[0]))
        return [_read(shape.member, item, f"{where}[]") for _, item in items]
    return _read_scalar(shape, tree, where)


def _read_structure(shape: Shape, tree: Any, where: str) -> dict[str, Any]:
    if not isinstance(tree, dict):
        raise BadRequestError(f"{where} is {tree!r}, expected a structure")
    names = {_query_name(name, member): (name, member) for name, member in shape.members.items()}
    unknown = set(tree) - set(names)
    if unknown:
        raise BadRequestError(f"{where} has no member {', '.join(sorted(unknown))}")
    return {names[key][0]: _read(names[key][1], item, f"{where}.{key}") for key, item in tree.items()}


def _query_name(name: str, member: Shape) -> str:
    written = member.serialization.get("queryName")
    if written:
        return str(written)
    name = member.serialization.get("name", name)
    return name[0].upper() + name[1:]


def _read_scalar(shape: Shape, text: str, where: str) -> Any:
    if not isinstance(text, str):
        raise BadRequestError(f"{where} is a structure, expected a value")
    enum = getattr(shape, "enum", None)
    # Types come every month; what a type is called is for the catalogue to say.
    if enum and text not in enum and shape.name != "InstanceType":
        raise BadRequestError(f"{where} is {text!r}, expected one of {', '.join(enum[:8])}")
    try:
        return _SCALARS.get(shape.type_name, str)(text)
    except ValueError:
        raise BadRequestError(f"{where} is {text!r}, expected {shape.type_name}") from None


def _boolean(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError(text)
    return text == "true"


_SCALARS: dict[str, Any] = {
    "integer": int,
    "long": int,
    "float": float,
    "double": float,
    "boolean": _boolean,
    "timestamp": lambda text: datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp(),
}


def write_answer(name: str, value: Mapping[str, Any], request_id: str) -> bytes:
    """The answer of an EC2 operation as XML."""
    shape = service("ec2").operation_model(name).output_shape
    inner = write(shape, value, name) if shape is not None else "<return>true</return>"
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<{name}Response xmlns="{NAMESPACE}">'
        f"<requestId>{request_id}</requestId>{inner}</{name}Response>"
    ).encode()


class Raw(str):
    """XML that was written before."""


def write(shape: Shape, value: Any, where: str) -> str:
    """The inside of an element. Raises BadAnswerError."""
    if isinstance(value, Raw):
        return value
    if shape.type_name == "structure":
        unknown = set(value) - set(shape.members)
        if unknown:
            raise BadAnswerError(f"{where} has no member {', '.join(sorted(unknown))}")
        return "".join(
            _element(shape.members[key].serialization.get("name", key), shape.members[key], item, f"{where}.{key}")
            for key, item in value.items()
            if item is not None
        )
    if shape.type_name == "list":
        tag = shape.member.serialization.get("name", "item")
        return "".join(_element(tag, shape.member, item, f"{where}[]") for item in value)
    return _write_scalar(shape, value, where)


def _element(tag: str, shape: Shape, value: Any, where: str) -> str:
    return f"<{tag}>{write(shape, value, where)}</{tag}>"


_TYPES: dict[str, Any] = {
    "string": str,
    "integer": int,
    "long": int,
    "float": (int, float),
    "double": (int, float),
    "boolean": bool,
    "timestamp": (int, float),
}


def _write_scalar(shape: Shape, value: Any, where: str) -> str:
    if not isinstance(value, _TYPES[shape.type_name]):
        raise BadAnswerError(f"{where} is {value!r}, expected {shape.type_name}")
    if shape.type_name == "boolean":
        return "true" if value else "false"
    if shape.type_name == "timestamp":
        return iso(value)
    enum = getattr(shape, "enum", None)
    if enum and value not in enum:
        raise BadAnswerError(f"{where} is {value!r}, expected one of {', '.join(enum[:8])}")
    return escape(str(value))


def iso(seconds: float) -> str:
    """As EC2 writes times: whole seconds."""
    return datetime.fromtimestamp(int(seconds), tz=UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def error_body(code: str, message: str, request_id: str) -> bytes:
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<Response><Errors><Error><Code>{escape(code)}</Code>'
        f"<Message>{escape(message)}</Message></Error></Errors><RequestID>{request_id}</RequestID></Response>"
    ).encode()


def matches(pattern: str, text: str) -> bool:
    """EC2's filter wildcards: `*` any text, `?` one character."""
    if not {"*", "?"} & set(pattern):
        return pattern == text
    return re.fullmatch("".join({"*": ".*", "?": "."}.get(c, re.escape(c)) for c in pattern), text) is not None
