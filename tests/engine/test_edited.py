"""Warm answers at places that were reached by edits: typing, new lines, brackets, a jump, a paste,
and undo."""

from __future__ import annotations

import random

import pytest
from tests.support.edited import Patch, count, with_order
from tests.support.real_engine import SOURCES, RealEngine, load_real_engine

from llmd.prompt.families import Order

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def loaded() -> RealEngine:
    return load_real_engine()


KINDS = {"key": 60, "line": 8, "pair": 6, "back": 12, "jump": 4, "paste": 2}


def edits(n_edits: int) -> list[Patch]:
    """A file, and what somebody does in it."""
    rng, text = random.Random(7), SOURCES[1][:9000]
    found: list[Patch] = [(0, 0, text)]
    at = len(text) // 2
    for _ in range(n_edits):
        (kind,) = rng.choices(list(KINDS), list(KINDS.values()))
        if kind == "jump":
            at = rng.randrange(2000, 8000)
        said = {"line": "\n    ", "pair": "()", "paste": text[at : at + 120]}.get(kind, "")
        said = said or rng.choice("abcdef =._")
        found.append((at - 1, 1, "") if kind == "back" else (at, 0, said))
        at += {"back": -1, "pair": 1}.get(kind, len(said))
    return found


@pytest.mark.parametrize("order", ["psm", "spm"])
def test_edits_leave_warm_as_cold(loaded: RealEngine, order: Order) -> None:
    found = count(with_order(loaded, order), edits(160), 16)
    assert found.n_places == 16
    assert found.n_warm >= 14
    assert found.n_same == found.n_places
