"""Google's own description of compute v1: whether a request or an answer is what it publishes."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import googleapiclient

_DOCUMENT = Path(googleapiclient.__file__).parent / "discovery_cache" / "documents" / "compute.v1.json"
_INT_RANGES = {
    "int32": (-(2**31), 2**31 - 1),
    "uint32": (0, 2**32 - 1),
    "int64": (-(2**63), 2**63 - 1),
    "uint64": (0, 2**64 - 1),
}
_COMMON_QUERY = {"alt", "fields", "key", "prettyPrint", "quotaUser", "userIp"}


class Mismatch(Exception):  # noqa: N818 - it is a finding of the tests
    """What was sent is not what the document describes; the text says where."""


@dataclass(frozen=True)
class Call:
    """A request that was recognised: `method` as `instances.bulkInsert`, `path` with the names in it."""

    method: str
    path: dict[str, str]
    query: dict[str, str]
    body: Any


@cache
def document() -> dict[str, Any]:
    """The whole description, read once."""
    loaded: dict[str, Any] = json.loads(_DOCUMENT.read_text())
    return loaded


@cache
def _routes() -> dict[tuple[str, int], list[tuple[list[str], str, dict[str, Any]]]]:
    """Routes by HTTP method and number of path segments."""
    routes: dict[tuple[str, int], list[tuple[list[str], str, dict[str, Any]]]] = {}
    for resource, content in document()["resources"].items():
        for name, method in content.get("methods", {}).items():
            segments = method["flatPath"].split("/")
            routes.setdefault((method["httpMethod"], len(segments)), []).append(
                (segments, f"{resource}.{name}", method)
            )
    return routes


def recognise(http_method: str, path: str, query: dict[str, str], body: Any) -> Call:
    """The call that a request is; `path` is without the version. Raises Mismatch."""
    segments = path.strip("/").split("/")
    for pattern, name, method in _routes().get((http_method, len(segments)), []):
        if all(want.startswith("{") or want == have for want, have in zip(pattern, segments, strict=True)):
            values = {w.strip("{}"): h for w, h in zip(pattern, segments, strict=True) if w.startswith("{")}
            _check_parameters(name, method, values, query)
            if "request" in method:
                check(body, method["request"], f"{name} body", sent=True)
            elif body is not None:
                raise Mismatch(f"{name} takes no body")
            return Call(name, values, query, body)
    raise Mismatch(f"there is no {http_method} {path}")


def check_answer(method: str, body: Any) -> None:
    """Raises Mismatch: `method` does not answer like this."""
    resource, _, name = method.partition(".")
    response = document()["resources"][resource]["methods"][name]["response"]
    check(body, response, f"{method} answer")


def _check_parameters(name: str, method: dict[str, Any], path: dict[str, str], query: dict[str, str]) -> None:
    known = method.get("parameters", {})
    for key, value in {**path, **query}.items():
        if key in _COMMON_QUERY and key not in known:
            continue
        if key not in known:
            raise Mismatch(f"{name} has no parameter {key!r}")
        schema = known[key]
        if "pattern" in schema and not re.fullmatch(schema["pattern"], value):
            raise Mismatch(f"{name}: {key}={value!r} does not match {schema['pattern']}")
        if schema["type"] == "integer" and not re.fullmatch(r"-?\d+", value):
            raise Mismatch(f"{name}: {key}={value!r} is no integer")
        if schema["type"] == "boolean" and value not in ("true", "false"):
            raise Mismatch(f"{name}: {key}={value!r} is no boolean")
    for key, schema in known.items():
        if schema.get("required") and key not in {**path, **query}:
            raise Mismatch(f"{name}: {key} is missing")


def check(value: Any, schema: dict[str, Any], where: str, *, sent: bool = False) -> None:
    """Raises Mismatch: `value` is not of this schema, or was `sent` with something that only answers have."""
    if "$ref" in schema:
        schema = document()["schemas"][schema["$ref"]]
    kind = schema.get("type", "any")
    if kind == "object":
        _check_object(value, schema, where, sent)
    elif kind == "array":
        if not isinstance(value, list):
            raise Mismatch(f"{where}: expected a list, got {value!r}")
        for index, item in enumerate(value):
            check(item, schema["items"], f"{where}[{index}]", sent=sent)
    elif kind != "any":
        _check_scalar(value, schema, kind, where)


def _check_object(value: Any, schema: dict[str, Any], where: str, sent: bool) -> None:
    if not isinstance(value, dict):
        raise Mismatch(f"{where}: expected an object, got {value!r}")
    properties, others = schema.get("properties", {}), schema.get("additionalProperties")
    for key, inner in value.items():
        if key in properties:
            if sent and properties[key].get("description", "").lower().startswith(("output only", "[output only]")):
                raise Mismatch(f"{where}: {key!r} is for answers only")
            check(inner, properties[key], f"{where}.{key}", sent=sent)
        elif others is not None:
            check(inner, others, f"{where}.{key}", sent=sent)
        else:
            raise Mismatch(f"{where}: unknown field {key!r}")


def _check_scalar(value: Any, schema: dict[str, Any], kind: str, where: str) -> None:
    expected = {"string": str, "boolean": bool, "integer": int, "number": (int, float)}[kind]
    if not isinstance(value, expected) or (kind in ("integer", "number") and isinstance(value, bool)):  # type: ignore[arg-type]
        raise Mismatch(f"{where}: expected {kind}, got {value!r}")
    if "enum" in schema and value not in schema["enum"]:
        raise Mismatch(f"{where}: {value!r} is not one of {', '.join(schema['enum'])}")
    if kind == "string" and "pattern" in schema and not re.fullmatch(schema["pattern"], value):
        raise Mismatch(f"{where}: {value!r} does not match {schema['pattern']}")
    if schema.get("format") in _INT_RANGES:
        low, high = _INT_RANGES[schema["format"]]
        if not (re.fullmatch(r"-?\d+", str(value)) and low <= int(value) <= high):
            raise Mismatch(f"{where}: {value!r} is no {schema['format']}")
