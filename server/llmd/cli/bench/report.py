"""Formats a benchmark as tables in Markdown and as charts. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import msgspec

from llmd.cli.bench.edit_script import KINDS
from llmd.cli.bench.metrics import ALL, BackendFigures, Distribution, KindFigures
from llmd.cli.eval.report import table
from llmd.cli.report_files import Chart, Dot

_ROWS = {kind: "new line" if kind == "newline" else kind for kind in (*KINDS, ALL)}

FigureColumn = Callable[[KindFigures], float | None]


def _percentile(name: str, part: str) -> FigureColumn:
    """Returns a column with one part of a distribution; None where there was nothing to measure."""

    def column(figures: KindFigures) -> float | None:
        values: Distribution | None = getattr(figures, name)
        return None if values is None else float(getattr(values, part))

    return column


_MEASURES: dict[str, FigureColumn] = {
    "tokens p50": _percentile("tokens", "p50"),
    "mean": _percentile("tokens", "mean"),
    "p90": _percentile("tokens", "p90"),
    "ttft ms p50": _percentile("ttft_ms", "p50"),
    "ttft p90": _percentile("ttft_ms", "p90"),
    "total ms p50": _percentile("total_ms", "p50"),
    "total p90": _percentile("total_ms", "p90"),
    "outside ms p50": _percentile("outside_ms", "p50"),
    "tokens/s": lambda figures: figures.decode_per_s,
    "prefill/s": lambda figures: figures.prefill_per_s,
}
_OUTCOMES: dict[str, FigureColumn] = {
    "by model": lambda figures: figures.n_model,
    "from memory": lambda figures: figures.n_memory,
    "memory ms p50": _percentile("memory_ms", "p50"),
    "suppressed": lambda figures: figures.n_suppressed,
    "cancelled": lambda figures: figures.n_cancelled,
    "failed": lambda figures: figures.n_failed,
    "with text": lambda figures: figures.n_suggestions,
    "chars kept": lambda figures: figures.n_kept,
    "kept each": lambda figures: figures.n_kept / max(1, figures.n_suggestions),
}
_CHARTS = {
    "prompt tokens evaluated": "tokens",
    "ttft, ms": "ttft_ms",
    "total, ms": "total_ms",
}


class BenchReport(msgspec.Struct, frozen=True):
    """Holds the figures of each backend. `setup` has a line for each fact about the run."""

    setup: dict[str, str]
    backends: tuple[BackendFigures, ...] = msgspec.field(name="sides")


def as_text(report: BenchReport) -> str:
    return "\n\n".join([
        "\n".join(f"- {name}: {text}" for name, text in report.setup.items()),
        "Requests that the model answered; times on the client's clock:",
        _table(report.backends, _MEASURES, has_ratio=True),
        "The outcome of all requests, and how much of the text was then typed:",
        _table(report.backends, _OUTCOMES),
        "Prompt tokens in addition to these:",
        _extra_tokens(report.backends),
    ])  # fmt: skip


def _table(
    backends: Sequence[BackendFigures], columns: Mapping[str, FigureColumn], has_ratio: bool = False
) -> str:
    rows = [["after", "backend", "requests", *columns]]
    for kind, title in _ROWS.items():
        measured = [(item.name, item.kinds[kind]) for item in backends if kind in item.kinds]
        for name, figures in measured:
            cells = (_cell(column(figures)) for column in columns.values())
            rows.append([title, name, str(figures.n), *cells])
        if has_ratio and len(measured) > 1:
            (first_name, first), (second_name, second) = measured
            ratios = (_ratio(column(second), column(first)) for column in columns.values())
            rows.append([title, f"{second_name} / {first_name}", "", *ratios])
    return table(rows)


def _extra_tokens(backends: Sequence[BackendFigures]) -> str:
    rows = [["backend", "cancelled", "background", "background for each request"]]
    for item in backends:
        spent = item.background
        n_background = None if spent is None else spent.n_prefill + spent.n_healed
        mean = None if n_background is None else n_background / item.kinds[ALL].n
        rows.append([item.name, *map(_cell, (item.n_cancelled, n_background, mean))])
    return table(rows)


def _cell(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.0f}" if value >= 100 or value == int(value) else f"{value:.1f}"


def _ratio(second: float | None, first: float | None) -> str:
    return f"{second / first:.2f}" if second and first else "-"


def as_charts(report: BenchReport) -> list[Chart]:
    """Returns a dot at the median and a line to the p90, for each kind of edit and backend."""
    charts = []
    for title, name in _CHARTS.items():
        measured = [
            (f"{row}, {item.name}", getattr(item.kinds[kind], name))
            for kind, row in _ROWS.items()
            for item in report.backends
            if kind in item.kinds
        ]
        dots = tuple(Dot(row, part.p50, part.p50, part.p90) for row, part in measured if part)
        charts += [Chart(title, dots)] if dots else []
    return charts
