"""Tests alternatives in the engine itself with the real model."""

from __future__ import annotations

import pytest
from tests.support.real_engine import RealEngine, load_real_engine, positions

from llmd.engine.messages import Done
from llmd.worker.generate import MAX_ALTERNATIVES

N_PLACES, N_TOKENS = 8, 4
pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def loaded() -> RealEngine:
    return load_real_engine()


def complete_all(loaded: RealEngine, prefix: str, suffix: str, alternatives: range) -> list[Done]:
    return [loaded.complete(prefix, suffix, N_TOKENS, alternative=k) for k in alternatives]


def test_texts_begin_with_different_tokens(loaded: RealEngine) -> None:
    """Checks alternatives also within words, where they begin with the same letters. Some cursors
    have fewer than four, and the sources are those of the Python in use."""
    n_texts = 0
    for place in positions(N_PLACES):
        first, *others = complete_all(loaded, *place, range(4))
        assert first.text == loaded.complete(*place, N_TOKENS).text
        texts = [done.text for done in others if done.reason != "alternative"]
        assert all(texts)
        assert len({first.text, *texts}) == 1 + len(texts)
        n_texts += len(texts)
    assert n_texts >= N_PLACES


def test_an_alternative_costs_a_few_tokens(loaded: RealEngine) -> None:
    prefix, suffix = next(positions(1, 2400))
    n_cold = loaded.complete_cold(prefix, suffix).cost.n_prefill
    costs = [done.cost for done in complete_all(loaded, prefix, suffix, range(1, 4))]
    assert n_cold > 500
    assert max(cost.n_prefill for cost in costs) <= 8
    assert all(cost.n_prompt == cost.n_cached + cost.n_prefill for cost in costs)


def test_after_it_the_best_is_what_it_was(loaded: RealEngine) -> None:
    prefix, suffix = next(positions(1))
    best = loaded.complete_cold(prefix, suffix, N_TOKENS)
    complete_all(loaded, prefix, suffix, range(1, 3))
    assert loaded.complete(prefix, suffix, N_TOKENS).text == best.text


def test_beyond_the_last_there_is_none(loaded: RealEngine) -> None:
    prefix, suffix = next(positions(1))
    done = loaded.complete(prefix, suffix, alternative=MAX_ALTERNATIVES + 1)
    assert (done.text, done.reason, done.cost.n_decoded) == ("", "alternative", 0)
