"""Tests which documents' cells are saved, and within what limits."""

from __future__ import annotations

import numpy as np
import pytest
from tests.support.model_cache import Memory

from llmd.engine.messages import SlotView
from llmd.errors import EngineError
from llmd.worker.kv_cache import KvCache
from llmd.worker.llama import StateBytes
from llmd.worker.parked_slots import MAX_PARKED, MIN_PARKED_CELLS, Slots

N_CELLS = 40
STATE_BYTES = 1000


class Context(Memory):
    """Fakes a context whose states have the same size."""

    def state(self) -> StateBytes:
        return np.resize(super().state(), STATE_BYTES * 4)

    @property
    def parked_bytes(self) -> int:
        return STATE_BYTES * 4 + 4 * N_CELLS


def fill(cache: KvCache, first: int, n_cells: int = N_CELLS) -> list[int]:
    cache.keep(0)
    for token in range(first, first + n_cells):
        cache.decode([token])
    return list(cache.cells)


def test_restored_cells_equal_the_saved_cells() -> None:
    memory = Memory()
    cache = KvCache(memory)
    slots = Slots(cache, 1 << 20)
    filled = {}
    for slot in (1, 2, 3):
        slots.switch(slot)
        assert cache.cells == []
        filled[slot] = fill(cache, 100 * slot)
    for slot in (1, 3, 2, 1):
        slots.switch(slot)
        assert cache.cells == memory.tokens == filled[slot]
        memory.check()


def room_for(n_slots: int) -> tuple[KvCache, Slots, int]:
    context = Context()
    cache = KvCache(context)
    return cache, Slots(cache, n_slots * context.parked_bytes), context.parked_bytes


def test_the_least_recently_used_is_dropped() -> None:
    cache, slots, each_bytes = room_for(2)
    for slot in (1, 2, 3, 1, 4):
        slots.switch(slot)
        fill(cache, 100 * slot)
    assert slots.views() == (
        SlotView(4, N_CELLS, resident=True),
        SlotView(1, N_CELLS, resident=False, parked_bytes=each_bytes),
        SlotView(3, N_CELLS, resident=False, parked_bytes=each_bytes),
    )
    slots.switch(2)
    assert cache.cells == []


def test_two_slots_need_room_for_one() -> None:
    cache, slots, _ = room_for(1)
    filled = {}
    for slot in (1, 2):
        slots.switch(slot)
        filled[slot] = fill(cache, 100 * slot)
    for slot in (1, 2, 1):
        slots.switch(slot)
        assert cache.cells == filled[slot]


@pytest.mark.parametrize("ram_bytes", [0, STATE_BYTES])
def test_a_slot_too_large_to_park_evicts_nothing(ram_bytes: int) -> None:
    cache = KvCache(Context())
    slots = Slots(cache, ram_bytes)
    for slot in (1, 2, 1):
        slots.switch(slot)
        assert cache.cells == []
        fill(cache, 0)
    assert slots.parked_bytes == 0


def test_a_slot_that_has_no_room_pushes_out_no_other() -> None:
    cache = KvCache(Memory())
    slots = Slots(cache, 1 << 20)
    slots.switch(1)
    fill(cache, 0)
    slots.switch(2)
    slots = _shrunk(slots)
    fill(cache, 100, 60)
    slots.switch(3)
    assert [view.id for view in slots.views()] == [3, 1]


def _shrunk(slots: Slots) -> Slots:
    """Checks with memory for exactly the parked slots."""
    slots._ram_bytes = slots.parked_bytes
    return slots


def test_slot_0_and_short_slots_are_not_parked() -> None:
    cache = KvCache(Memory())
    slots = Slots(cache, 1 << 20)
    fill(cache, 0)
    slots.switch(1)
    fill(cache, 0, MIN_PARKED_CELLS - 1)
    slots.switch(0)
    assert (cache.cells, slots.parked_bytes) == ([], 0)


def test_a_memory_that_cannot_be_saved_is_not_parked() -> None:
    cache = KvCache(Memory(), can_save=False)
    slots = Slots(cache, 1 << 20)
    slots.switch(1)
    fill(cache, 0)
    slots.switch(2)
    assert slots.parked_bytes == 0


def test_a_failed_restore_leaves_an_empty_cache() -> None:
    memory = Memory()
    cache = KvCache(memory)
    slots = Slots(cache, 1 << 20)
    slots.switch(1)
    fill(cache, 0)
    slots.switch(2)
    memory.can_restore = False
    slots.switch(1)
    assert cache.cells == memory.tokens == []
    assert slots.parked_bytes == 0


class Full(Memory):
    def state(self) -> StateBytes:
        raise EngineError("llama.cpp could not copy the cells of the KV cache")


def test_a_state_that_cannot_be_had_costs_its_slot_only(capsys: pytest.CaptureFixture[str]) -> None:
    cache = KvCache(Full())
    slots = Slots(cache, 1 << 20)
    slots.switch(1)
    fill(cache, 0)
    slots.switch(2)
    assert (slots.resident, cache.cells, slots.parked_bytes) == (2, [], 0)
    assert "Slot 1 cannot be parked: llama.cpp could not copy" in capsys.readouterr().err


def test_a_forgotten_slot_begins_anew() -> None:
    cache = KvCache(Memory())
    slots = Slots(cache, 1 << 20)
    for slot in (1, 2):
        slots.switch(slot)
        fill(cache, 100 * slot)
    slots.forget(1)
    slots.forget(2)
    slots.forget(7)
    assert slots.views() == (SlotView(0, 0, resident=True),)
    for slot in (1, 2):
        slots.switch(slot)
        assert cache.cells == []


def test_what_is_parked_is_bounded() -> None:
    cache, slots, each_bytes = room_for(10)
    for n in range(2000):
        slots.switch(1 + n * 7 % 300)
        fill(cache, n)
        assert slots.parked_bytes <= 10 * each_bytes
    assert len(slots.views()) == 11
    wide = Slots(cache, 1 << 30)
    for slot in range(1, 2 * MAX_PARKED):
        wide.switch(slot)
        fill(cache, slot)
    assert len(wide.views()) == MAX_PARKED + 1
