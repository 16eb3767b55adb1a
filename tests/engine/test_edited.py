"""Tests warm completions after edits: typing, new lines, brackets, a jump, a paste, and undo."""

from __future__ import annotations

import random

import pytest
from tests.support.edited import Patch, compare, with_order
from tests.support.real_engine import SOURCES, RealEngine, load_real_engine

from llmd.prompt.families import Order

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def loaded() -> RealEngine:
    return load_real_engine()


KINDS = {"key": 60, "line": 8, "pair": 6, "back": 12, "jump": 4, "paste": 2}


def edits(n_edits: int) -> list[Patch]:
    """Writes a trace of edits in one file."""
    rng, text = random.Random(7), SOURCES[1][:9000]
    patches: list[Patch] = [(0, 0, text)]
    at = len(text) // 2
    for _ in range(n_edits):
        (kind,) = rng.choices(list(KINDS), list(KINDS.values()))
        if kind == "jump":
            at = rng.randrange(2000, 8000)
        typed = {"line": "\n    ", "pair": "()", "paste": text[at : at + 120]}.get(kind, "")
        typed = typed or rng.choice("abcdef =._")
        patches.append((at - 1, 1, "") if kind == "back" else (at, 0, typed))
        at += {"back": -1, "pair": 1}.get(kind, len(typed))
    return patches


@pytest.mark.parametrize("order", ["psm", "spm"])
def test_edits_leave_warm_as_cold(loaded: RealEngine, order: Order) -> None:
    comparison = compare(with_order(loaded, order), edits(160), 16)
    assert comparison.n_places == 16
    assert comparison.n_warm >= 14
    assert comparison.n_same == comparison.n_places
