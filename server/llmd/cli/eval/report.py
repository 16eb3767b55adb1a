"""Formats an evaluation as tables in Markdown and as charts. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from llmd.cli.eval.stats import Difference, Estimate
from llmd.cli.eval.summary import Comparison, Summary, ThresholdEffect
from llmd.cli.report_files import Chart, Dot

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
    """Holds all figures; in JSON, figures that are not finite are null. `title` names the set of
    places; `is_whole`: every setting has completed every place."""

    title: str
    n_places: int
    is_whole: bool
    settings: tuple[Summary, ...]
    pairs: tuple[Comparison, ...]


def as_text(report: EvalReport) -> str:
    state = "" if report.is_whole else "; not finished"
    parts = [f"{report.title}: {report.n_places} places{state}"]
    if any(summary.n for summary in report.settings):
        summaries = [([item.name, str(item.n)], item.metrics) for item in report.settings]
        parts.append(_metrics_table(["setting", "places"], summaries))
    if report.pairs:
        parts.append("Second minus first, place by place; p is two-sided:")
        pairs = [([pair.first, pair.second, str(pair.n)], pair.metrics) for pair in report.pairs]
        parts.append(_metrics_table(["first", "second", "places"], pairs))
    for summary in report.settings[:1]:  # the JSON has all
        if summary.gates:
            parts.append(f"{summary.name}, with a minimum for the mean log-probability:")
            parts.append(_thresholds_table(summary.gates))
    return "\n\n".join(parts)


def _metrics_table(
    titles: list[str], rows: Sequence[tuple[list[str], Mapping[str, Estimate]]]
) -> str:
    """Returns a table with a column for each metric that some row has."""
    used = [name for name in COLUMNS if any(name in metrics for _, metrics in rows)]
    head = [*titles, *(COLUMNS[name][0] for name in used)]
    body = [[*row, *(_estimate(metrics.get(name), name) for name in used)] for row, metrics in rows]
    return table([head, *body])


def _thresholds_table(effects: Sequence[ThresholdEffect]) -> str:
    rows = [["from", "suggestions", "kept chars", "shown per kept"]]
    for effect in effects:
        shares = (f"{100 * share:.0f} %" for share in (effect.shown, effect.kept))
        rows.append([f"{effect.threshold:g}", *shares, f"{effect.shown_per_kept:.2f}"])
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
    if isinstance(estimate, Difference):
        value = _number(estimate.value, column, "+")
        return f"{value} ({low} to {high}), p {estimate.p:.3f}"
    return f"{value} ({low} to {high})"


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
