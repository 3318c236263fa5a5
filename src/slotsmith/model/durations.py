"""Lengths of time as people write them: `90s`, `20m`, `1h30m`, `1.5d`, `250ms`."""

import math
import re
from fractions import Fraction

_UNITS = (
    ("d", Fraction(86400)),
    ("h", Fraction(3600)),
    ("m", Fraction(60)),
    ("s", Fraction(1)),
    ("ms", Fraction(1, 1000)),
)
_PATTERN = re.compile("".join(rf"(?:([0-9]+(?:\.[0-9]+)?){unit}\s*)?" for unit, _ in _UNITS))
# A float has 308 digits before it is infinite; nobody means a duration of more than a few.
_LONGEST_TEXT = 64


def parse_duration(text: str) -> float:
    """Seconds of a duration like `90s`, `20m`, `1h30m`, `1.5h` or `250ms`: units d, h, m, s, ms, the larger first.

    Raises:
        ValueError: `text` is no such duration, or has no unit.
    """
    stripped = text.strip()
    match = _PATTERN.fullmatch(stripped) if 0 < len(stripped) <= _LONGEST_TEXT else None
    if match is None:
        raise ValueError(f"expected a duration with a unit like 90s, 20m or 1h30m, got {text!r}")
    # Exact fractions, so that a formatted duration is read back as the very same number.
    return float(
        sum(Fraction(number) * unit for number, (_, unit) in zip(match.groups(), _UNITS, strict=True) if number)
    )


def format_duration(seconds: float) -> str:
    """The shortest text that `parse_duration` reads back as exactly `seconds`, e.g. `1h30m`, `250ms`, `0s`.

    Raises:
        ValueError: `seconds` is negative or not finite.
    """
    if not (math.isfinite(seconds) and seconds >= 0):
        raise ValueError(f"a duration is a finite number of at least 0 seconds, got {seconds}")
    # The decimal that a person would write for this float, not the binary fraction behind it.
    rest = Fraction(repr(float(seconds)))
    if 0 < rest < 1:
        return f"{_decimal(rest * 1000)}ms"
    parts: list[str] = []
    for unit, length in _UNITS[:3]:
        count, rest = divmod(rest, length)
        if count:
            parts.append(f"{count}{unit}")
    if rest or not parts:
        parts.append(f"{_decimal(rest)}s")
    return "".join(parts)


def _decimal(value: Fraction) -> str:
    """A fraction whose denominator divides a power of ten, written out without an exponent."""
    digits = 0
    while (value * 10**digits).denominator != 1:
        digits += 1
    whole = str((value * 10**digits).numerator).rjust(digits + 1, "0")
    return f"{whole[:-digits]}.{whole[-digits:]}" if digits else whole
