"""An evaluation as tables in Markdown, and as JSON. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from llmd.cli.eval.stats import Difference, Estimate
from llmd.cli.eval.summary import Comparison, Summary, ThresholdEffect

# The column's title, and whether it is in percent.
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


@dataclass(frozen=True, slots=True)
class EvalReport:
    """`title` says which places; `is_whole`: every place has an answer from every setting."""

    title: str
    n_places: int
    is_whole: bool
    settings: tuple[Summary, ...]
    pairs: tuple[Comparison, ...]


def as_json(report: EvalReport) -> str:
    """Numbers that are not finite are null."""
    return msgspec.json.encode(report).decode()


def as_text(report: EvalReport) -> str:
    state = "" if report.is_whole else "; not finished"
    parts = [f"{report.title}: {report.n_places} places{state}"]
    if any(summary.n for summary in report.settings):
        parts.append(_settings_table(report.settings))
    if report.pairs:
        parts.append("Second less first, place by place; p is two-sided:")
        parts.append(_pairs_table(report.pairs))
    for summary in report.settings[:1]:  # the JSON has all
        if summary.gates:
            parts.append(f"{summary.name}, shown only from a mean log-probability on:")
            parts.append(_gates_table(summary.gates))
    return "\n\n".join(parts)


def _settings_table(summaries: Sequence[Summary]) -> str:
    used = [name for name in COLUMNS if any(name in summary.metrics for summary in summaries)]
    rows = [["setting", "places", *(COLUMNS[name][0] for name in used)]]
    for summary in summaries:
        cells = [_estimate(summary.metrics.get(name), COLUMNS[name][1]) for name in used]
        rows.append([summary.name, str(summary.n), *cells])
    return table(rows)


def _pairs_table(pairs: Sequence[Comparison]) -> str:
    used = [name for name in COLUMNS if any(name in pair.metrics for pair in pairs)]
    rows = [["first", "second", "places", *(COLUMNS[name][0] for name in used)]]
    for pair in pairs:
        cells = [_difference(pair.metrics.get(name), COLUMNS[name][1]) for name in used]
        rows.append([pair.first, pair.second, str(pair.n), *cells])
    return table(rows)


def _gates_table(gates: Sequence[ThresholdEffect]) -> str:
    rows = [["from", "suggestions", "kept chars", "shown per kept"]]
    rows += [
        [
            f"{gate.threshold:g}",
            f"{100 * gate.shown:.0f} %",
            f"{100 * gate.kept:.0f} %",
            f"{gate.shown_per_kept:.2f}",
        ]
        for gate in gates
    ]
    return table(rows)


def table(rows: Sequence[Sequence[str]]) -> str:
    """In Markdown, and aligned: the first column left, the others right."""
    widths = [max(len(row[index]) for row in rows) for index in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append(f"| {' | '.join(cells)} |")
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join([lines[0], f"| {' | '.join(rule)} |", *lines[1:]])


def _estimate(found: Estimate | None, is_share: bool) -> str:
    if found is None or math.isnan(found.value):
        return ""
    low, high = (_number(value, is_share) for value in (found.low, found.high))
    return f"{_number(found.value, is_share)} ({low} to {high})"


def _difference(found: Difference | None, is_share: bool) -> str:
    if found is None or math.isnan(found.value):
        return ""
    low, high = (_number(value, is_share) for value in (found.low, found.high))
    return f"{_number(found.value, is_share, '+')} ({low} to {high}), p {found.p:.3f}"


def _number(value: float, is_share: bool, sign: str = "") -> str:
    if math.isinf(value):
        return "none kept"
    return f"{100 * value:{sign}.1f}" if is_share else f"{value:{sign}.2f}"
