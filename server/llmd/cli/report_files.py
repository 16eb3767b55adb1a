"""Writes the files of a benchmark or an evaluation, and draws their charts as SVG.

A chart has a row for each thing compared: a dot with its interval. The only importer of leather,
which the extra `llmd[bench]` brings; without leather there are no pictures.
"""

from __future__ import annotations

import argparse
import io
import math
import sys
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from llmd.errors import BadInput

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
    """Describes one chart.

    `top` is the end of the scale; 0: the largest value.
    """

    title: str
    dots: tuple[Dot, ...]
    top: float = 0.0


def write_report(
    args: argparse.Namespace, name: str, text: str, data: object, charts: Sequence[Chart]
) -> None:
    """Writes NAME.md, NAME.json and NAME.svg to the folder `--out`, and prints the text, or with
    `--json` the data. Without leather, prints how to get the charts.

    Raises:
        BadInput: the folder cannot be written.
    """
    json = msgspec.json.encode(data).decode()
    files = {f"{name}.md": text + "\n", f"{name}.json": json + "\n"}
    if (svg := draw_charts(charts)) is not None:
        files[f"{name}.svg"] = svg
    else:
        hint = "leather is not installed; install it with `pip install 'llmd[bench]'`"
        print(f"llmd: `{Path(args.out, name)}.svg` is not drawn: {hint}", file=sys.stderr)
    write_files(Path(args.out), files)
    print(json if args.json else text)


def write_files(folder: Path, files: Mapping[str, str]) -> None:
    """
    Raises:
        BadInput: the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (folder / name).write_text(content, encoding="utf-8")
    except OSError as error:
        raise BadInput(f"Folder `{folder}` cannot be written: {error.strerror}") from None


class _Intervals:
    """Draws rows of (value, name, low, high). Has the methods of leather's `Shape`."""

    def validate_series(self, series: Any) -> None:
        pass

    def to_svg(
        self, width: float, height: float, x_scale: Any, y_scale: Any, series: Any, _palette: Any
    ) -> ET.Element:
        group = ET.Element("g")
        for datum in series.data():
            value, _, low, high = datum.row
            y = str(y_scale.project(datum.y, height, 0))
            x, first, last = (str(x_scale.project(x, 0, width)) for x in (value, low, high))
            line = {"x1": first, "y1": y, "x2": last, "y2": y, "stroke": _COLOUR}
            ET.SubElement(group, "line", {**line, "stroke-width": "2"})
            ET.SubElement(group, "circle", {"cx": x, "cy": y, "r": "5", "fill": _COLOUR})
        return group


def draw_charts(charts: Sequence[Chart]) -> str | None:
    """Returns SVG; empty if there are no charts, None if leather is not installed."""
    try:
        import leather
    except ImportError:
        return None
    if not charts:
        return ""
    for name in ("title", "tick", "axis_title", "legend"):
        setattr(leather.theme, f"{name}_font_family", _FONT)
    grid = leather.Grid()
    for chart in charts:
        data = [(dot.value, dot.name, dot.low, dot.high) for dot in reversed(chart.dots)]
        drawn = leather.Chart(chart.title)
        drawn.add_series(leather.Series(data), _Intervals())
        drawn.add_x_scale(0, chart.top or max(dot.high for dot in chart.dots) * 1.05 or 1)
        grid.add_one(drawn)
    n_columns = math.ceil(math.sqrt(len(charts)))  # as leather's grid arranges them
    n_rows = math.ceil(len(charts) / n_columns)
    height = n_rows * (max(len(chart.dots) for chart in charts) * ROW_HEIGHT + FRAME_HEIGHT)
    svg = io.StringIO()
    grid.to_svg(svg, width=n_columns * WIDTH, height=height)
    return svg.getvalue()
