"""The shared settings types."""

import pytest
from pydantic import BaseModel, ValidationError

from slotsmith.settings import Duration, PositiveDuration


class _Settings(BaseModel):
    any: Duration = 0.0
    positive: PositiveDuration = 1.0


def test_durations_become_seconds_and_are_dumped_as_text() -> None:
    settings = _Settings.model_validate({"any": "0s", "positive": "1h30m"})
    assert (settings.any, settings.positive) == (0.0, 5400.0)
    assert settings.model_dump(mode="json") == {"any": "0s", "positive": "1h30m"}
    assert _Settings.model_validate(settings.model_dump(mode="json")) == settings


@pytest.mark.parametrize("value", [90, 1.5, True, None, "90", ["90s"]])
def test_a_number_without_unit_is_refused(value: object) -> None:
    with pytest.raises(ValidationError, match="expected a duration with a unit like 90s, 20m or 1h30m, got"):
        _Settings.model_validate({"any": value})


def test_a_positive_duration_is_more_than_zero() -> None:
    with pytest.raises(ValidationError, match="greater than 0"):
        _Settings.model_validate({"positive": "0s"})
