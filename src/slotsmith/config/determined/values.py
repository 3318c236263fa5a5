"""The types of values in a Determined file: what Go's JSON reader takes, and nothing more."""

from __future__ import annotations

import json
import re
from fractions import Fraction
from typing import Annotated, Any, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, SecretStr, WithJsonSchema, model_validator

from slotsmith.text import quoted

_UNITS: Final = {
    "ns": Fraction(1, 10**9),
    "us": Fraction(1, 10**6),
    "µs": Fraction(1, 10**6),  # U+00B5, the micro sign
    "μs": Fraction(1, 10**6),  # U+03BC, the Greek letter
    "ms": Fraction(1, 10**3),
    "s": Fraction(1),
    "m": Fraction(60),
    "h": Fraction(3600),
}
_PART: Final = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)")
# What Go keeps in 64 bits of nanoseconds: some 292 years.
_LONGEST: Final = Fraction(2**63 - 1, 10**9)
_LONGEST_TEXT: Final = 100


def parse_go_duration(text: str) -> float:
    """Seconds of a duration as Go writes it: `300ms`, `-1.5h`, `1h15m30.918273645s`, `0`.

    Raises:
        ValueError: Go would refuse it: no unit, days, or more than its 64 bits hold.
    """
    error = ValueError(f"expected a duration like 90s, 20m or 1h30m (units ns, us, ms, s, m, h), got {quoted(text)}")
    body = text[1:] if text[:1] in ("-", "+") else text
    if len(text) > _LONGEST_TEXT:
        raise error
    if body == "0":
        return 0.0
    total, at = Fraction(0), 0
    while match := _PART.match(body, at):
        total += Fraction(match[1].rstrip(".")) * _UNITS[match[2]]
        at = match.end()
    if at == 0 or at < len(body) or total > _LONGEST:
        raise error
    return float(-total if text.startswith("-") else total)


def _read_duration(value: Any) -> float:
    if not isinstance(value, str):
        raise ValueError(f"expected a duration as text, like 90s or 20m, got {value!r}")
    return parse_go_duration(value)


def _read_json(value: Any) -> str:
    """Any value of the file as JSON text; Determined hands it to its agents like this."""
    return json.dumps(value, separators=(",", ":"))


GoDuration = Annotated[float, BeforeValidator(_read_duration), WithJsonSchema({"type": "string"})]
"""Seconds, written as Go does; may be negative."""

JsonText = Annotated[SecretStr, BeforeValidator(_read_json)]
"""Any value, kept as JSON text and never shown: agent configurations hold tokens."""


class Block(BaseModel):
    """A mapping of a Determined file. An empty value (`key:`) is the same as none, as in Go."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    @model_validator(mode="before")
    @classmethod
    def _without_empty(cls, data: Any) -> Any:
        return {key: value for key, value in data.items() if value is not None} if isinstance(data, dict) else data
