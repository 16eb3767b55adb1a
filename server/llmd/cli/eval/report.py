"""Formats an evaluation as tables in Markdown, as JSON, and as charts. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from llmd.cli.chart import Chart, Dot
from llmd.cli.eval.stats import Difference, Estimate
from llmd.cli.eval.summary import Comparison, Summary, ThresholdEffect

# The column's title, and whether its values are percentages.
COLUMNS = {
    "first_line": ("first line", True),
    "whole": ("whole", True),
    "passed": ("pass@1", True),
    "similarity": ("similarity", True),
    "empty": ("empty", True),
    "repeats": ("repeats", True),
    "breaks": ("breaks", True),
    "kept": ("kept, chars", False),
    "shown_per_kept": ("shown per kept", False),
    "tokens_per_kept": ("tokens per kept", False),
}
CHARTS = ("first_line", "whole", "passed", "similarity", "empty", "kept", "shown_per_kept")


@dataclass(frozen=True, slots=True)
class EvalReport:
    """Holds all figures. `title` names the set of places; `is_whole`: every setting has completed
    every place."""

    title: str
    n_places: int
    is_whole: bool
    settings: tuple[Summary, ...]
    pairs: tuple[Comparison, ...]


def as_json(report: EvalReport) -> str:
    """Returns JSON in which numbers that are not finite are null."""
    return msgspec.json.encode(report).decode()


def as_text(report: EvalReport) -> str:
    state = "" if report.is_whole else "; not finished"
    parts = [f"{report.title}: {report.n_places} places{state}"]
    if any(summary.n for summary in report.settings):
        used = _used_columns([summary.metrics for summary in report.settings])
        rows = [["setting", "places", *(COLUMNS[name][0] for name in used)]]
        for summary in report.settings:
            cells = (_estimate(summary.metrics.get(name), name) for name in used)
            rows.append([summary.name, str(summary.n), *cells])
        parts.append(table(rows))
    if report.pairs:
        used = _used_columns([pair.metrics for pair in report.pairs])
        rows = [["first", "second", "places", *(COLUMNS[name][0] for name in used)]]
        for pair in report.pairs:
            changes = (_difference(pair.metrics.get(name), name) for name in used)
            rows.append([pair.first, pair.second, str(pair.n), *changes])
        parts += ["Second minus first, place by place; p is two-sided:", table(rows)]
    for summary in report.settings[:1]:  # the JSON has all
        if summary.gates:
            parts.append(f"{summary.name}, with a minimum for the mean log-probability:")
            parts.append(_thresholds_table(summary.gates))
    return "\n\n".join(parts)


def _used_columns(metrics: Sequence[Mapping[str, object]]) -> list[str]:
    return [name for name in COLUMNS if any(name in values for values in metrics)]


def _thresholds_table(effects: Sequence[ThresholdEffect]) -> str:
    rows = [["from", "suggestions", "kept chars", "shown per kept"]]
    rows += [
        [
            f"{effect.threshold:g}",
            f"{100 * effect.shown:.0f} %",
            f"{100 * effect.kept:.0f} %",
            f"{effect.shown_per_kept:.2f}",
        ]
        for effect in effects
    ]
    return table(rows)


def table(rows: Sequence[Sequence[str]]) -> str:
    """Returns an aligned table in Markdown: the first column left, the others right."""
    widths = [max(len(row[index]) for row in rows) for index in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append(f"| {' | '.join(cells)} |")
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join([lines[0], f"| {' | '.join(rule)} |", *lines[1:]])


def _estimate(estimate: Estimate | None, column: str) -> str:
    if estimate is None or math.isnan(estimate.value):
        return ""
    value, low, high = (_number(n, column) for n in (estimate.value, estimate.low, estimate.high))
    return f"{value} ({low} to {high})"


def _difference(difference: Difference | None, column: str) -> str:
    if difference is None or math.isnan(difference.value):
        return ""
    low, high = (_number(n, column) for n in (difference.low, difference.high))
    return f"{_number(difference.value, column, '+')} ({low} to {high}), p {difference.p:.3f}"


def _number(value: float, column: str, sign: str = "") -> str:
    if math.isinf(value):
        return "none kept"
    _, is_share = COLUMNS[column]
    return f"{100 * value:{sign}.1f}" if is_share else f"{value:{sign}.2f}"


def as_charts(report: EvalReport) -> list[Chart]:
    """Returns a chart for each measure that some setting has."""
    charts = []
    for name in CHARTS:
        title, is_share = COLUMNS[name]
        factor = 100 if is_share else 1
        dots = tuple(
            Dot(summary.name, value.value * factor, value.low * factor, value.high * factor)
            for summary in report.settings
            if (value := summary.metrics.get(name))
            and all(map(math.isfinite, (value.value, value.low, value.high)))
        )
        if dots:
            charts.append(Chart(f"{title}, %" if is_share else title, dots, 100 * is_share))
    return charts
