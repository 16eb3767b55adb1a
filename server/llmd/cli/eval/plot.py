"""An evaluation as SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence

from llmd.cli.chart import Chart, Dot, draw_charts
from llmd.cli.eval.report import COLUMNS, EvalReport
from llmd.cli.eval.stats import Estimate
from llmd.cli.eval.summary import Summary

SHOWN = ("first_line", "whole", "passed", "similarity", "empty", "kept", "shown_per_kept")


def svg(report: EvalReport) -> str:
    """Empty where nothing has been measured."""
    return draw_charts([chart for name in SHOWN if (chart := _chart(name, report.settings))])


def _chart(name: str, summaries: Sequence[Summary]) -> Chart | None:
    """None where no setting has that measure."""
    title, is_share = COLUMNS[name]
    factor = 100 if is_share else 1
    dots = tuple(
        Dot(summary.name, found.value * factor, found.low * factor, found.high * factor)
        for summary in summaries
        if (found := summary.metrics.get(name)) and _is_finite(found)
    )
    if not dots:
        return None
    return Chart(f"{title}, %" if is_share else title, dots, 100 if is_share else 0)


def _is_finite(found: Estimate) -> bool:
    return all(map(math.isfinite, (found.value, found.low, found.high)))
