"""A benchmark as a table in Markdown, as JSON, and as charts. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import msgspec

from llmd.cli.bench.measure import ALL, BackendFigures, Distribution, KindFigures
from llmd.cli.bench.trace import KINDS
from llmd.cli.chart import Chart, Dot, draw_charts
from llmd.cli.eval.report import table

_TITLES = {"newline": "new line"}
_ROWS = {kind: _TITLES.get(kind, kind) for kind in (*KINDS, ALL)}

Value = Callable[[KindFigures], float | None]


def _percentile(name: str, part: str) -> Value:
    """Of a spread; None where nothing was measured."""

    def value(found: KindFigures) -> float | None:
        spread: Distribution | None = getattr(found, name)
        return None if spread is None else float(getattr(spread, part))

    return value


_MEASURES: dict[str, Value] = {
    "tokens p50": _percentile("tokens", "p50"),
    "mean": _percentile("tokens", "mean"),
    "p90": _percentile("tokens", "p90"),
    "ttft ms p50": _percentile("ttft_ms", "p50"),
    "ttft p90": _percentile("ttft_ms", "p90"),
    "total ms p50": _percentile("total_ms", "p50"),
    "total p90": _percentile("total_ms", "p90"),
    "outside ms p50": _percentile("outside_ms", "p50"),
    "tokens/s": lambda found: found.decode_per_s,
    "prefill/s": lambda found: found.prefill_per_s,
}
_ANSWERS: dict[str, Value] = {
    "by model": lambda found: found.n_model,
    "from memory": lambda found: found.n_memory,
    "memory ms p50": _percentile("memory_ms", "p50"),
    "suppressed": lambda found: found.n_suppressed,
    "cancelled": lambda found: found.n_cancelled,
    "failed": lambda found: found.n_failed,
    "with text": lambda found: found.n_suggestions,
    "chars kept": lambda found: found.n_kept,
    "kept each": lambda found: found.n_kept / max(1, found.n_suggestions),
}
_CHARTS = {
    "prompt tokens evaluated": "tokens",
    "ttft, ms": "ttft_ms",
    "total, ms": "total_ms",
}


class BenchReport(msgspec.Struct, frozen=True):
    """`setup`: what was run, on what, when; a line each."""

    setup: dict[str, str]
    backends: tuple[BackendFigures, ...] = msgspec.field(name="sides")


def as_json(report: BenchReport) -> str:
    return msgspec.json.encode(report).decode()


def as_text(report: BenchReport) -> str:
    parts = ["\n".join(f"- {name}: {said}" for name, said in report.setup.items())]
    parts += ["Requests that the model answered; times on the client's clock:"]
    parts += [_table(report.backends, _MEASURES, has_ratio=True)]
    parts += ["How all were answered, and what became of the text:"]
    parts += [
        _table(report.backends, _ANSWERS),
        "Prompt tokens beside these:",
        _extra_tokens(report.backends),
    ]
    return "\n\n".join(parts)


def _table(
    backends: Sequence[BackendFigures], columns: Mapping[str, Value], has_ratio: bool = False
) -> str:
    rows = [["after", "side", "requests", *columns]]
    for kind, title in _ROWS.items():
        found = [
            (backend.name, backend.kinds[kind]) for backend in backends if kind in backend.kinds
        ]
        for name, each in found:
            rows.append([title, name, str(each.n), *(_cell(of(each)) for of in columns.values())])
        if has_ratio and len(found) > 1:
            (_, first), (_, other) = found
            ratios = (_ratio(of(other), of(first)) for of in columns.values())
            rows.append([title, f"{backends[1].name} / {backends[0].name}", "", *ratios])
    return table(rows)


def _extra_tokens(backends: Sequence[BackendFigures]) -> str:
    rows = [["side", "cancelled", "background", "background for each request"]]
    for backend in backends:
        spent = backend.background
        n_background = None if spent is None else spent.n_prefill + spent.n_healed
        each = None if n_background is None else n_background / max(1, backend.n_requests)
        rows.append(
            [backend.name, *(_cell(value) for value in (backend.n_cancelled, n_background, each))]
        )
    return table(rows)


def _cell(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.0f}" if value >= 100 or value == int(value) else f"{value:.1f}"


def _ratio(other: float | None, first: float | None) -> str:
    """How many times the second side's is the first's."""
    return f"{other / first:.2f}" if other and first else "-"


def as_svg(report: BenchReport) -> str:
    """A dot at the median and a line to the p90, for each kind and side."""
    charts = []
    for title, name in _CHARTS.items():
        found = [
            (f"{row}, {backend.name}", getattr(backend.kinds[kind], name))
            for kind, row in _ROWS.items()
            for backend in report.backends
            if kind in backend.kinds
        ]
        dots = tuple(Dot(row, each.p50, each.p50, each.p90) for row, each in found if each)
        charts += [Chart(title, dots)] if dots else []
    return draw_charts(charts)
