"""Tests that a sample depends only on the logits, the seed and the index of the generated token."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmd.config import SamplingConfig
from llmd.errors import EngineError
from llmd.worker.sampling import is_near_tie, logprob, sample, uniform

logit_lists = st.lists(st.floats(-50, 50, width=32), min_size=1, max_size=40)


@given(logit_lists, st.integers(0, 1 << 70), st.integers(0, 512))
def test_greedy_chooses_the_most_likely_token(values: list[float], seed: int, idx: int) -> None:
    logits = np.array(values, dtype=np.float32)
    assert sample(logits, SamplingConfig("greedy", seed=seed), idx) == int(np.argmax(logits))


@given(logit_lists, st.integers(0, 1 << 70), st.integers(0, 512), st.floats(0.01, 1))
def test_low_stays_above_min_p(values: list[float], seed: int, idx: int, min_p: float) -> None:
    logits = np.array(values, dtype=np.float32)
    drawn = sample(logits, SamplingConfig(min_p=min_p, seed=seed), idx)
    assert logits[drawn] >= logits.max() + math.log(min_p) - 1e-4


@given(logit_lists, st.integers(0, 512))
def test_the_same_draw_twice(values: list[float], idx: int) -> None:
    logits = np.array(values, dtype=np.float32)
    sampling = SamplingConfig(min_p=0, temperature=2)
    assert sample(logits, sampling, idx) == sample(logits.copy(), sampling, idx)


def test_draws_follow_the_softmax() -> None:
    logits = np.log(np.array([0.5, 0.3, 0.2], dtype=np.float32))
    sampling = SamplingConfig(min_p=0, temperature=1)
    drawn = [sample(logits, sampling, idx) for idx in range(4000)]
    shares = np.bincount(drawn, minlength=3) / len(drawn)
    assert shares == pytest.approx([0.5, 0.3, 0.2], abs=0.03)


def test_seeds_and_indices_differ() -> None:
    drawn = {uniform(seed, idx) for seed in range(40) for idx in range(40)}
    assert len(drawn) == 1600
    assert all(0 <= value < 1 for value in drawn)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_logits_that_are_no_numbers(bad: float) -> None:
    with pytest.raises(EngineError, match="not finite"):
        sample(np.array([0, bad, 1], dtype=np.float32), SamplingConfig(), 0)


def test_no_logit_at_all() -> None:
    with pytest.raises(EngineError, match="not finite"):
        sample(np.full(4, -math.inf, dtype=np.float32), SamplingConfig(), 0)


@given(logit_lists, st.data())
def test_a_log_probability_is_that_of_the_softmax(values: list[float], data: st.DataObject) -> None:
    chosen = data.draw(st.integers(0, len(values) - 1))
    total = sum(math.exp(value - max(values)) for value in values)
    expected = values[chosen] - max(values) - math.log(total)
    assert logprob(np.array(values, dtype=np.float32), chosen) == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize(
    ("values", "expected"),
    [([1.0], False), ([1.0, 1.0], True), ([3.0, 1.0, 2.6], True), ([3.0, 1.0, 2.4], False)],
)
def test_near_ties(values: list[float], expected: bool) -> None:
    assert is_near_tie(np.array(values, dtype=np.float32)) is expected


@pytest.mark.parametrize("idx", range(-8, 0))
def test_samples_for_pending_bytes_have_their_own_indices(idx: int) -> None:
    assert uniform(3407, idx) not in {uniform(3407, output) for output in range(512)}
