"""Decides what llmd stops doing while memory is short, and when it starts again. Pure.

A reading that is short takes one step down at once; a step up takes a minute of calm readings, so
that steps do not alternate.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from llmd.machine import MemoryReading

EVERY_S = 10.0  # between readings, while a model is loaded or a step is to be taken back
N_CALM = 6  # readings in a row before a step up

ALL, NO_BACKGROUND, NO_PARKED, UNLOADED = range(4)
DESCRIPTIONS = (
    "",
    "memory is short: no work in the background",
    "memory is short: no work in the background, and one document's cells kept at a time",
    "memory is short: the model is unloaded until there is room",
)

_SHORT_SHARE, _SHORT_BYTES = 0.06, 1 << 30  # free; the smaller of both
_SPENT_SHARE, _SPENT_BYTES = 0.02, 300 << 20
_ROOMY = 1.5  # times what is short; between the two nothing changes
_SHORT_STALL, _SPENT_STALL, _CALM_STALL = 0.05, 0.25, 0.01

Severity = Literal["calm", "between", "short", "spent"]
# By kern.memorystatus_vm_pressure_level: 1 is normal, 2 a warning, 4 critical.
_MACOS: tuple[tuple[int, Severity], ...] = ((4, "spent"), (2, "short"), (0, "calm"))


@dataclass(frozen=True, slots=True)
class Pressure:
    step: int = ALL
    n_calm: int = 0

    @property
    def doing(self) -> str:
        return DESCRIPTIONS[self.step]


def severity(reading: MemoryReading) -> Severity:
    """Rates one reading. macOS rates itself: with little free it compresses other programs' memory,
    and says so by its level."""
    if reading.level is not None:
        return next(rating for level, rating in _MACOS if reading.level >= level)
    free, stall = reading.free_bytes, reading.stalled_share
    short = min(_SHORT_SHARE * reading.total_bytes, _SHORT_BYTES)
    spent = min(_SPENT_SHARE * reading.total_bytes, _SPENT_BYTES)
    if free < spent or (stall or 0) >= _SPENT_STALL:
        return "spent"
    if free < short or (stall or 0) >= _SHORT_STALL:
        return "short"
    return "calm" if free >= _ROOMY * short and (stall or 0) <= _CALM_STALL else "between"


def next_pressure(before: Pressure, reading: MemoryReading) -> Pressure:
    """Returns the next step. The model is unloaded only when memory is almost exhausted."""
    match severity(reading):
        case "spent":
            return Pressure(min(before.step + 1, UNLOADED))
        case "short":
            return Pressure(max(before.step, min(before.step + 1, NO_PARKED)))
        case "calm" if before.step:
            n_calm = before.n_calm + 1
            return Pressure(before.step, n_calm) if n_calm < N_CALM else Pressure(before.step - 1)
        case _:
            return Pressure(before.step)
