"""Charts of simulated runs, as one HTML page that needs no network or as a PNG image.

Drawn with Altair, which comes with the extra `plot` and is imported only when a chart is drawn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import altair as alt

    from slotsmith.simulation.course import Course

SUFFIXES: Final = (".html", ".png")
"""What a chart can be written as, by the end of its file's name."""
MOST_POINTS: Final = 700
"""Points of a curve: more than this no screen shows, and a page would carry megabytes of them."""

# Okabe and Ito's palette: told apart by all kinds of colour vision, and in grey by their lightness.
_BLUE, _ORANGE, _VERMILLION, _SKY = "#0072B2", "#E69F00", "#D55E00", "#9CCEEB"
_INK, _GRID = "#333333", "#E4E4E4"
_WIDTH, _HEIGHT = 860, 170
_PNG_SCALE = 2.0
_UNITS = (("days", 86400.0), ("hours", 3600.0), ("minutes", 60.0))
# A unit is used from so many of it on: 1.5 days are easier read as 36 hours.
_UNIT_FROM = 3.0


class PlotError(Exception):
    """No chart can be drawn, or not there. The text is for people."""


@dataclass(frozen=True, slots=True)
class SweepPoint:
    """One value of a sweep: what it cost (in US dollars, or instance-hours) and how long tasks waited (seconds).

    Points of one `series` have a colour, and a line, of their own.
    """

    label: str
    cost: float
    wait_mean: float
    wait_p95: float
    series: str = ""


def check_plot(file: Path) -> None:
    """Whether a chart can be written to `file`: before a long run, and not after it.

    Raises:
        PlotError: the name ends otherwise, there is no such directory, or the extra is not installed.
    """
    if file.suffix.lower() not in SUFFIXES:
        raise PlotError(f"{file}: a chart is written as {' or '.join(f'*{suffix}' for suffix in SUFFIXES)}")
    if file.is_dir():
        raise PlotError(f"{file}: is a directory, expected a file")
    if not file.absolute().parent.is_dir():
        raise PlotError(f"{file}: its directory does not exist")
    for module in ("altair", "vl_convert"):
        if find_spec(module) is None:
            raise PlotError(f"charts need the package {module}: pip install 'slotsmith[plot]'")


def plot_course(course: Course, file: Path, *, title: str, subtitle: str = "") -> None:
    """Fleet, demand and waiting tasks over time, one above the other.

    Raises:
        PlotError: see `check_plot`; or the file cannot be written.
    """
    check_plot(file)
    _save(course_chart(course, title, subtitle), file)


def plot_sweep(
    points: Sequence[SweepPoint],
    file: Path,
    *,
    parameter: str,
    unit: str,
    title: str,
    subtitle: str = "",
    joined: bool = True,
) -> None:
    """Cost against mean and 95th percentile of the wait; each point is labelled by its value of `parameter`.

    `unit` names what the costs are counted in. `joined`: the values have an order, and a line goes through them.

    Raises:
        PlotError: see `check_plot`; or the file cannot be written.
    """
    check_plot(file)
    _save(sweep_chart(points, parameter, unit, title, subtitle, joined=joined), file)


def course_chart(course: Course, title: str, subtitle: str) -> alt.VConcatChart:
    """The chart of `plot_course`."""
    import altair as alt

    unit, length = _unit(course.end - course.seconds[0])
    rows = _rows(course, length)
    axis = alt.Axis(title=f"{unit} from the start of the trace", tickCount=14, labelFlush=False)
    silent = alt.Axis(labels=False, ticks=False, title=None, tickCount=14)

    def panel(name: str, y_title: str, series: Mapping[str, tuple[str, str]], *, last: bool) -> Any:
        """`series`: the name in the legend, then the column and the colour; those after the first lie over it."""
        x = alt.X(
            "time:Q",
            axis=axis if last else silent,
            scale=alt.Scale(nice=False, zero=False),
        )
        colours = alt.Scale(domain=list(series), range=[colour for _, colour in series.values()])
        tooltip = [alt.Tooltip("time:Q", title=unit, format=".2f")]
        tooltip += [alt.Tooltip(f"{column}:Q", title=told, format=",.1f") for told, (column, _) in series.items()]
        legend = alt.Legend(title=None, orient="none", legendX=_WIDTH - 210, legendY=-24, direction="horizontal")
        zoom = alt.selection_interval(name=f"zoom_{name.lower()}", bind="scales", encodings=["x"])
        layers = []
        for number, (told, (column, _)) in enumerate(series.items()):
            base = alt.Chart().transform_calculate(series=f"'{told}'")
            mark = base.mark_area(interpolate="step-after", opacity=0.85)
            if number:
                mark = base.mark_line(interpolate="step-after", strokeWidth=1.4)
            colour = alt.Color("series:N", scale=colours, legend=legend)
            layers.append(mark.encode(x=x, y=alt.Y(f"{column}:Q", title=y_title), color=colour, tooltip=tooltip))
        return alt.layer(*layers, title=_left(name, -14)).properties(width=_WIDTH, height=_HEIGHT).add_params(zoom)

    panels = (
        panel("Fleet", "instances", {"paid": ("instances", _SKY), "at work, if packed": ("packed", _BLUE)}, last=False),
        panel("Demand", "slots", {"at work": ("used", _SKY), "asked for": ("asked", _VERMILLION)}, last=False),
        panel("Waiting", "tasks", {"most at once": ("most", _ORANGE), "mean": ("waiting", _INK)}, last=True),
    )
    chart = alt.vconcat(*panels, data=alt.InlineData(values=rows), spacing=14)
    chart = chart.resolve_scale(x="shared", color="independent")
    styled: alt.VConcatChart = _styled(chart, title, subtitle)
    return styled


def sweep_chart(
    points: Sequence[SweepPoint], parameter: str, unit: str, title: str, subtitle: str, *, joined: bool = True
) -> alt.HConcatChart:
    """The chart of `plot_sweep`."""
    import altair as alt

    values: list[dict[str, Any]] = [
        {"order": number, "label": point.label, "cost": point.cost, "mean": point.wait_mean, "p95": point.wait_p95}
        | {"series": point.series}
        for number, point in enumerate(points)
    ]
    names = list(dict.fromkeys(point.series for point in points))
    several = alt.Color(
        "series:N",
        scale=alt.Scale(domain=names, range=[_BLUE, _VERMILLION, _ORANGE][: len(names)]),
        legend=alt.Legend(title=None, orient="bottom"),
    )

    def panel(column: str, name: str, colour: str) -> Any:
        base = alt.Chart(title=_left(name)).encode(
            x=alt.X(f"{column}:Q", title="wait in seconds", scale=_scale([value[column] for value in values], 0.1)),
            y=alt.Y("cost:Q", title=unit, scale=_scale([value["cost"] for value in values], 0.02)),
            tooltip=[
                alt.Tooltip("label:N", title=parameter),
                alt.Tooltip("cost:Q", title=unit, format=",.2f"),
                alt.Tooltip(f"{column}:Q", title="wait in seconds", format=",.1f"),
            ],
        )
        shade = several if len(names) > 1 else alt.value(colour)
        line = base.mark_line(opacity=0.5 if joined else 0.0).encode(order="order:O", color=shade)
        dots = base.mark_circle(size=90, opacity=1).encode(color=shade)
        labels = []
        for number, name in enumerate(names):
            # Series lie close together: the names of every second one stand on the other side.
            side: dict[str, Any] = {"align": "right", "dx": -8} if number % 2 else {"align": "left", "dx": 8}
            text = base.transform_filter(alt.FieldEqualPredicate(field="series", equal=name))
            labels.append(text.mark_text(dy=-9, fontSize=12, color=_INK, **side).encode(text="label:N"))
        return alt.layer(line, dots, *labels).properties(width=_WIDTH / 2 - 40, height=320)

    panels = (panel("mean", "Mean wait", _BLUE), panel("p95", "95 of 100 tasks wait no longer than", _VERMILLION))
    chart = alt.hconcat(*panels, data=alt.InlineData(values=values), spacing=40)
    styled: alt.HConcatChart = _styled(chart, f"{title}: cost against wait, by {parameter}", subtitle)
    return styled


def _scale(values: Sequence[float], least: float) -> alt.Scale:
    """A scale with room around the values, so wide that a difference of less than `least` of them looks small."""
    import altair as alt

    low, high = min(values), max(values)
    room = max(high - low, least * high, 1e-9)
    middle = (low + high) / 2
    return alt.Scale(zero=False, domain=[max(0.0, middle - 0.65 * room), middle + 0.65 * room])


def _styled(chart: Any, title: str, subtitle: str) -> Any:
    import altair as alt

    told = alt.TitleParams(title, subtitle=subtitle or alt.Undefined, anchor="start", offset=14)
    return (
        chart.properties(title=told, padding=18)
        .configure(font="Liberation Sans, Arial, sans-serif", background="white")
        .configure_title(fontSize=17, subtitleFontSize=12, color=_INK, subtitleColor="#555555")
        .configure_axis(
            labelFontSize=11,
            titleFontSize=12,
            titleFontWeight="normal",
            labelColor=_INK,
            titleColor=_INK,
            gridColor=_GRID,
            domainColor="#888888",
            tickColor="#888888",
            format=",.6~g",
        )
        .configure_axisY(minExtent=52, tickCount=5)
        .configure_legend(labelFontSize=11, labelColor=_INK, columnPadding=14)
        .configure_view(stroke=None)
    )


def _left(text: str, offset: int = 6) -> alt.TitleParams:
    import altair as alt

    return alt.TitleParams(text, anchor="start", fontSize=13, offset=offset)


def _save(chart: Any, file: Path) -> None:
    try:
        if file.suffix.lower() == ".html":
            chart.save(str(file), format="html", inline=True)
        else:
            chart.save(str(file), format="png", scale_factor=_PNG_SCALE)
    except OSError as error:
        raise PlotError(f"{file}: cannot be written: {error.strerror or error}") from None


def _unit(seconds: float) -> tuple[str, float]:
    """The unit for a time axis of this length, and its seconds."""
    return next((unit for unit in _UNITS if seconds >= _UNIT_FROM * unit[1]), ("seconds", 1.0))


def _rows(course: Course, unit: float) -> list[dict[str, float]]:
    """The course in at most `MOST_POINTS` equal stretches: the mean of each value, and the most that waited."""
    columns = ("instances", "capacity", "used", "asked", "waiting")
    times = np.asarray(course.seconds, dtype=float)
    edges = np.linspace(times[0], max(course.end, times[0]), MOST_POINTS + 1)
    means = {name: stretch_means(times, getattr(course, name), edges) for name in columns}
    most = stretch_maxima(times, course.waiting, edges)
    # In instances that are full: what runs could do with so many.
    slots = np.divide(means["capacity"], means["instances"], out=np.ones(MOST_POINTS), where=means["instances"] > 0)
    means["packed"] = means["used"] / np.maximum(slots, 1.0)
    return [
        {"time": round(float(edge) / unit, 6), "most": float(most[index])}
        | {name: round(float(values[index]), 3) for name, values in means.items()}
        for index, edge in enumerate(edges[:-1])
    ]


def stretch_means(times: NDArray[np.float64], values: Sequence[float], edges: NDArray[np.float64]) -> Any:
    """The mean of a step function between each two of `edges`, which begin at `times[0]`; the last step goes on."""
    steps = np.asarray(values, dtype=float)
    ends = np.append(times[1:], max(float(edges[-1]), float(times[-1])))
    areas = np.concatenate([[0.0], np.cumsum(steps * (ends - times))])
    upto = np.interp(edges, np.append(times, ends[-1]), areas)
    widths = np.diff(edges)
    at = np.clip(np.searchsorted(times, edges[:-1], side="right") - 1, 0, None)
    return np.where(widths > 0, np.diff(upto) / np.where(widths > 0, widths, 1.0), steps[at])


def stretch_maxima(times: NDArray[np.float64], values: Sequence[float], edges: NDArray[np.float64]) -> Any:
    """The largest value of a step function between each two of `edges`, which begin at `times[0]`."""
    steps = np.asarray(values, dtype=float)
    first = np.clip(np.searchsorted(times, edges[:-1], side="right") - 1, 0, None)
    last = np.searchsorted(times, edges[1:], side="left")
    return np.array([steps[begin : max(end, begin + 1)].max() for begin, end in zip(first, last, strict=True)])
