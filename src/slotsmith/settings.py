"""Types that the settings of every part share."""

import shlex
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, ValidationInfo, WithJsonSchema

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

_AUTO: Final = "auto"


def _read_duration_or_auto(value: Any) -> float | str:
    return _AUTO if value == _AUTO else _read_duration(value)


def _check_above_zero(value: float | str) -> float | str:
    if value != _AUTO and not (isinstance(value, float) and value > 0):
        raise ValueError(f"expected more than 0, got {format_duration(float(value))!r}")
    return value


DurationOrAuto = Annotated[
    float | Literal["auto"],
    BeforeValidator(_read_duration_or_auto),
    AfterValidator(_check_above_zero),
    PlainSerializer(
        lambda value: value if value == _AUTO else format_duration(value), return_type=str, when_used="json"
    ),
    WithJsonSchema({"type": "string", "examples": ["20m", "auto"]}),
]
"""Like `PositiveDuration`, or `auto`: it is learned."""


def _read_percent(value: Any) -> float:
    """A number without the sign is refused: 1 may be meant as one per cent, or as all of it."""
    wrong = f"expected a percentage like 0.5% or 10%, got {value!r}"
    if not isinstance(value, str) or not value.endswith("%"):
        raise ValueError(wrong)
    try:
        share = float(value[:-1]) / 100
    except ValueError:
        raise ValueError(wrong) from None
    if not 0 <= share <= 1:
        raise ValueError(f"expected at least 0% and at most 100%, got {value!r}")
    return share


Percent = Annotated[
    float,
    BeforeValidator(_read_percent),
    PlainSerializer(lambda share: f"{100 * share:g}%", return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "examples": ["0.5%", "10%"]}),
]
"""A share from 0 to 1, written with its sign. Dumped as text in JSON mode."""


def split_command(command: str) -> list[str]:
    """The words of a command line, as a shell would split it. Raises ValueError: it is none."""
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise ValueError(f"the command cannot be split into words: {str(error).lower()}") from None
    if not words or not words[0]:
        raise ValueError("the command is empty")
    if "\0" in command:
        raise ValueError("the command has a NUL character in it")
    return words


def not_below_minimum(value: int, info: ValidationInfo) -> int:
    """For `max_instances`, which stands after `min_instances`. Raises ValueError: it is less."""
    minimum = info.data.get("min_instances", 0)
    if value < minimum:
        raise ValueError(f"expected at least min_instances ({minimum})")
    return value
