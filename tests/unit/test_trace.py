"""Totals are the sum of their traces, and keep the identities of each."""

from __future__ import annotations

from typing import get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmd.completion.trace import (
    TOKEN_COUNTS,
    EngineSpeed,
    Quantiles,
    Totals,
    Trace,
    TracePath,
    trace_of,
)
from llmd.engine.messages import Cost

COUNTS = st.integers(0, 2000)
COSTS = st.builds(
    lambda cached, prefill, decoded: Cost(
        n_prompt=cached + prefill, n_cached=cached, n_prefill=prefill, n_decoded=decoded
    ),
    *(COUNTS,) * 3,
)
TRACES = st.builds(trace_of, COSTS, st.sampled_from(get_args(TracePath)), st.floats(0, 1e4))


def totals_of(traces: list[Trace]) -> Totals:
    totals = Totals()
    for trace in traces:
        totals.add(trace)
    return totals


@given(st.lists(TRACES, max_size=20))
def test_paths_sum_to_requests_and_tokens_to_the_prompt(traces: list[Trace]) -> None:
    counts = totals_of(traces).counts()
    assert sum(counts.by_path.values()) == counts.requests == len(traces)
    assert counts.n_prompt == sum(trace.n_cached + trace.n_prefill for trace in traces)


def test_counts_have_the_words_that_others_rely_on() -> None:
    counts = msgspec.to_builtins(Totals().counts())
    assert counts == {"requests": 0, "by_path": {}} | dict.fromkeys(TOKEN_COUNTS, 0)
    assert TOKEN_COUNTS == (
        "n_prompt", "n_cached", "n_spliced", "n_prefill", "n_healed", "n_decoded", "n_drafted",
        "n_verified",
    )  # fmt: skip


def test_a_trace_is_its_cost_and_its_path() -> None:
    cost = Cost(n_prompt=5, n_cached=3, n_prefill=2, ttft_ms=7.5)
    trace = trace_of(cost, "warm", 12.345, "eog")
    assert (trace.path, trace.reason, trace.total_ms) == ("warm", "eog", 12.35)
    assert {**msgspec.structs.asdict(trace), **msgspec.structs.asdict(cost)} == (
        msgspec.structs.asdict(trace)
    )


def test_only_the_suppressed_are_counted_by_reason() -> None:
    reasons = ["secret", "secret", "scheme"]
    traces = [trace_of(Cost(), "suppressed", 0.1, reason) for reason in reasons]
    totals = totals_of([*traces, trace_of(Cost(), "warm", 9.0, "eog")])
    assert totals.suppressed() == {"secret": 2, "scheme": 1}


@pytest.mark.parametrize(("path", "p50"), [("cold", 40.0), ("warm", 40.0), ("suppressed", 0.0)])
def test_only_the_engines_answers_count_as_latency(path: TracePath, p50: float) -> None:
    latency = totals_of([trace_of(Cost(ttft_ms=40.0), path, 40.0)]).latency()
    assert latency.ttft_ms == latency.total_ms == Quantiles(p50, p50)


def test_speed_is_tokens_over_the_engines_own_time() -> None:
    costs = [
        Cost(n_prefill=100, prefill_ms=200, n_decoded=10, decode_ms=100),
        Cost(n_prefill=0, prefill_ms=50, n_decoded=5, decode_ms=50),
    ]
    totals = totals_of([trace_of(cost, "warm", 1.0) for cost in costs])
    assert totals.speed() == EngineSpeed(400.0, 100.0)
    assert totals_of([]).speed() == EngineSpeed(0.0, 0.0)


def test_quantiles_are_of_the_latest() -> None:
    n_old = Totals.KEPT_LATENCIES
    traces = [trace_of(Cost(), "warm", ms) for ms in [9999.0] * n_old + [*range(1, n_old + 1)]]
    assert totals_of(traces).latency().total_ms == Quantiles(257.0, 487.0)
