"""Down at once where memory is short, up again once it has not been for a while."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from llmd.engine.memory_pressure import (
    N_CALM,
    NO_PARKED,
    UNLOADED,
    Pressure,
    next_pressure,
    severity,
)
from llmd.machine import MemoryReading

GIB, MIB = 1 << 30, 1 << 20
TOTAL = 16 * GIB
CALM = MemoryReading(8 * GIB, TOTAL, 0.0)
BETWEEN = MemoryReading(8 * GIB, TOTAL, 0.03)
SHORT = MemoryReading(800 * MIB, TOTAL, 0.0)
SPENT = MemoryReading(100 * MIB, TOTAL, 0.0)


def steps(readings: Sequence[MemoryReading], start: Pressure | None = None) -> list[int]:
    pressure, found = start or Pressure(), []
    for reading in readings:
        pressure = next_pressure(pressure, reading)
        found.append(pressure.step)
    return found


@pytest.mark.parametrize(
    ("reading", "expected"),
    [
        (CALM, "calm"),
        (BETWEEN, "between"),
        (SHORT, "short"),
        (SPENT, "spent"),
        (MemoryReading(8 * GIB, TOTAL, 0.10), "short"),
        (MemoryReading(8 * GIB, TOTAL, 0.40), "spent"),
        (MemoryReading(8 * GIB, TOTAL, level=1), "calm"),
        (MemoryReading(8 * GIB, TOTAL, level=2), "short"),
        (MemoryReading(8 * GIB, TOTAL, level=4), "spent"),
        (MemoryReading(8 * GIB, TOTAL), "calm"),  # a system that says no more
        (MemoryReading(1200 * MIB, TOTAL), "between"),
    ],
)
def test_what_a_reading_says(reading: MemoryReading, expected: str) -> None:
    assert severity(reading) == expected


def test_short_memory_keeps_the_model() -> None:
    assert steps([SHORT] * 5) == [1, 2, 2, 2, 2]


def test_spent_memory_unloads_it() -> None:
    assert steps([SPENT] * 5) == [1, 2, 3, 3, 3]


def test_one_step_up_takes_as_many_calm_readings() -> None:
    up = steps([CALM] * (3 * N_CALM + 1), Pressure(UNLOADED))
    assert up == [3] * (N_CALM - 1) + [2] * N_CALM + [1] * N_CALM + [0, 0]


@pytest.mark.parametrize("reading", [BETWEEN, SHORT])
def test_what_is_not_calm_begins_the_count_anew(reading: MemoryReading) -> None:
    almost = [CALM] * (N_CALM - 1)
    assert set(steps([*almost, reading, *almost], Pressure(NO_PARKED))) == {NO_PARKED}


def test_short_memory_does_not_load_it_again() -> None:
    assert set(steps([SHORT] * 50, Pressure(UNLOADED))) == {UNLOADED}


def test_a_memory_to_and_fro_does_not_make_it_go_up_and_down() -> None:
    assert set(steps([SHORT, CALM, BETWEEN] * 20)[2:]) == {NO_PARKED} | {1, 2}
    assert steps([SHORT, CALM, BETWEEN] * 20)[-20:] == [NO_PARKED] * 20
