"""The next-best texts at a place, in the engine itself with the real model."""

from __future__ import annotations

import pytest
from tests.support.real_engine import RealEngine, load_real_engine, places

from llmd.engine.messages import Done
from llmd.worker.generate import MAX_ALTERNATIVES

N_PLACES, N_TOKENS = 8, 4
pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def loaded() -> RealEngine:
    return load_real_engine()


def asked(loaded: RealEngine, prefix: str, suffix: str, alternatives: range) -> list[Done]:
    return [loaded.ask(prefix, suffix, N_TOKENS, alternative=k) for k in alternatives]


def test_texts_begin_with_different_tokens(loaded: RealEngine) -> None:
    """Also within words, where the others begin like it; some places have no four."""
    n_found = 0
    for place in places(N_PLACES):
        first, *others = asked(loaded, *place, range(4))
        assert first.text == loaded.ask(*place, N_TOKENS).text
        found = [done.text for done in others if done.reason != "alternative"]
        assert all(found)
        assert len({first.text, *found}) == 1 + len(found)
        n_found += len(found)
    assert n_found >= 2 * N_PLACES


def test_an_alternative_costs_a_few_tokens(loaded: RealEngine) -> None:
    prefix, suffix = next(places(1, 2400))
    n_cold = loaded.cold(prefix, suffix).cost.n_prefill
    costs = [done.cost for done in asked(loaded, prefix, suffix, range(1, 4))]
    assert n_cold > 500
    assert max(cost.n_prefill for cost in costs) <= 8
    assert all(cost.n_prompt == cost.n_cached + cost.n_prefill for cost in costs)


def test_after_it_the_best_is_what_it_was(loaded: RealEngine) -> None:
    prefix, suffix = next(places(1))
    best = loaded.cold(prefix, suffix, N_TOKENS)
    asked(loaded, prefix, suffix, range(1, 3))
    assert loaded.ask(prefix, suffix, N_TOKENS).text == best.text


def test_beyond_the_last_there_is_none(loaded: RealEngine) -> None:
    prefix, suffix = next(places(1))
    done = loaded.ask(prefix, suffix, alternative=MAX_ALTERNATIVES + 1)
    assert (done.text, done.reason, done.cost.n_decoded) == ("", "alternative", 0)
