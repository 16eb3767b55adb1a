"""Decisions of the daemon that need no battery."""

from __future__ import annotations

import pytest

from llmd.config.parse import parse
from llmd.daemon.daemon import BATTERY_DEBOUNCE_MS, debounce_ms

SET = "[completion]\ndebounce_ms = {}\n"
CASES = {
    "mains": ("", False, 0),
    "battery": ("", True, BATTERY_DEBOUNCE_MS),
    "battery does not matter": ('background = "on"\n', True, 0),
    "nor when nothing runs ahead": ('background = "off"\n', True, 0),
    "the user's own is longer": (SET.format(500), True, 500),
    "the user's own is shorter": (SET.format(10), True, BATTERY_DEBOUNCE_MS),
    "the user's own on mains": (SET.format(10), False, 10),
}


@pytest.mark.parametrize(("text", "on_battery", "expected"), CASES.values(), ids=CASES)
def test_the_pause_before_the_model_is_asked(text: str, on_battery: bool, expected: int) -> None:
    assert debounce_ms(parse(text, "a"), on_battery) == expected
