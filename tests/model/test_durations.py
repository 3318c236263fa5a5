"""Durations are read with their unit, and written so that they are read back unchanged."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slotsmith.model.durations import format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90.0),
        ("20m", 1200.0),
        ("1h30m", 5400.0),
        ("1h0m0s", 3600.0),
        ("1d", 86400.0),
        ("1.5h", 5400.0),
        ("250ms", 0.25),
        ("1s1ms", 1.001),
        ("0.1s", 0.1),
        ("0s", 0.0),
        (" 1h 30m ", 5400.0),
    ],
)
def test_reads_every_unit_and_their_sums(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text",
    [
        "90",
        "",
        "s",
        "-5s",
        "1.s",
        ".5s",
        "20 m",
        "30m1h",
        "1h1h",
        "20M",
        "1e3s",
        "infs",
        "nans",
        "٣s",
        "9" * 400 + "s",
        "5min",
    ],
)
def test_refuses_all_else_in_one_clear_line(text: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_duration(text)
    assert str(caught.value) == f"expected a duration with a unit like 90s, 20m or 1h30m, got {text!r}"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (90, "1m30s"),
        (1200, "20m"),
        (5400, "1h30m"),
        (86400, "1d"),
        (0.25, "250ms"),
        (60.1, "1m0.1s"),
        (0.0001, "0.1ms"),
        (1.5, "1.5s"),
    ],
)
def test_writes_what_a_person_would(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@pytest.mark.parametrize("seconds", [-1.0, float("inf"), float("nan")])
def test_refuses_to_write_what_cannot_be_read(seconds: float) -> None:
    with pytest.raises(ValueError, match="at least 0 seconds"):
        format_duration(seconds)


@given(st.floats(min_value=1e-6, max_value=1e12) | st.just(0.0))
def test_what_is_written_is_read_back_exactly(seconds: float) -> None:
    assert parse_duration(format_duration(seconds)) == seconds
