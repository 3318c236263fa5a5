"""Types that the settings of every part share."""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, PlainSerializer, WithJsonSchema

from slotsmith.model.durations import format_duration, parse_duration


def _read_duration(value: Any) -> float:
    """A number without a unit is refused: half of the readers would take it for minutes."""
    if not isinstance(value, str):
        raise ValueError(f"expected a duration with a unit like 90s, 20m or 1h30m, got {value!r}")
    return parse_duration(value)


_READ = BeforeValidator(_read_duration)
_WRITE = PlainSerializer(format_duration, return_type=str, when_used="json")
_SCHEMA = WithJsonSchema({"type": "string", "examples": ["90s", "20m", "1h30m"]})

Duration = Annotated[float, _READ, _WRITE, _SCHEMA]
"""Seconds, written with a unit (`90s`, `20m`, `1h30m`); zero is allowed. Dumped as text in JSON mode."""

PositiveDuration = Annotated[float, Field(gt=0), _READ, _WRITE, _SCHEMA]
"""Like `Duration`, and more than zero."""
