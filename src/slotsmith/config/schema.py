"""The JSON Schema of the configuration file, with the blocks of all providers and schedulers that are installed."""

from __future__ import annotations

from typing import Any

from slotsmith.config.models import Config
from slotsmith.config.plugins import PluginError, Plugins

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_REFERENCE = {"type": "string", "pattern": r"^\$\{[A-Za-z_][A-Za-z0-9_]*(:-[^{}]*)?\}$"}
_BLOCKS = {"provider": "ProviderSettings", "scheduler": "SchedulerSettings"}


def json_schema(plugins: tuple[Plugins, Plugins] | None = None) -> dict[str, Any]:
    """The schema of a native file. A type that does not load is left out.

    Numbers and truth values may also be written as `${VAR}`.
    """
    schema = Config.model_json_schema(by_alias=True)
    definitions = schema.setdefault("$defs", {})
    for kind in plugins or (Plugins("provider"), Plugins("scheduler")):
        definitions[_BLOCKS[kind.kind]] = _one_of(kind, definitions)
    _accept_variables(schema)
    return {"$schema": _DIALECT, **schema, "title": "The configuration of slotsmith"}


def _one_of(kind: Plugins, definitions: dict[str, Any]) -> dict[str, Any]:
    choices = []
    for name in kind.names():
        try:
            model = kind.get(name).settings
        except PluginError:
            continue
        block = model.model_json_schema(by_alias=True, ref_template=f"#/$defs/{kind.kind}.{name}.{{model}}")
        for inner, definition in block.pop("$defs", {}).items():
            definitions[f"{kind.kind}.{name}.{inner}"] = definition
        block.setdefault("properties", {})["type"] = {"const": name}
        block["required"] = sorted({*block.get("required", ()), "type"})
        choices.append(block)
    return {"oneOf": choices}


def _accept_variables(schema: Any) -> None:
    """Let `${VAR}` stand wherever something else than text is expected."""
    if isinstance(schema, list):
        for inner in schema:
            _accept_variables(inner)
    if not isinstance(schema, dict):
        return
    for inner in list(schema.values()):
        _accept_variables(inner)
    if schema.get("type") in ("integer", "number", "boolean"):
        kept = {key: schema.pop(key) for key in ("title", "default", "description") if key in schema}
        plain = dict(schema)
        schema.clear()
        schema.update(kept, anyOf=[plain, _REFERENCE])
