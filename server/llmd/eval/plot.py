"""An evaluation as SVG: for each measure a row of settings, each a dot with its interval. The only
importer of leather."""

from __future__ import annotations

import io
import math
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from typing import Any

import leather
from leather.shapes.base import Shape

from llmd.eval.report import COLUMNS, Report
from llmd.eval.stats import Estimate
from llmd.eval.summary import Summary

WIDTH, ROW_HEIGHT, FRAME_HEIGHT = 520, 28, 150  # of a chart, in SVG's units
SHOWN = ("first_line", "whole", "passed", "similarity", "empty", "kept", "shown_per_kept")
_COLOUR = "#1f6feb"
_FONT = "sans-serif"


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


def svg(report: Report) -> str:
    """Empty where nothing has been measured."""
    for name in ("title", "tick", "axis_title", "legend"):
        setattr(leather.theme, f"{name}_font_family", _FONT)
    charts = [chart for name in SHOWN if (chart := _chart(name, report.settings))]
    if not charts:
        return ""
    grid = leather.Grid()
    grid.add_many(charts)
    n_columns = math.ceil(math.sqrt(len(charts)))  # as the grid lays them
    n_rows = math.ceil(len(charts) / n_columns)
    height = n_rows * (len(report.settings) * ROW_HEIGHT + FRAME_HEIGHT)
    made = io.StringIO()
    grid.to_svg(made, width=n_columns * WIDTH, height=height)
    return made.getvalue()


def _chart(name: str, summaries: Sequence[Summary]) -> Any:
    """None where no setting has that measure."""
    title, is_share = COLUMNS[name]
    rows = [
        (*_scaled(found, is_share), summary.name)
        for summary in reversed(summaries)
        if (found := summary.metrics.get(name)) and _is_finite(found)
    ]
    if not rows:
        return None
    chart = leather.Chart(f"{title}, %" if is_share else title)
    data = [(value, label, low, high) for value, low, high, label in rows]
    chart.add_series(leather.Series(data), _Intervals())
    chart.add_x_scale(0, 100 if is_share else max(row[2] for row in rows) * 1.05 or 1)
    return chart


def _scaled(found: Estimate, is_share: bool) -> tuple[float, float, float]:
    factor = 100 if is_share else 1
    return found.value * factor, found.low * factor, found.high * factor


def _is_finite(found: Estimate) -> bool:
    return all(map(math.isfinite, (found.value, found.low, found.high)))
