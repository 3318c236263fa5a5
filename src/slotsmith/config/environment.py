"""What the environment adds to a file: `${VAR}` in its values, and `SLOTSMITH__KEY__KEY` in place of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from slotsmith.config.errors import Path
from slotsmith.text import quoted

PREFIX: Final = "SLOTSMITH__"

# `$${` is a literal `${`; a name may have a default after `:-`.
_REFERENCE: Final = re.compile(r"\$\$\{|\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^{}]*))?\}|\$\{")
_INDEX: Final = re.compile(r"[0-9]{1,6}", re.ASCII)


def fill_in(text: str, environ: Mapping[str, str]) -> str:
    """`text` with the variables that it names.

    Raises:
        ValueError: a variable that is not set and has no default, or `${` without a name.
    """

    def value(match: re.Match[str]) -> str:
        name, default = match[1], match[2]
        if match[0] == "$${":
            return "${"
        if name is None:
            raise ValueError("'${' must be followed by the name of an environment variable; a literal one is '$${'")
        found = environ.get(name, default)
        if found is None:
            raise ValueError(f"the environment variable {quoted(name)} is not set; a literal '${{' is written '$${{'")
        return found

    return _REFERENCE.sub(value, text)


def escape(value: Any) -> Any:
    """`value` as a file must have it so that nothing in it is taken for a variable."""
    if isinstance(value, str):
        return value.replace("${", "$${")
    if isinstance(value, dict):
        return {key: escape(inner) for key, inner in value.items()}
    return [escape(inner) for inner in value] if isinstance(value, list) else value


def apply_overrides(data: Any, environ: Mapping[str, str], refuse: Callable[[str, str], None]) -> dict[Path, str]:
    """Put the values of `SLOTSMITH__…` variables into `data`; returns which place has its value from which variable.

    `SLOTSMITH__POOLS__GPU__MAX_INSTANCES=8` sets `max_instances` of the pool called `gpu`; a pool may also be named by
    its index. Values are read as YAML. `refuse` is called with a variable and a sentence when it leads nowhere.
    """
    sources: dict[Path, str] = {}
    for variable in sorted(environ):
        if not variable.startswith(PREFIX):
            continue
        try:
            value = YAML(typ="safe", pure=True).load(environ[variable])
        except (YAMLError, ValueError):
            refuse(variable, "its value is malformed YAML")
            continue
        try:
            sources[_set(data, variable.removeprefix(PREFIX).split("__"), value)] = variable
        except ValueError as error:
            refuse(variable, str(error))
    return sources


def _set(data: Any, parts: list[str], value: Any) -> Path:
    """Put `value` in; returns the path down to the first block or value that was not in the file."""
    if not all(parts):
        raise ValueError("expected the names of keys, joined by '__'")
    path: list[str | int] = []
    new: Path = ()
    for position, part in enumerate(parts):
        key = _step(data, part)
        path.append(key)
        if position == len(parts) - 1:
            data[key] = value
        elif isinstance(data, dict) and not isinstance(data.get(str(key)), (dict, list)):
            data[key] = {}
            new = new or tuple(path)
        data = data[key]
    return new or tuple(path)


def _step(data: Any, part: str) -> str | int:
    """The key or index that a part of a variable's name means in `data`."""
    if isinstance(data, list):
        names = {_normal(item["name"]): i for i, item in enumerate(data) if _is_named(item)}
        index = names.get(_normal(part), int(part) if _INDEX.fullmatch(part) else len(data))
        if index >= len(data):
            raise ValueError(f"there is no entry {quoted(part)} in the file")
        return index
    if not isinstance(data, dict):
        raise ValueError(f"there is no place for {quoted(part)} in the file")
    wanted = _normal(part)
    return next((key for key in data if _normal(key) == wanted), part.lower())


def _normal(name: str) -> str:
    # A shell allows no dash in the name of a variable.
    return name.lower().replace("-", "_")


def _is_named(item: Any) -> bool:
    return isinstance(item, dict) and isinstance(item.get("name"), str)
