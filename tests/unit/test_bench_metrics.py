"""Rows of a replay to figures, tables and charts; speeds of a model to settings."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from typing import Any

import msgspec
import pytest

from llmd.cli.bench import metrics, model_speed_report, report
from llmd.cli.bench.backend import OUTCOME_BY_PATH, TokenCounts, TokenUsage
from llmd.cli.bench.model_speed_report import BatchSpeed, EngineVariant
from llmd.cli.bench.replay import ReplayResult, ReplayRow, replay_result
from llmd.cli.report_files import draw_charts
from llmd.completion.trace import TracePath
from llmd.models.memory_plan import Shape

SVG = "{http://www.w3.org/2000/svg}"


def row(**changed: Any) -> ReplayRow:
    values: dict[str, Any] = {
        "document": 0, "kind": "key", "outcome": "model", "n_prefill": 2, "n_healed": 1,
        "n_decoded": 5, "prefill_ms": 4.0, "engine_ms": 29.5, "ttft_ms": 10.0,
        "total_ms": 30.0, "n_shown": 8, "n_kept": 3,
    }  # fmt: skip
    return ReplayRow(**(values | changed))


def test_figures_are_of_what_the_model_answered() -> None:
    rows = [
        row(),
        row(n_prefill=8, n_healed=1, ttft_ms=30.0),
        row(outcome="memory", n_prefill=0, n_healed=0, total_ms=1.0),
        row(outcome="cancelled", n_shown=0, n_kept=0, ttft_ms=None),
        row(outcome="suppressed", n_shown=0, n_kept=0, ttft_ms=None),
    ]
    found = metrics.kind_figures(rows)
    assert (found.n, found.n_model, found.n_memory, found.n_cancelled) == (5, 2, 1, 1)
    assert found.tokens == metrics.Distribution(p50=6.0, mean=6.0, p90=9)
    assert found.ttft_ms == metrics.Distribution(p50=20.0, mean=20.0, p90=30.0)
    assert found.outside_ms == metrics.Distribution(p50=0.5, mean=0.5, p90=0.5)
    assert found.memory_ms == metrics.Distribution(p50=1.0, mean=1.0, p90=1.0)
    assert (found.n_suggestions, found.n_shown, found.n_kept) == (3, 24, 9)
    assert found.prefill_per_s == 1250.0  # 10 tokens in 8 ms
    assert found.decode_per_s == 400.0  # 8 tokens after the first of each, in 20 ms


def test_an_empty_answer_has_no_first_text() -> None:
    found = metrics.kind_figures([row(ttft_ms=None, n_shown=0, n_kept=0)])
    assert found.ttft_ms is None
    assert found.total_ms is not None
    assert found.decode_per_s is None


@pytest.mark.parametrize(
    ("values", "p90"), [([1.0], 1.0), (list(range(1, 11)), 9), (list(range(1, 21)), 18)]
)
def test_the_p90_is_not_exceeded_by_nine_in_ten(values: list[float], p90: float) -> None:
    found = metrics.distribution(values)
    assert found
    assert found.p90 == p90


def test_what_answers_do_not_tell_was_spent_on_the_cancelled() -> None:
    before = TokenUsage(TokenCounts(1, 100, 0, 0), TokenCounts(0, 10, 0, 0))
    after = TokenUsage(TokenCounts(4, 170, 2, 9), TokenCounts(1, 40, 1, 3))
    found = replay_result([row(), row(outcome="cancelled", n_prefill=0, n_healed=0)], before, after)
    assert found.n_cancelled == 72 - 3
    assert found.background == TokenCounts(1, 30, 1, 3)
    assert replay_result([row()], None, None).n_cancelled is None


@pytest.mark.parametrize(
    ("path", "outcome"),
    [("warm", "model"), ("late", "model"), ("reused", "memory"), ("prefetched", "memory"),
     ("superseded", "cancelled"), ("suppressed", "suppressed"), ("failed", "failed")],
)  # fmt: skip
def test_who_answered(path: TracePath, outcome: str) -> None:
    assert OUTCOME_BY_PATH[path] == outcome


def made(*sides: metrics.BackendFigures) -> report.BenchReport:
    return report.BenchReport({"trace": "t"}, sides)


def cells_of(table: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.split("\n")]


OURS = metrics.backend_figures(
    "llmd", "1", ReplayResult((row(), row(kind="jump")), 5, TokenCounts(1, 20, 0, 0))
)
THEIRS = metrics.backend_figures(
    "llama-server", "b1", ReplayResult((row(n_prefill=299), row(kind="newline")))
)


def test_the_table_has_a_row_for_each_kind_side_and_ratio() -> None:
    blocks = report.as_text(made(OURS, THEIRS)).split("\n\n")
    measured = {(cells[0], cells[1]): cells for cells in cells_of(blocks[2])}
    assert measured["key", "llmd"][2:6] == ["1", "3", "3", "3"]
    assert measured["key", "llama-server"][3] == "300"
    assert measured["key", "llama-server / llmd"][3] == "100.00"
    assert ("jump", "llama-server") not in measured
    beside = cells_of(blocks[-1])
    assert ["llmd", "5", "20", "10"] in beside
    assert ["llama-server", "-", "-", "-"] in beside


def test_json_has_every_kind_by_name() -> None:
    found = json.loads(msgspec.json.encode(made(OURS)))
    (side,) = found["sides"]
    assert list(side["kinds"]) == ["key", "jump", "all"]
    assert side["kinds"]["all"]["tokens"] == {"p50": 3, "mean": 3, "p90": 3}
    assert side["background"]["n_prefill"] == 20


def test_the_charts_have_a_dot_for_each_kind_and_side() -> None:
    root = ET.fromstring(draw_charts(report.as_charts(made(OURS, THEIRS))) or "")  # noqa: S314 - our own
    assert len(list(root.iter(f"{SVG}circle"))) == 3 * 6
    assert "key, llmd" in {text.text for text in root.iter(f"{SVG}text")}


# -- the model


def way(type_k: Any = "q4_0", threads: int = 2, kv_bytes: int = 10) -> EngineVariant:
    return EngineVariant(type_k, "f16", False, threads, kv_bytes)


def speeds(of: EngineVariant, prefill: float, decode: float, depth: int = 1024) -> list[BatchSpeed]:
    return [BatchSpeed(of, depth, 1, decode), BatchSpeed(of, depth, 64, prefill)]


def test_the_best_way_answers_soonest_at_the_greatest_depth() -> None:
    slow, fast = way("f16"), way("q8_0")
    shallow = speeds(slow, 9999, 9999, depth=0) + speeds(fast, 1, 1, depth=0)
    found = [*shallow, *speeds(slow, 400, 100), *speeds(fast, 500, 110)]
    assert model_speed_report.best_variant(found) == fast
    assert 'cache_type_k = "q8_0"' in model_speed_report.config_lines(found)


def test_alike_the_smaller_cache_and_fewer_threads_win() -> None:
    large, small, one = way("f16", kv_bytes=20), way("q8_0"), way("f16", threads=1)
    assert (
        model_speed_report.best_variant(speeds(large, 500, 100) + speeds(small, 499, 100)) == small
    )
    assert model_speed_report.best_variant(speeds(large, 500, 100) + speeds(one, 499, 100)) == one


def test_the_batch_is_the_smallest_that_is_nearly_as_fast() -> None:
    rates = {1: 100.0, 16: 300.0, 64: 470.0, 256: 500.0}
    assert (
        model_speed_report.best_batch([BatchSpeed(way(), 0, n, rate) for n, rate in rates.items()])
        == 64
    )


def test_a_head_that_cannot_be_quantised_leaves_f16() -> None:
    types = {
        (each.cache_type_k, each.cache_type_v)
        for each in model_speed_report.variants(Shape(2, 2, 40, 99), 2)
    }
    assert types == {("f16", "f16")}
    assert len(model_speed_report.variants(Shape(2, 2, 64, 99), 2)) > 2


def test_speeds_in_a_table_and_as_json() -> None:
    found = speeds(way(), 500, 100)
    lines = model_speed_report.speed_table(found).split("\n")
    assert [cell.strip() for cell in lines[2].split("|")[-3:-1]] == ["100", "500"]
    assert json.loads(msgspec.json.encode(found))[1]["tokens_per_s"] == 500
    assert "circle" in (draw_charts(model_speed_report.speed_charts(found)) or "")


@pytest.mark.parametrize(
    ("depths", "batches", "repeat", "n_s"),
    [
        ([0], [1], 1, 1.0),
        ([0], [64], 1, 7.3),
        ([0], [1, 64], 3, 3 * 8.3),
        ([0, 640], [1], 1, 2 * 1.0 + 10 * 7.3),  # both depths, and the batches that fill the cache
        ([0], [2], 1, 1.1),
    ],
)
def test_the_duration_follows_from_two_batches(
    depths: list[int], batches: list[int], repeat: int, n_s: float
) -> None:
    assert model_speed_report.run_time_s(1.0, 7.3, depths, batches, repeat) == pytest.approx(n_s)
