"""Keeps the KV cells of each document: one slot is resident in the KV cache, others are parked.

The KV cache holds one slot at a time, since attention would visit the cells of every other slot for
each token. Slot 0 belongs to no document and is never parked. Parked slots are copies in the RAM of
the worker process.
"""

from __future__ import annotations

import sys
from collections import OrderedDict

from llmd.engine.messages import SlotView
from llmd.errors import EngineError
from llmd.worker.kv_cache import KvCache, SavedCells

NO_SLOT = 0
MIN_PARKED_CELLS = 32  # chosen: evaluating fewer again takes little time
MAX_PARKED = 64  # chosen: more documents than a user switches between


class Slots:
    """Switches the KV cache between slots.

    `ram_bytes` caps the memory of parked slots. During a switch the slot being restored is held in
    addition.
    """

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
        """Parks the resident slot and makes `slot` resident, with its parked cells if any."""
        if slot == self.resident:
            return
        saved = self._parked.pop(slot, None)
        self._park()
        self.resident = slot
        if saved is None:
            self._cache.keep(0)
        else:
            self._cache.restore(saved)

    def forget(self, slot: int) -> None:
        self._parked.pop(slot, None)
        if slot == self.resident:
            self._cache.clear()
            self.resident = NO_SLOT

    def drop_parked(self, keep: bool) -> None:
        """Enables or disables parking by `keep`. Disabling also drops all parked slots."""
        self._is_parking_enabled = keep
        if not keep:
            self._parked.clear()

    def views(self) -> tuple[SlotView, ...]:
        """Describes all slots: the resident slot first, then parked ones by latest use."""
        resident = SlotView(self.resident, len(self._cache.cells), resident=True)
        parked = (
            SlotView(slot, len(saved.cells), resident=False, parked_bytes=saved.n_bytes)
            for slot, saved in reversed(self._parked.items())
        )
        return resident, *parked

    def _park(self) -> None:
        is_worth_it = self._ram_bytes and len(self._cache.cells) >= self._min_cells
        may_park = self._is_parking_enabled and self._cache.can_save and self.resident != NO_SLOT
        if not (may_park and is_worth_it):
            return
        try:
            self._add(self._cache.save())
        except (EngineError, MemoryError) as error:  # the next request evaluates the prompt again
            print(f"Slot {self.resident} cannot be parked: {error}", file=sys.stderr, flush=True)

    def _add(self, saved: SavedCells) -> None:
        if saved.n_bytes > self._ram_bytes:
            return
        self._parked[self.resident] = saved
        while self.parked_bytes > self._ram_bytes or len(self._parked) > MAX_PARKED:
            self._parked.popitem(last=False)
