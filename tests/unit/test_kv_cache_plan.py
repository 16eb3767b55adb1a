"""Tests the cache plan and `KvCache`, which applies the plan: every kept cell was computed from
exactly the tokens before it."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.model_cache import Buffer, Edit, Memory

from llmd.errors import EngineError
from llmd.worker.kv_cache import CachePlan, KvCache, batches, plan_cells
from llmd.worker.parked_slots import Slots

tokens = st.lists(st.integers(0, 3), max_size=24)
prompts = st.lists(st.integers(0, 3), min_size=1, max_size=24)


def never() -> bool:
    return False


# -- the plan alone


@given(tokens, prompts, st.integers(1, 9), st.booleans())
def test_kept_and_evaluated_tokens_form_the_prompt(
    cells: list[int], wanted: list[int], n_logits: int, can_cut: bool
) -> None:
    todo = plan_cells(cells, wanted, n_logits, can_cut)
    assert [*cells[: todo.n_keep], *todo.evaluate] == wanted
    assert len(todo.evaluate) >= min(n_logits, len(wanted))


@given(tokens, prompts)
def test_no_more_is_evaluated_than_must_be(cells: list[int], wanted: list[int]) -> None:
    n_keep = plan_cells(cells, wanted).n_keep
    can_keep_more = cells[: n_keep + 1] == wanted[: n_keep + 1] and len(cells) > n_keep
    assert not can_keep_more or n_keep == len(wanted) - 1


@given(tokens, prompts)
def test_a_memory_that_cannot_be_cut_keeps_all_cells_or_none(
    cells: list[int], wanted: list[int]
) -> None:
    todo = plan_cells(cells, wanted, can_cut=False)
    assert todo.n_keep in (0, len(cells))


def test_nothing_wanted() -> None:
    assert plan_cells([1, 2], []) == CachePlan(0, ())


@given(st.integers(1, 60), st.integers(1, 12), st.integers(1, 12))
def test_all_logits_are_of_one_batch(n_tokens: int, n_batch: int, n_logits: int) -> None:
    n_logits = min(n_logits, n_batch, n_tokens)
    sizes = batches(n_tokens, n_batch, n_logits)
    assert sum(sizes) == n_tokens
    assert all(1 <= size <= n_batch for size in sizes)
    assert sizes[-1] >= n_logits
    assert len(sizes) == -(-n_tokens // n_batch), "no batch more than without"


# -- the cache applies the plan


def test_an_aborted_prefill_keeps_the_batches_that_finished() -> None:
    cache = KvCache(Memory(codes=[0, 0, 2]))
    outcome, _, n_prefill = cache.prefill(plan_cells([], list(range(20))), never)
    assert (outcome, cache.cells, n_prefill) == ("aborted", list(range(8)), 12)


def test_a_stop_between_batches_keeps_them_too() -> None:
    answers = iter([False, False, True])
    cache = KvCache(Memory())
    outcome, _, n_prefill = cache.prefill(plan_cells([], list(range(20))), lambda: next(answers))
    assert (outcome, cache.cells, n_prefill) == ("aborted", list(range(8)), 8)


def test_an_error_clears() -> None:
    cache = KvCache(Memory(codes=[0, -3]))
    with pytest.raises(EngineError):
        cache.prefill(plan_cells([], list(range(8))), never)
    assert cache.cells == []


# -- an editor drives the cache

letters = st.text("ab(\n", min_size=1, max_size=3)
edits = st.one_of(
    st.builds(Edit, text=letters),  # keys
    st.builds(Edit, n_deleted=st.integers(1, 4)),
    st.builds(Edit, text=letters, n_deleted=st.integers(1, 4)),  # replace
    st.builds(Edit, text=st.sampled_from(["()", "[]", '""']), n_back=st.just(1)),  # autopair
    st.builds(Edit, text=st.text("xyz\n", min_size=8, max_size=20)),  # paste
    st.builds(Edit, jump=st.integers(0, 60)),  # moves the window too
    st.builds(Edit, text=letters, jump=st.integers(0, 60)),
    st.builds(Edit, is_undo=st.just(True)),
)


@dataclass(frozen=True, slots=True)
class Request:
    """Describes a request for the document `slot` after an edit. `codes`: return codes of the
    decodes. `n_batches`: number of batches before the request is stopped. `n_generated`: tokens
    decoded after the prompt."""

    slot: int
    edit: Edit
    codes: list[int]
    n_batches: int
    n_logits: int
    n_generated: int
    closes: bool


requests = st.builds(
    Request,
    slot=st.integers(0, 3),
    edit=edits,
    codes=st.lists(st.sampled_from([0, 0, 0, 2, 1]), max_size=4),
    n_batches=st.sampled_from([1, 3, 99, 99]),
    n_logits=st.integers(1, 3),
    n_generated=st.integers(0, 3),
    closes=st.sampled_from([False] * 7 + [True]),
)


@settings(max_examples=400, deadline=None)
@given(
    st.lists(requests, min_size=4, max_size=30),
    st.booleans(),
    st.sampled_from([0, 4000, 1 << 20]),
    st.booleans(),
)
def test_cells_are_the_wanted_tokens_each_computed_after_those_before_it(
    requests: list[Request], can_cut: bool, ram_bytes: int, can_restore: bool
) -> None:
    """Checks edits in several documents by turns, with batches that are aborted or stopped, and
    memories that cannot be cut or restored."""
    memory = Memory(can_cut=can_cut)
    memory.can_restore = can_restore
    cache = KvCache(memory, can_cut=can_cut, can_save=can_cut)
    slots = Slots(cache, ram_bytes, min_cells=8)
    buffers = [Buffer() for _ in range(4)]
    left: dict[int, list[int]] = {}
    for request in requests:
        slots.switch(request.slot)
        memory.check()
        assert cache.cells == memory.tokens
        assert cache.cells in ([], left.get(request.slot))
        buffers[request.slot].apply(request.edit)
        _apply(memory, cache, buffers[request.slot].prompt(), request)
        left[request.slot] = list(cache.cells)
        if request.closes:
            slots.forget(request.slot)
            left.pop(request.slot)
        assert slots.parked_bytes <= ram_bytes


def _apply(memory: Memory, cache: KvCache, wanted: list[int], request: Request) -> None:
    memory.codes = list(request.codes)
    before, n_before = list(cache.cells), memory.n_evaluated
    n_looks = iter(range(99))
    todo = plan_cells(cache.cells, wanted, request.n_logits, cache.can_cut)
    outcome, n_cached, n_prefill = cache.prefill(todo, lambda: next(n_looks) >= request.n_batches)
    memory.check()
    assert cache.cells == memory.tokens
    assert n_prefill == memory.n_evaluated - n_before
    assert before[:n_cached] == wanted[:n_cached]
    if outcome != "done":
        assert cache.cells == wanted[: len(cache.cells)]
        return
    assert cache.cells == wanted
    assert (n_cached, n_prefill) == (todo.n_keep, len(todo.evaluate))
    memory.codes = []
    for token in range(100, 100 + request.n_generated):
        cache.decode([token])
    memory.check()
