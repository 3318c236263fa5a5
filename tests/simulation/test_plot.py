"""Charts of runs: what they show, and that they are files which need nothing else."""

from __future__ import annotations

import re
import struct
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slotsmith.simulation import plot
from slotsmith.simulation.course import Course
from slotsmith.simulation.plot import (
    MOST_POINTS,
    PlotError,
    SweepPoint,
    check_plot,
    course_chart,
    plot_course,
    plot_sweep,
    stretch_maxima,
    stretch_means,
    sweep_chart,
)

COURSE = Course(
    seconds=(0.0, 3600.0, 7200.0, 86400.0),
    instances=(0, 4, 2, 0),
    capacity=(0, 16, 8, 0),
    used=(0, 12, 8, 0),
    asked=(2, 12, 8, 0),
    waiting=(1, 0, 0, 0),
    end=4 * 86400.0,
)
POINTS = (SweepPoint("1m", 51.5, 68.25, 192.0), SweepPoint("20m", 52.5, 61.75, 191.0))


def png_size(file: Path) -> tuple[int, int]:
    content = file.read_bytes()
    assert content.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = struct.unpack(">II", content[16:24])
    return width, height


def assert_complete_page(file: Path, *texts: str) -> None:
    """A page that fetches nothing, and holds these texts."""
    page = file.read_text()
    assert not re.search(r"<(script|link)[^>]*\b(src|href)=", page)
    assert "@import" not in page
    for text in texts:
        assert text in page


def test_a_course_as_a_page(tmp_path: Path) -> None:
    plot_course(COURSE, tmp_path / "out.html", title="Pool gpu", subtitle="seed 7")
    assert_complete_page(tmp_path / "out.html", "Pool gpu", "seed 7", "days from the start", "vega")


def test_a_course_as_an_image(tmp_path: Path) -> None:
    plot_course(COURSE, tmp_path / "out.PNG", title="Pool gpu")
    width, height = png_size(tmp_path / "out.PNG")
    assert 1600 < width < 2400
    assert 1200 < height < 1800


def test_a_sweep_as_a_page_and_as_an_image(tmp_path: Path) -> None:
    for name in ("out.html", "out.png"):
        plot_sweep(POINTS, tmp_path / name, parameter="max_idle_agent_period", unit="cost in US dollars", title="gpu")
    assert_complete_page(tmp_path / "out.html", "max_idle_agent_period", "cost in US dollars", '"label": "20m"')
    assert png_size(tmp_path / "out.png") > (1500, 700)


def test_a_course_shows_means_and_keeps_the_most_that_waited() -> None:
    spec = course_chart(COURSE, "t", "").to_dict()
    (rows,) = spec["datasets"].values()
    assert len(rows) == MOST_POINTS
    assert rows[0]["time"] == 0
    assert rows[0]["most"] == 1
    assert rows[-1] == {"time": pytest.approx(4, abs=0.01), "most": 0} | dict.fromkeys(
        ("instances", "capacity", "used", "asked", "waiting", "packed"), 0
    )
    paid = sum(row["instances"] for row in rows) * 4 * 24 / MOST_POINTS
    assert paid == pytest.approx(4 * 1 + 2 * 22, rel=1e-3), "instance-hours under the curve"
    assert {row["packed"] for row in rows if row["instances"] == 4} == {3}
    assert [panel["title"]["text"] for panel in spec["vconcat"]] == ["Fleet", "Demand", "Waiting"]
    assert spec["resolve"]["scale"]["x"] == "shared"


def test_a_sweep_labels_each_point_by_its_value() -> None:
    spec = sweep_chart(POINTS, "max_idle_agent_period", "instance-hours", "t", "").to_dict()
    (rows,) = spec["datasets"].values()
    assert [(row["label"], row["cost"], row["mean"], row["p95"]) for row in rows] == [
        ("1m", 51.5, 68.25, 192.0),
        ("20m", 52.5, 61.75, 191.0),
    ]
    for panel in spec["hconcat"]:
        (labels,) = [layer for layer in panel["layer"] if layer["mark"]["type"] == "text"]
        assert labels["encoding"]["text"]["field"] == "label"


def test_points_that_are_equal_have_room_around_them(tmp_path: Path) -> None:
    same = (SweepPoint("1", 0.0, 0.0, 0.0), SweepPoint("2", 0.0, 0.0, 0.0))
    plot_sweep(same, tmp_path / "out.png", parameter="min_instances", unit="instance-hours", title="gpu")
    plot_sweep(same[:1], tmp_path / "one.png", parameter="min_instances", unit="instance-hours", title="gpu")


@pytest.mark.parametrize(
    ("end", "unit"), [(4 * 86400.0, "days"), (2 * 86400.0, "hours"), (1.5 * 3600.0, "minutes"), (100.0, "seconds")]
)
def test_the_time_axis_has_the_unit_that_fits(end: float, unit: str) -> None:
    course = Course((0.0,), (1,), (4,), (2,), (2,), (0,), end)
    spec = course_chart(course, "t", "").to_dict()
    assert spec["vconcat"][-1]["layer"][0]["encoding"]["x"]["axis"]["title"] == f"{unit} from the start of the trace"


def test_a_course_of_no_length_is_drawn_too(tmp_path: Path) -> None:
    plot_course(Course((5.0,), (1,), (4,), (2,), (2,), (0,), 5.0), tmp_path / "out.png", title="t")


@given(
    st.lists(st.tuples(st.integers(1, 50), st.integers(0, 9)), min_size=1, max_size=30),
    st.integers(0, 60),
    st.integers(1, 20),
)
def test_stretches_of_steps_have_their_mean_and_their_largest(
    steps: list[tuple[int, int]], more: int, count: int
) -> None:
    lengths, values = [float(length) for length, _ in steps], [value for _, value in steps]
    times = np.concatenate([[0.0], np.cumsum(lengths)])[:-1]
    end = times[-1] + 1 + more
    edges = np.linspace(0.0, end, count + 1)

    def at(moment: float) -> int:
        return values[max(index for index, time in enumerate(times) if time <= moment)]

    means, most = stretch_means(times, values, edges), stretch_maxima(times, values, edges)
    for index, (start, stop) in enumerate(pairwise(edges)):
        corners = [start, *(time for time in times if start < time < stop), stop]
        parts = [(right - left, at(left)) for left, right in pairwise(corners)]
        assert means[index] == pytest.approx(sum(width * value for width, value in parts) / (stop - start))
        assert most[index] == max(value for _, value in parts)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("out.svg", r"a chart is written as \*\.html or \*\.png"),
        ("out", r"a chart is written as \*\.html or \*\.png"),
        ("no/such/out.png", "its directory does not exist"),
        ("dir.png", "is a directory"),
    ],
)
def test_a_file_that_cannot_be_written_is_told_before_the_run(tmp_path: Path, name: str, told: str) -> None:
    (tmp_path / "dir.png").mkdir()
    with pytest.raises(PlotError, match=told):
        check_plot(tmp_path / name)


@pytest.mark.parametrize("module", ["altair", "vl_convert"])
def test_a_missing_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str) -> None:
    monkeypatch.setattr(plot, "find_spec", lambda name: None if name == module else object())
    with pytest.raises(PlotError, match=rf"{module}: pip install 'slotsmith\[plot\]'"):
        check_plot(tmp_path / "out.png")


def test_altair_is_imported_only_when_a_chart_is_drawn() -> None:
    code = "import sys, slotsmith.simulation.plot; assert not {'altair', 'vl_convert'} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", code], check=True)
