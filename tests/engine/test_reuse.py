"""Reuse of the KV cache and cancelling, in the engine itself with the real model."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.support.real_engine import RealEngine, load_real_engine, places

from llmd.prompt.build import Piece
from llmd.worker.prompt_tokens import tokenize_prompt

# A prefill on a busy machine takes many times what it takes alone.
pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def loaded() -> RealEngine:
    return load_real_engine()


def test_warm_equals_cold_or_parts_at_a_near_tie(loaded: RealEngine) -> None:
    """49 of 50 places of real files, each reached by typing and deleting."""
    n_same = 0
    for prefix, suffix in places(50):
        cold = loaded.cold(prefix, suffix)
        loaded.cold(prefix[:-7], suffix, max_tokens=4)
        loaded.ask(prefix + "zz", suffix, max_tokens=2)
        warm = loaded.ask(prefix, suffix)
        assert warm.cost.n_cached > 16
        n_same += warm.text == cold.text or loaded.parts_at_a_near_tie(prefix, suffix, cold, warm)
    assert n_same >= 49


def test_a_typed_character_evaluates_a_few_tokens(loaded: RealEngine) -> None:
    prefix, suffix = next(places(1))
    loaded.cold(prefix, suffix)
    cost = loaded.ask(prefix + "x", suffix).cost
    assert cost.n_prompt == cost.n_cached + cost.n_prefill
    assert cost.n_prefill <= 4


def test_a_cancelled_prefill_keeps_its_finished_batches(loaded: RealEngine) -> None:
    prefix, suffix = next(places(1, 2400))
    cold = loaded.cold(prefix, suffix)
    loaded.engine.cache.clear()
    n_looks = iter(range(1000))
    stopped = loaded.ask(prefix, suffix, is_cancelled=lambda: next(n_looks) > 3)
    assert (stopped.reason, stopped.text) == ("cancelled", "")
    n_batch = loaded.context.n_batch
    assert len(loaded.engine.cache.cells) == stopped.cost.n_prefill
    assert 0 < stopped.cost.n_prefill < cold.cost.n_prompt
    assert stopped.cost.n_prefill % n_batch == 0
    again = loaded.ask(prefix, suffix)
    assert again.cost.n_cached == stopped.cost.n_prefill
    assert again.text == cold.text


def test_a_prefill_aborted_inside_a_batch_leaves_no_cells_of_it(loaded: RealEngine) -> None:
    """The flag is set for llama.cpp's callback only, so the decode itself returns aborted."""
    prefix, suffix = next(places(1))
    cold = loaded.cold(prefix, suffix)
    loaded.engine.cache.clear()
    loaded.flag[0] = b"\x01"
    try:
        stopped = loaded.ask(prefix, suffix)
    finally:
        loaded.flag[0] = b"\x00"
    assert stopped.text == ""
    assert loaded.engine.cache.cells == []
    again = loaded.ask(prefix, suffix)
    assert (again.cost.n_cached, again.text) == (0, cold.text)


def test_a_decode_that_is_cancelled_leaves_a_cache_that_answers_like_a_fresh_one(
    loaded: RealEngine,
) -> None:
    prefix, suffix = next(places(1))
    cold = loaded.cold(prefix, suffix)
    shown: list[str] = []
    loaded.engine.cache.clear()
    stopped = loaded.ask(
        prefix, suffix, is_cancelled=lambda: bool(shown), emit=lambda text: shown.append(text)
    )
    assert stopped.reason == "cancelled"
    assert loaded.ask(prefix, suffix).text == cold.text


def test_a_passed_deadline_ends_with_what_is_there(loaded: RealEngine) -> None:
    prefix, suffix = next(places(1, 2400))
    loaded.engine.cache.clear()
    late = loaded.ask(prefix, suffix, deadline_ms=1)
    assert (late.reason, late.text) == ("deadline", "")


@pytest.mark.parametrize(
    "odd", ["# 😋 ü\n", "a\r\nb\r\n", "\tx\t=\t1\n", "<|endoftext|><filename>\n", "\ud83d lone\n"]
)
def test_odd_text_goes_through(loaded: RealEngine, odd: str) -> None:
    done = loaded.ask(odd + "def f(a, b):\n    return ", "\n")
    assert done.reason != "failed"
    prompt = tokenize_prompt(loaded.engine, [Piece("prefix", odd)], 64)
    assert not any(0 <= token <= 16 for token in prompt.tokens)


CODE = "def add(first, second):\n    total = first + second\n"


@pytest.mark.parametrize(
    ("typed", "owed"),
    [
        ("    retur", " retur"),
        ("    return", " return"),
        ("    ", "\n    "),
        ("    name = 'é", "é"),
        ("    mark = '🙂", "🙂"),
    ],
    ids=["inside", "after", "indent", "accent", "emoji"],
)
def test_what_was_taken_back_is_generated_again(loaded: RealEngine, typed: str, owed: str) -> None:
    """Cold, warm and after a key; the cells spell the text with what was generated for it."""
    piece = loaded.engine.vocabulary.piece
    for ask in (loaded.cold, loaded.ask):
        done = ask(CODE + typed, "\n", max_tokens=3)
        assert done.cost.n_healed >= 1
        cells = b"".join(map(piece, loaded.engine.cache.cells)).decode(errors="replace")
        assert CODE + typed in cells
        assert done.cost.n_prompt == done.cost.n_cached + done.cost.n_prefill
        assert not done.text.startswith(owed)


def test_a_word_begun_is_finished(loaded: RealEngine) -> None:
    assert loaded.cold(CODE + "    retur", "\n").text.startswith("n ")


def test_typing_in_a_word_evaluates_its_tokens_and_the_one_before(loaded: RealEngine) -> None:
    loaded.cold(CODE + "    retu", "\n", max_tokens=1)
    cost = loaded.ask(CODE + "    retur", "\n", max_tokens=1).cost
    assert cost.n_prefill <= 2 + 1 + 1, "mark, own tokens of the word, one more"


def test_healing_can_be_switched_off(loaded: RealEngine) -> None:
    plain = replace(loaded, heal=False)
    assert plain.cold(CODE + "    retur", "\n", max_tokens=2).cost.n_healed == 0


def test_confidence_comes_with_the_text(loaded: RealEngine) -> None:
    sure = loaded.cold("a = 1\n" * 30 + "a =", "\n").cost
    unsure = loaded.cold("zq = '", "\n").cost
    assert -0.5 < sure.logprob_first <= 0
    assert unsure.logprob_line < sure.logprob_line <= 0
