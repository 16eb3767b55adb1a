"""A benchmark as a table in Markdown, as JSON, and as charts. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import msgspec

from llmd.cli.bench.measure import ALL, Figures, Side, Spread
from llmd.cli.bench.trace import KINDS
from llmd.cli.chart import Chart, Dot, draw
from llmd.cli.eval.report import table

_TITLES = {"newline": "new line"}
_ROWS = {kind: _TITLES.get(kind, kind) for kind in (*KINDS, ALL)}

Value = Callable[[Figures], float | None]


def _part(name: str, part: str) -> Value:
    """Of a spread; None where nothing was measured."""

    def value(found: Figures) -> float | None:
        spread: Spread | None = getattr(found, name)
        return None if spread is None else float(getattr(spread, part))

    return value


_MEASURES: dict[str, Value] = {
    "tokens p50": _part("tokens", "p50"),
    "mean": _part("tokens", "mean"),
    "p90": _part("tokens", "p90"),
    "ttft ms p50": _part("ttft_ms", "p50"),
    "ttft p90": _part("ttft_ms", "p90"),
    "total ms p50": _part("total_ms", "p50"),
    "total p90": _part("total_ms", "p90"),
    "outside ms p50": _part("outside_ms", "p50"),
    "tokens/s": lambda found: found.decode_per_s,
    "prefill/s": lambda found: found.prefill_per_s,
}
_ANSWERS: dict[str, Value] = {
    "by model": lambda found: found.n_model,
    "from memory": lambda found: found.n_memory,
    "memory ms p50": _part("memory_ms", "p50"),
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


class Report(msgspec.Struct, frozen=True):
    """`setup`: what was run, on what, when; a line each."""

    setup: dict[str, str]
    sides: tuple[Side, ...]


def as_json(report: Report) -> str:
    return msgspec.json.encode(report).decode()


def as_text(report: Report) -> str:
    parts = ["\n".join(f"- {name}: {said}" for name, said in report.setup.items())]
    parts += ["Requests that the model answered; times on the client's clock:"]
    parts += [_table(report.sides, _MEASURES, has_ratio=True)]
    parts += ["How all were answered, and what became of the text:"]
    parts += [_table(report.sides, _ANSWERS), "Prompt tokens beside these:", _beside(report.sides)]
    return "\n\n".join(parts)


def _table(sides: Sequence[Side], columns: Mapping[str, Value], has_ratio: bool = False) -> str:
    rows = [["after", "side", "requests", *columns]]
    for kind, title in _ROWS.items():
        found = [(side.name, side.kinds[kind]) for side in sides if kind in side.kinds]
        for name, each in found:
            rows.append([title, name, str(each.n), *(_cell(of(each)) for of in columns.values())])
        if has_ratio and len(found) > 1:
            (_, first), (_, other) = found
            ratios = (_ratio(of(other), of(first)) for of in columns.values())
            rows.append([title, f"{sides[1].name} / {sides[0].name}", "", *ratios])
    return table(rows)


def _beside(sides: Sequence[Side]) -> str:
    rows = [["side", "cancelled", "background", "background for each request"]]
    for side in sides:
        spent = side.background
        n_background = None if spent is None else spent.n_prefill + spent.n_healed
        each = None if n_background is None else n_background / max(1, side.n_requests)
        rows.append(
            [side.name, *(_cell(value) for value in (side.n_cancelled, n_background, each))]
        )
    return table(rows)


def _cell(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.0f}" if value >= 100 or value == int(value) else f"{value:.1f}"


def _ratio(other: float | None, first: float | None) -> str:
    """How many times the second side's is the first's."""
    return f"{other / first:.2f}" if other and first else "-"


def as_svg(report: Report) -> str:
    """A dot at the median and a line to the p90, for each kind and side."""
    charts = []
    for title, name in _CHARTS.items():
        found = [
            (f"{row}, {side.name}", getattr(side.kinds[kind], name))
            for kind, row in _ROWS.items()
            for side in report.sides
            if kind in side.kinds
        ]
        dots = tuple(Dot(row, each.p50, each.p50, each.p90) for row, each in found if each)
        charts += [Chart(title, dots)] if dots else []
    return draw(charts)
