"""Says in plain words what pydantic found wrong."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, get_args, get_origin

from pydantic import BaseModel, Secret, SecretBytes, SecretStr
from pydantic_core import ErrorDetails

from slotsmith.config.errors import Path, shown
from slotsmith.text import quoted, suggestion

SECRETS = (Secret, SecretBytes, SecretStr)
"""The types whose values are never shown."""

_EXPECTED = {
    "bool": "true or false",
    "dataclass": "a mapping",
    "dict": "a mapping",
    "finite": "a finite number",
    "float": "a number",
    "int": "a whole number",
    "list": "a list",
    "mapping": "a mapping",
    "model": "a mapping",
    "set": "a list",
    "string": "text",
    "tuple": "a list",
}
"""What pydantic's error types expect, by the first word of their names."""

_BOUNDS = {
    "greater_than": ("more than", "gt"),
    "greater_than_equal": ("at least", "ge"),
    "less_than": ("less than", "lt"),
    "less_than_equal": ("at most", "le"),
}
_LENGTHS = {"too_short": ("at least", "min_length"), "too_long": ("at most", "max_length")}
_UNITS = {"string": ("character", "characters")}


def explain(error: ErrorDetails, model: type[BaseModel], value: Any) -> tuple[Path, str]:
    """Where in the block that `model` reads the problem is, and what it is. `value` is the whole block."""
    path, found = _walk(error["loc"], value)
    rest = error["loc"][len(path) :]
    if error["type"] == "missing":
        key = rest[-1] if rest else ""
        description = _description(model, (*path, key))
        return path, f"missing key {quoted(str(key))}{f' ({description})' if description else ''}"
    if error["type"] == "extra_forbidden":
        key = path[-1] if path else ""
        return path, f"unknown key {quoted(str(key))}{suggestion(str(key), _known(model, path[:-1]))}"
    expected, tells_value = _expected(error)
    note = ""
    if rest and rest[0] in _known(model, path):
        # The file does not have the key, so it is the default that does not fit the rest.
        path, found, note = (*path, rest[0]), error["input"], " (the default)"
    # What contradicts itself within a block is not made clearer by saying that there is a block.
    of_block = error["type"] == "value_error" and isinstance(found, dict)
    if tells_value or of_block or _is_secret(model, path):
        return path, expected
    return path, f"{expected}, got {shown(found)}{note}"


def _expected(error: ErrorDetails) -> tuple[str, bool]:
    """The sentence, and whether it already says what was found."""
    kind, context = error["type"], error.get("ctx", {})
    if kind in ("value_error", "assertion_error"):
        text = str(context.get("error", error["msg"]))
        return text, " got " in text
    if kind in _BOUNDS:
        word, name = _BOUNDS[kind]
        return f"expected {word} {context[name]:.15g}", False
    if kind in ("literal_error", "enum"):
        return f"expected {context['expected']}", False
    noun, _, rest = kind.partition("_")
    for ending, (word, name) in _LENGTHS.items():
        if kind.endswith(ending) and name in context:
            unit = _UNITS.get(noun, ("entry", "entries"))[context[name] != 1]
            return f"expected {word} {context[name]} {unit}", False
    if rest and noun in _EXPECTED:
        return f"expected {_EXPECTED[noun]}", False
    return error["msg"], False


def _walk(loc: Sequence[str | int], value: Any) -> tuple[Path, Any]:
    """The part of `loc` that the file has, and what is there; pydantic adds names of its own, for unions say."""
    path: list[str | int] = []
    for part in loc:
        inside = (isinstance(value, dict) and part in value) or (
            isinstance(value, list) and isinstance(part, int) and part < len(value)
        )
        if not inside:
            break
        value = value[part]
        path.append(part)
    return tuple(path), value


def _models_at(model: type[BaseModel], path: Path) -> list[type[BaseModel]]:
    """The models that may read what is at `path`."""
    models = [model]
    for part in path:
        if isinstance(part, int):
            continue
        models = [inner for outer in models for inner in _models_in(_annotation(outer, part))]
    return models


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models_in(part)]


def _annotation(model: type[BaseModel], key: str | int) -> Any:
    for name, field in model.model_fields.items():
        if key in (name, field.alias):
            return field.annotation
    return None


def _known(model: type[BaseModel], path: Path) -> list[str]:
    return [field.alias or name for inner in _models_at(model, path) for name, field in inner.model_fields.items()]


def _description(model: type[BaseModel], path: Path) -> str:
    for inner in _models_at(model, path[:-1]):
        for name, field in inner.model_fields.items():
            if path[-1] in (name, field.alias):
                return field.description or ""
    return ""


def _is_secret(model: type[BaseModel], path: Path) -> bool:
    """Whether a field that holds secrets is on the way to `path`: an entry of a list or mapping of secrets is one."""
    return any(
        _holds_secret(_annotation(outer, key))
        for end, key in enumerate(path)
        for outer in _models_at(model, path[:end])
    )


def _holds_secret(annotation: Any) -> bool:
    kind = get_origin(annotation) or annotation
    if isinstance(kind, type) and issubclass(kind, SECRETS):
        return True
    return any(_holds_secret(part) for part in get_args(annotation))
