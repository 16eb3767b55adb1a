"""Measures as SVG: for each a chart, in it a row of things compared, each a dot with its interval.
The only importer of leather."""

from __future__ import annotations

import io
import math
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import leather
from leather.shapes.base import Shape

WIDTH, ROW_HEIGHT, FRAME_HEIGHT = 520, 28, 150  # of a chart, in SVG's units
_COLOUR = "#1f6feb"
_FONT = "sans-serif"


@dataclass(frozen=True, slots=True)
class Dot:
    name: str
    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Chart:
    """`top`: where its scale ends; 0: at the largest value."""

    title: str
    dots: tuple[Dot, ...]
    top: float = 0.0


class _Intervals(Shape):  # type: ignore[misc]
    """Rows of (value, name, low, high)."""

    def validate_series(self, series: Any) -> None:
        pass

    def to_svg(
        self, width: float, height: float, x_scale: Any, y_scale: Any, series: Any, _palette: Any
    ) -> ET.Element:
        group = ET.Element("g")
        for datum in series.data():
            value, _, low, high = datum.row
            y = str(y_scale.project(datum.y, height, 0))
            at, first, last = (str(x_scale.project(x, 0, width)) for x in (value, low, high))
            line = {"x1": first, "y1": y, "x2": last, "y2": y, "stroke": _COLOUR}
            ET.SubElement(group, "line", {**line, "stroke-width": "2"})
            ET.SubElement(group, "circle", {"cx": at, "cy": y, "r": "5", "fill": _COLOUR})
        return group


def draw_charts(charts: Sequence[Chart]) -> str:
    """Empty where there is nothing."""
    for name in ("title", "tick", "axis_title", "legend"):
        setattr(leather.theme, f"{name}_font_family", _FONT)
    if not charts:
        return ""
    grid = leather.Grid()
    grid.add_many([_build_chart(chart) for chart in charts])
    n_columns = math.ceil(math.sqrt(len(charts)))  # as the grid lays them
    n_rows = math.ceil(len(charts) / n_columns)
    height = n_rows * (max(len(chart.dots) for chart in charts) * ROW_HEIGHT + FRAME_HEIGHT)
    made = io.StringIO()
    grid.to_svg(made, width=n_columns * WIDTH, height=height)
    return made.getvalue()


def _build_chart(chart: Chart) -> Any:
    made = leather.Chart(chart.title)
    data = [(dot.value, dot.name, dot.low, dot.high) for dot in reversed(chart.dots)]
    made.add_series(leather.Series(data), _Intervals())
    made.add_x_scale(0, chart.top or max(dot.high for dot in chart.dots) * 1.05 or 1)
    return made
