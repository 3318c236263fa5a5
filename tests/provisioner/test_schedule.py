"""Limits by time of day: which hold when, also where clocks are changed."""

from __future__ import annotations

import math
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from slotsmith.model.policy import Policy, Window
from slotsmith.provisioner.schedule import Schedule, month_of, next_month

VIENNA = ZoneInfo("Europe/Vienna")
BASE = Policy(min_instances=1, max_instances=4)
WORK = Window("0 8 * * MON-FRI", "Europe/Vienna", 10 * 3600.0, min_instances=2, max_instances=20)
LUNCH = Window("30 12 * * *", "Europe/Vienna", 3600.0, min_instances=0)


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=VIENNA).timestamp()


def limits(schedule: Schedule, text: str) -> tuple[int, int]:
    policy = schedule.at(at(text))
    return policy.min_instances, policy.max_instances


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        ("2026-06-03T07:59:59", (1, 4)),
        ("2026-06-03T08:00:00", (2, 20)),
        ("2026-06-03T12:29:59", (2, 20)),
        ("2026-06-03T12:30:00", (0, 20)),
        ("2026-06-03T13:29:59", (0, 20)),
        ("2026-06-03T13:30:00", (2, 20)),
        ("2026-06-03T17:59:59", (2, 20)),
        ("2026-06-03T18:00:00", (1, 4)),
        ("2026-06-06T09:00:00", (1, 4)),
        ("2026-06-06T12:45:00", (0, 4)),
    ],
)
def test_the_limits_of_the_hour_hold(moment: str, expected: tuple[int, int]) -> None:
    assert limits(Schedule(BASE, (WORK, LUNCH)), moment) == expected
    # It may have been asked at another time before, and clocks may go back.
    used = Schedule(BASE, (WORK, LUNCH))
    for other in ("2026-06-03T12:31:00", "2026-06-02T08:00:00", "2026-06-09T23:00:00"):
        used.at(at(other))
    assert limits(used, moment) == expected


def test_every_change_is_a_reason_to_look_again() -> None:
    schedule, now, changes = Schedule(BASE, (WORK, LUNCH)), at("2026-06-03T00:00:00"), []
    while now < at("2026-06-04T00:00:00"):
        until = schedule.next_change(now)
        assert until is not None
        assert until > now
        assert schedule.at(math.nextafter(until, 0.0)) == schedule.at(now)
        changes.append(schedule.at(now).min_instances)
        now = until
    assert changes == [1, 2, 0, 2, 1]


@pytest.mark.parametrize("day", ["2026-03-29", "2026-10-25"])
def test_a_window_has_its_length_when_clocks_are_changed(day: str) -> None:
    night = Window("0 1 * * *", "Europe/Vienna", 4 * 3600.0, max_instances=9)
    schedule = Schedule(BASE, (night,))
    begins = at(f"{day}T01:00:00")
    assert schedule.at(begins - 1).max_instances == 4
    assert schedule.at(begins).max_instances == 9
    assert schedule.at(begins + 4 * 3600 - 1).max_instances == 9
    assert schedule.at(begins + 4 * 3600).max_instances == 4


def test_where_two_do_not_fit_the_maximum_stands() -> None:
    more = Window("0 0 * * *", "UTC", 86400.0, min_instances=4)
    fewer = Window("0 0 * * *", "UTC", 86400.0, max_instances=2)
    policy = Schedule(BASE, (more, fewer)).at(at("2026-06-03T12:00:00"))
    assert (policy.min_instances, policy.max_instances) == (2, 2)


def test_a_pool_without_a_schedule_has_its_policy_for_ever() -> None:
    schedule = Schedule(BASE)
    assert schedule.at(0.0) is BASE
    assert schedule.next_change(0.0) is None


@pytest.mark.parametrize(
    ("now", "begins", "ends"),
    [
        ("2026-12-31T23:59:59", "2026-12-01", "2027-01-01"),
        ("2026-01-01T00:00:00", "2026-01-01", "2026-02-01"),
        ("2028-02-29T12:00:00", "2028-02-01", "2028-03-01"),
    ],
)
def test_months_are_those_of_utc(now: str, begins: str, ends: str) -> None:
    def utc(text: str) -> float:
        return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo("UTC")).timestamp()

    assert (month_of(utc(now)), next_month(utc(now))) == (utc(begins), utc(ends))
    schedule = Schedule(Policy(max_dollars_per_month=9.0))
    assert schedule.next_change(utc(now)) == utc(ends)
