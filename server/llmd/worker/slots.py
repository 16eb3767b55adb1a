"""Whose cells the cache holds: one document's are resident, those of others are parked in memory.

Only one slot is in the KV cache at a time, since every other would be walked with each token. Slot
0 is nobody's and never parked. What is parked lives in this process only.
"""

from __future__ import annotations

import sys
from collections import OrderedDict

from llmd.engine.messages import SlotView
from llmd.errors import EngineError
from llmd.worker.kv_cache import KvCache, SavedCells

NO_SLOT = 0
MIN_PARKED_CELLS = 32  # chosen: fewer are soon evaluated
MAX_PARKED = 64  # chosen: more than anybody goes to and fro between


class Slots:
    """`ram_bytes` bounds what is parked; beside it stands, while slots change, the one that
    returns."""

    def __init__(self, cache: KvCache, ram_bytes: int, min_cells: int = MIN_PARKED_CELLS) -> None:
        self.resident = NO_SLOT
        self._cache = cache
        self._ram_bytes = ram_bytes
        self._min_cells = min_cells
        self._is_parking_enabled = True
        self._parked: OrderedDict[int, SavedCells] = OrderedDict()  # least recently used first

    @property
    def parked_bytes(self) -> int:
        return sum(saved.n_bytes for saved in self._parked.values())

    def switch(self, slot: int) -> None:
        """Makes a slot the resident one, with the cells that are known of it."""
        if slot == self.resident:
            return
        wanted = self._parked.pop(slot, None)
        self._park()
        self.resident = slot
        if wanted is None:
            self._cache.keep(0)
        else:
            self._cache.restore(wanted)

    def forget(self, slot: int) -> None:
        self._parked.pop(slot, None)
        if slot == self.resident:
            self._cache.clear()
            self.resident = NO_SLOT

    def drop_parked(self, keep: bool) -> None:
        """And keeps nothing more, until told otherwise."""
        self._is_parking_enabled = keep
        if not keep:
            self._parked.clear()

    def views(self) -> tuple[SlotView, ...]:
        """The resident one first, then the latest used."""
        resident = SlotView(self.resident, len(self._cache.cells), resident=True)
        parked = (
            SlotView(slot, len(saved.cells), resident=False, parked_bytes=saved.n_bytes)
            for slot, saved in reversed(self._parked.items())
        )
        return resident, *parked

    def _park(self) -> None:
        is_worth_it = (
            self._is_parking_enabled
            and self._ram_bytes
            and len(self._cache.cells) >= self._min_cells
        )
        if self.resident == NO_SLOT or not self._cache.can_save or not is_worth_it:
            return
        try:
            self._add(self._cache.save())
        except (EngineError, MemoryError) as error:  # they are evaluated anew when they are wanted
            print(f"A slot is dropped: {error}", file=sys.stderr, flush=True)

    def _add(self, saved: SavedCells) -> None:
        if saved.n_bytes > self._ram_bytes:
            return
        self._parked[self.resident] = saved
        while self.parked_bytes > self._ram_bytes or len(self._parked) > MAX_PARKED:
            self._parked.popitem(last=False)
