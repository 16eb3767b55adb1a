"""Tests a model whose memory cannot be cut: no reuse, the same completions, and a notice."""

from __future__ import annotations

import ctypes
import time
from pathlib import Path

import pytest
from tests.support.toy_mamba import write_mamba

from llmd.config import EngineConfig as EngineConfig
from llmd.config import SamplingConfig
from llmd.engine.messages import Done, Generate, Load
from llmd.postprocess.stop import StopRule
from llmd.prompt.build import Piece
from llmd.worker.generate import generate
from llmd.worker.loader import load_engine
from llmd.worker.parked_slots import Slots
from llmd.worker.prompt_tokens import LoadedModel

TEXTS = {1: "def first(a):\n    retu" * 8, 2: "x = [1, 2, 3]\nfor y in" * 8}


class Recurrent:
    def __init__(self, path: Path) -> None:
        self._flags = ctypes.create_string_buffer(16)
        self._address = ctypes.addressof(self._flags)
        loaded = load_engine(Load(str(path), "auto", EngineConfig()), self._address, lambda _: None)
        self.engine: LoadedModel = loaded[0]
        self.notice = loaded[1].notice
        self.slots = Slots(self.engine.cache, 1 << 20)

    def complete(self, slot: int, more: str = "") -> Done:
        self.slots.switch(slot)
        pieces = (Piece("prefix", TEXTS[slot] + more), Piece("heal"))
        rule = StopRule(12, 8, 0, "", 60_000)
        request = Generate(1, pieces, rule, SamplingConfig(profile="greedy"))
        return generate(self.engine, request, time.monotonic(), lambda: False, lambda _: None)

    def complete_aborted(self, slot: int) -> Done:
        """Sets the flag for llama.cpp's callback only, so that the decode itself is aborted."""
        self._flags[0] = b"\x01"
        try:
            return self.complete(slot)
        finally:
            self._flags[0] = b"\x00"


@pytest.fixture
def recurrent(tmp_path: Path) -> Recurrent:
    return Recurrent(write_mamba(tmp_path / "toy.gguf"))


def test_the_notice_names_the_limit(recurrent: Recurrent) -> None:
    assert recurrent.notice.endswith(
        "It cannot remove single KV cells; every request evaluates its whole prompt"
    )
    assert not recurrent.engine.cache.can_save


def test_answers_are_those_of_a_fresh_memory(recurrent: Recurrent) -> None:
    """Compares completions after another prompt, a longer prompt, another document and an abort."""
    fresh = {slot: recurrent.complete(slot) for slot in TEXTS}
    for slot, first in fresh.items():
        assert first.text
        for again in (recurrent.complete(slot), recurrent.complete(slot)):
            assert (again.text, again.cost.n_cached) == (first.text, 0)
        recurrent.complete(slot, "x")
        assert recurrent.complete(slot).text == first.text
        assert recurrent.complete_aborted(slot).text == ""
        assert recurrent.engine.cache.cells == []
        assert recurrent.complete(slot).text == first.text
    assert recurrent.slots.parked_bytes == 0


def test_a_prompt_is_evaluated_once(recurrent: Recurrent) -> None:
    """Without a draft: rejecting one would evaluate the whole prompt again."""
    for slot in TEXTS:
        cost = recurrent.complete(slot).cost
        assert cost.n_prefill == cost.n_prompt < len(TEXTS[slot])
