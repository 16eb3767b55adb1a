"""The plan of a prompt, and the mirror that applies it: every kept cell was computed from exactly
the tokens that stand before it."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmd.engine.cache import Cache
from llmd.engine.plan import batches, plan
from llmd.errors import EngineError

tokens = st.lists(st.integers(0, 3), max_size=24)
prompts = st.lists(st.integers(0, 3), min_size=1, max_size=24)


class FakeContext:
    """Holds tokens where llama.cpp holds cells; `codes` are what its next decodes return."""

    def __init__(self, codes: Sequence[int] = (), can_cut: bool = True) -> None:
        self.n_ctx = 64
        self.n_batch = 4
        self.held: list[int] = []
        self.n_evaluated = 0
        self._codes = list(codes)
        self._can_cut = can_cut

    def decode(self, tokens: Sequence[int], start: int, n_logits: int) -> int:
        assert start == len(self.held)
        code = self._codes.pop(0) if self._codes else 0
        # An abort in the middle leaves some of the batch behind.
        self.held += tokens if code == 0 else tokens[:1]
        self.n_evaluated += len(tokens)
        return code

    def seq_rm(self, start: int) -> bool:
        if self._can_cut:
            del self.held[start:]
        return self._can_cut

    def clear(self) -> None:
        self.held.clear()


def never() -> bool:
    return False


@given(tokens, prompts)
def test_kept_and_evaluated_make_the_prompt(cells: list[int], wanted: list[int]) -> None:
    todo = plan(cells, wanted)
    assert [*cells[: todo.n_keep], *todo.evaluate] == wanted
    assert todo.evaluate


@given(tokens, prompts)
def test_no_more_is_evaluated_than_must_be(cells: list[int], wanted: list[int]) -> None:
    n_keep = plan(cells, wanted).n_keep
    can_keep_more = cells[: n_keep + 1] == wanted[: n_keep + 1] and len(cells) > n_keep
    assert not can_keep_more or n_keep == len(wanted) - 1


def test_nothing_wanted() -> None:
    assert plan([1, 2], []).n_keep == 0


@given(
    st.lists(st.tuples(prompts, st.lists(st.sampled_from([0, 0, 2, 1]), max_size=6))),
    st.booleans(),
)
def test_the_mirror_is_what_the_context_holds(
    requests: list[tuple[list[int], list[int]]], can_cut: bool
) -> None:
    context = FakeContext(can_cut=can_cut)
    cache = Cache(context)
    for wanted, codes in requests:
        context._codes = list(codes)
        before, n_before = list(cache.cells), context.n_evaluated
        outcome, n_cached, n_prefill = cache.prefill(plan(cache.cells, wanted), never)
        assert cache.cells == context.held
        assert n_prefill == context.n_evaluated - n_before
        assert before[:n_cached] == wanted[:n_cached]
        if outcome == "done":
            assert cache.cells == wanted
            assert n_cached + n_prefill == len(wanted)


def test_an_aborted_prefill_keeps_the_batches_that_finished() -> None:
    cache = Cache(FakeContext(codes=[0, 0, 2]))
    outcome, _, n_prefill = cache.prefill(plan([], list(range(20))), never)
    assert (outcome, cache.cells, n_prefill) == ("aborted", list(range(8)), 12)


def test_a_stop_between_batches_keeps_them_too() -> None:
    answers = iter([False, False, True])
    cache = Cache(FakeContext())
    outcome, _, n_prefill = cache.prefill(plan([], list(range(20))), lambda: next(answers))
    assert (outcome, cache.cells, n_prefill) == ("aborted", list(range(8)), 8)


def test_an_error_clears() -> None:
    cache = Cache(FakeContext(codes=[0, -3]))
    with pytest.raises(EngineError):
        cache.prefill(plan([], list(range(8))), never)
    assert cache.cells == []


@given(st.integers(1, 60), st.integers(1, 12), st.integers(1, 12))
def test_all_logits_are_of_one_batch(n_tokens: int, n_batch: int, n_logits: int) -> None:
    n_logits = min(n_logits, n_batch, n_tokens)
    sizes = batches(n_tokens, n_batch, n_logits)
    assert sum(sizes) == n_tokens
    assert all(1 <= size <= n_batch for size in sizes)
    assert sizes[-1] >= n_logits
    assert len(sizes) == -(-n_tokens // n_batch), "no batch more than without"


@given(tokens, prompts, st.integers(1, 9))
def test_tokens_whose_logits_are_wanted_are_evaluated(
    cells: list[int], wanted: list[int], n_logits: int
) -> None:
    todo = plan(cells, wanted, n_logits)
    assert len(todo.evaluate) >= min(n_logits, len(wanted))
    assert [*cells[: todo.n_keep], *todo.evaluate] == wanted
