"""Tests that `KvCache` agrees with the memory, whatever llama_decode returns.

The memory is a fake: llama.cpp removes an aborted micro-batch itself, so a real context leaves no
cells of an aborted batch while a batch is one micro-batch.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from llmd.errors import EngineError
from llmd.worker.kv_cache import KvCache, plan_cells

PROMPT = list(range(10))


class Memory:
    """Stores every token, even of a batch whose code is not 0."""

    n_ctx, n_batch = 64, 4

    def __init__(self, codes: Sequence[int] = (), can_cut: bool = True) -> None:
        self.cells: list[int] = []
        self.codes = list(codes)
        self.can_cut = can_cut

    def decode(self, tokens: Sequence[int], start: int, n_logits: int) -> int:
        assert start == len(self.cells), "llama_decode refuses a gap or an overlap"
        self.cells += tokens
        return self.codes.pop(0) if self.codes else 0

    def failure(self, what: str) -> EngineError:
        return EngineError(f"llama.cpp failed to {what}")

    def seq_rm(self, start: int) -> bool:
        if self.can_cut:
            del self.cells[start:]
        return self.can_cut

    def clear(self) -> None:
        self.cells.clear()


def prefill(memory: Memory, cache: KvCache) -> str:
    return cache.prefill(plan_cells(cache.cells, PROMPT), lambda: False)[0]


@pytest.mark.parametrize("codes", [[2], [0, 2], [0, 0, 2]])
@pytest.mark.parametrize("can_cut", [True, False])
def test_an_abort_leaves_no_cells_of_its_batch(codes: list[int], can_cut: bool) -> None:
    memory = Memory(codes, can_cut)
    cache = KvCache(memory)
    assert prefill(memory, cache) == "aborted"
    assert cache.cells == memory.cells == (PROMPT[: 4 * (len(codes) - 1)] if can_cut else [])
    assert prefill(memory, cache) == "done"
    assert cache.cells == memory.cells == PROMPT


def test_no_room_and_errors_leave_nothing() -> None:
    memory = Memory([0, 1, 0, -1])
    cache = KvCache(memory)
    assert prefill(memory, cache) == "full"
    assert cache.cells == memory.cells == []
    with pytest.raises(EngineError, match="failed to evaluate 4 tokens"):
        prefill(memory, cache)
    assert cache.cells == memory.cells == []


def test_a_memory_that_cannot_be_cut_starts_anew() -> None:
    memory = Memory(can_cut=False)
    cache = KvCache(memory)
    prefill(memory, cache)
    assert cache.prefill(plan_cells(cache.cells, [0, 1, 77]), lambda: False) == ("done", 0, 3)
    assert cache.cells == memory.cells == [0, 1, 77]
