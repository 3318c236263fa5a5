"""Settings as plain data that may be shown to anybody."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pydantic import BaseModel

from slotsmith.config.explain import SECRETS
from slotsmith.text import HIDDEN, hide_password


def public_view(settings: BaseModel) -> dict[str, Any]:
    """The settings as they would be written in a file, defaults filled in and secrets as `********`.

    Keys without a value are left out. Durations have their units; the result is JSON-ready.
    """
    return _view(settings, lambda _: HIDDEN)


def private_view(settings: BaseModel) -> dict[str, Any]:
    """The settings without defaults, and with all secrets as they are: for the user's own file, and nothing else."""
    return _view(settings, lambda value: value, exclude_unset=True)


def _view(settings: BaseModel, secret: Callable[[Any], Any], *, exclude_unset: bool = False) -> dict[str, Any]:
    dumped = settings.model_dump(mode="json", by_alias=True, exclude_unset=exclude_unset)
    view = _shown(settings, dumped, secret)
    assert isinstance(view, dict)
    return view


def _shown(value: Any, dumped: Any, secret: Callable[[Any], Any]) -> Any:
    """`dumped` with what `secret` makes of the secrets in `value`; both have the same shape."""
    if isinstance(value, SECRETS):
        return secret(value.get_secret_value()) if value.get_secret_value() else dumped
    if isinstance(value, BaseModel):
        fields = type(value).model_fields.items()
        values = {field.serialization_alias or field.alias or name: getattr(value, name) for name, field in fields}
        return {key: _shown(values.get(key), item, secret) for key, item in dumped.items() if item is not None}
    if isinstance(value, Mapping):
        return {
            key: _shown(inner, item, secret) for inner, (key, item) in zip(value.values(), dumped.items(), strict=True)
        }
    if isinstance(value, (list, tuple)):
        return [_shown(inner, item, secret) for inner, item in zip(value, dumped, strict=True)]
    # A password in a URL is a secret of its own.
    return hide_password(dumped) if isinstance(dumped, str) and secret("") == HIDDEN else dumped
