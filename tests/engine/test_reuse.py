"""Tests reuse of the KV cache, and cancelling, in the engine itself with the real model."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.support.real_engine import RealEngine, load_real_engine, positions

from llmd.engine.messages import Partial
from llmd.prompt.build import Piece
from llmd.worker.prompt_tokens import tokenize_prompt

# A prefill takes many times longer on a busy machine.
pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def loaded() -> RealEngine:
    return load_real_engine()


def test_warm_equals_cold_or_parts_at_a_near_tie(loaded: RealEngine) -> None:
    """Checks 49 of 50 positions in real files, each reached by typing and deleting."""
    n_same = 0
    for prefix, suffix in positions(50):
        cold = loaded.complete_cold(prefix, suffix)
        loaded.complete_cold(prefix[:-7], suffix, max_tokens=4)
        loaded.complete(prefix + "zz", suffix, max_tokens=2)
        warm = loaded.complete(prefix, suffix)
        assert warm.cost.n_cached > 16
        n_same += warm.text == cold.text or loaded.diverges_at_near_tie(prefix, suffix, cold, warm)
    assert n_same >= 49


def test_a_typed_character_evaluates_a_few_tokens(loaded: RealEngine) -> None:
    prefix, suffix = next(positions(1))
    loaded.complete_cold(prefix, suffix)
    cost = loaded.complete(prefix + "x", suffix).cost
    assert cost.n_prompt == cost.n_cached + cost.n_prefill
    assert cost.n_prefill <= 4


def test_a_cancelled_prefill_keeps_its_finished_batches(loaded: RealEngine) -> None:
    prefix, suffix = next(positions(1, 2400))
    cold = loaded.complete_cold(prefix, suffix)
    loaded.engine.cache.clear()
    n_looks = iter(range(1000))
    stopped = loaded.complete(prefix, suffix, is_cancelled=lambda: next(n_looks) > 3)
    assert (stopped.reason, stopped.text) == ("cancelled", "")
    n_batch = loaded.context.n_batch
    assert len(loaded.engine.cache.cells) == stopped.cost.n_prefill
    assert 0 < stopped.cost.n_prefill < cold.cost.n_prompt
    assert stopped.cost.n_prefill % n_batch == 0
    again = loaded.complete(prefix, suffix)
    assert again.cost.n_cached == stopped.cost.n_prefill
    assert again.text == cold.text


def test_a_prefill_aborted_inside_a_batch_leaves_no_cells_of_it(loaded: RealEngine) -> None:
    """Sets the flag for llama.cpp's callback only, so that the decode itself returns aborted."""
    prefix, suffix = next(positions(1))
    cold = loaded.complete_cold(prefix, suffix)
    loaded.engine.cache.clear()
    loaded.flag[0] = b"\x01"
    try:
        stopped = loaded.complete(prefix, suffix)
    finally:
        loaded.flag[0] = b"\x00"
    assert stopped.text == ""
    assert loaded.engine.cache.cells == []
    again = loaded.complete(prefix, suffix)
    assert (again.cost.n_cached, again.text) == (0, cold.text)


def test_a_decode_that_is_cancelled_leaves_a_cache_that_answers_like_a_fresh_one(
    loaded: RealEngine,
) -> None:
    prefix, suffix = next(positions(1))
    cold = loaded.complete_cold(prefix, suffix)
    shown: list[str] = []
    loaded.engine.cache.clear()
    stopped = loaded.complete(
        prefix,
        suffix,
        is_cancelled=lambda: bool(shown),
        emit=lambda partial: shown.append(partial.text),
    )
    assert stopped.reason == "cancelled"
    assert loaded.complete(prefix, suffix).text == cold.text


def test_a_passed_deadline_returns_the_text_so_far(loaded: RealEngine) -> None:
    prefix, suffix = next(positions(1, 2400))
    loaded.engine.cache.clear()
    late = loaded.complete(prefix, suffix, deadline_ms=1)
    assert (late.reason, late.text) == ("deadline", "")


def test_each_token_s_probability_streams_with_the_text(loaded: RealEngine) -> None:
    prefix, suffix = next(positions(1, 2400))
    partials: list[Partial] = []
    loaded.engine.cache.clear()
    done = loaded.complete(prefix, suffix, emit=partials.append, wants_tokens=True)
    assert done.tokens[-1].end >= len(done.text) > 0
    ends = [token.end for token in done.tokens]
    assert ends == sorted(ends)
    assert all(token.logprob <= 0 for token in done.tokens)
    assert done.tokens[0].logprob == done.cost.logprob_first
    for partial in partials:
        assert partial.tokens == done.tokens[: len(partial.tokens)]
        assert partial.tokens[-1].end >= len(partial.text)
    assert loaded.complete(prefix, suffix).tokens == (), "unless they are asked for"


@pytest.mark.parametrize(
    "odd", ["# 😋 ü\n", "a\r\nb\r\n", "\tx\t=\t1\n", "<|endoftext|><filename>\n", "\ud83d lone\n"]
)
def test_unusual_text_is_accepted(loaded: RealEngine, odd: str) -> None:
    done = loaded.complete(odd + "def f(a, b):\n    return ", "\n")
    assert done.reason != "failed"
    prompt = tokenize_prompt(loaded.engine, [Piece("prefix", odd)], 64)
    assert not any(0 <= token <= 16 for token in prompt.tokens)


CODE = "def add(first, second):\n    total = first + second\n"


@pytest.mark.parametrize(
    ("typed", "pending"),
    [
        ("    retur", " retur"),
        ("    return", " return"),
        ("    ", "\n    "),
        ("    name = 'é", "é"),
        ("    mark = '🙂", "🙂"),
    ],
    ids=["inside", "after", "indent", "accent", "emoji"],
)
def test_healed_text_is_generated_again(loaded: RealEngine, typed: str, pending: str) -> None:
    """Checks cold, warm and after a key; the cells spell the text and what was generated for it."""
    piece = loaded.engine.vocabulary.piece
    for ask in (loaded.complete_cold, loaded.complete):
        done = ask(CODE + typed, "\n", max_tokens=3)
        assert done.cost.n_healed >= 1
        cells = b"".join(map(piece, loaded.engine.cache.cells)).decode(errors="replace")
        assert CODE + typed in cells
        assert done.cost.n_prompt == done.cost.n_cached + done.cost.n_prefill
        assert not done.text.startswith(pending)


def test_a_partial_word_is_completed(loaded: RealEngine) -> None:
    assert loaded.complete_cold(CODE + "    retur", "\n").text.startswith("n ")


def test_typing_in_a_word_evaluates_its_tokens_and_the_one_before(loaded: RealEngine) -> None:
    loaded.complete_cold(CODE + "    retu", "\n", max_tokens=1)
    cost = loaded.complete(CODE + "    retur", "\n", max_tokens=1).cost
    assert cost.n_prefill <= 2 + 1 + 1, "mark, own tokens of the word, one more"


def test_healing_can_be_switched_off(loaded: RealEngine) -> None:
    plain = replace(loaded, heal=False)
    assert plain.complete_cold(CODE + "    retur", "\n", max_tokens=2).cost.n_healed == 0


def test_confidence_comes_with_the_text(loaded: RealEngine) -> None:
    sure = loaded.complete_cold("a = 1\n" * 30 + "a =", "\n").cost
    unsure = loaded.complete_cold("zq = '", "\n").cost
    assert -0.5 < sure.logprob_first <= 0
    assert unsure.logprob_line < sure.logprob_line <= 0
