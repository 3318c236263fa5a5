"""Settings as plain data that may be shown to anybody."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from slotsmith.config.explain import SECRETS
from slotsmith.text import HIDDEN, hide_password


def public_view(settings: BaseModel) -> dict[str, Any]:
    """The settings as they would be written in a file, defaults filled in and secrets as `********`.

    Keys without a value are left out. Durations have their units; the result is JSON-ready.
    """
    view = _public(settings, settings.model_dump(mode="json", by_alias=True))
    assert isinstance(view, dict)
    return view


def _public(value: Any, dumped: Any) -> Any:
    """`dumped` with what is secret in `value` hidden; both have the same shape."""
    if isinstance(value, SECRETS):
        return HIDDEN if value.get_secret_value() else dumped
    if isinstance(value, BaseModel):
        fields = type(value).model_fields.items()
        values = {field.serialization_alias or field.alias or name: getattr(value, name) for name, field in fields}
        return {key: _public(values.get(key), item) for key, item in dumped.items() if item is not None}
    if isinstance(value, Mapping):
        return {key: _public(inner, item) for inner, (key, item) in zip(value.values(), dumped.items(), strict=True)}
    if isinstance(value, (list, tuple)):
        return [_public(inner, item) for inner, item in zip(value, dumped, strict=True)]
    return hide_password(dumped) if isinstance(dumped, str) else dumped
