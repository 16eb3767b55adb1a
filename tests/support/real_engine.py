"""Loads the engine in this process with the built-in model, and yields positions in real files."""

from __future__ import annotations

import argparse
import ctypes
import random
import tarfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from llmd.config import EngineConfig as EngineConfig
from llmd.config import SamplingConfig
from llmd.context.window import Excerpt
from llmd.engine.messages import Done, Generate, Partial
from llmd.models.memory_plan import DescribedMachine, plan_load
from llmd.postprocess.stop import StopRule
from llmd.prompt.build import Piece, build_prompt
from llmd.prompt.families import Match, recognise
from llmd.worker import llama
from llmd.worker.generate import generate
from llmd.worker.kv_cache import KvCache
from llmd.worker.parked_slots import Slots
from llmd.worker.prompt_tokens import LoadedModel
from llmd.worker.token_healing import HealingTable
from tests.support.builtin import builtin_path

GREEDY = SamplingConfig(profile="greedy")
SOURCES = [
    Path(module.__file__).read_text() for module in (argparse, random, tarfile) if module.__file__
]
# Two fresh evaluations of one prompt with other batch splits part where the best two logits lie
# this close; so may a warm and a cold one.
NEAR_TIE = 0.5
PARKED_BYTES = 512 << 20


@dataclass
class RealEngine:
    engine: LoadedModel
    match: Match
    context: llama.Context
    flag: ctypes.Array[ctypes.c_char]
    slots: Slots
    heal: bool = True

    def pieces(self, prefix: str, suffix: str) -> tuple[Piece, ...]:
        place = Excerpt(prefix, suffix, "", "", "")
        return build_prompt(self.match.family, self.match.order, place, "a.py", heal=self.heal)

    def complete(
        self,
        prefix: str,
        suffix: str,
        max_tokens: int = 16,
        is_cancelled: Callable[[], bool] = lambda: False,
        emit: Callable[[Partial], None] = lambda _: None,
        deadline_ms: int = 60_000,
        is_prefill: bool = False,
        alternative: int = 0,
        wants_tokens: bool = False,
    ) -> Done:
        rule = StopRule(max_tokens, 1, 0, "", deadline_ms)
        request = Generate(
            1, self.pieces(prefix, suffix), rule, GREEDY, is_prefill=is_prefill,
            alternative=alternative, wants_tokens=wants_tokens,
        )  # fmt: skip
        return generate(self.engine, request, time.monotonic(), is_cancelled, emit)

    def complete_cold(self, prefix: str, suffix: str, max_tokens: int = 16) -> Done:
        self.engine.cache.clear()
        return self.complete(prefix, suffix, max_tokens)

    def diverges_at_near_tie(self, prefix: str, suffix: str, one: Done, other: Done) -> bool:
        """Returns whether the two best logits, evaluated fresh, are close right after the common
        text."""
        shared = 0
        for a, b in zip(one.text, other.text, strict=False):
            if a != b:
                break
            shared += 1
        # The tokens that both share cover at most the shared text; look at each border near it.
        margins = []
        for n_chars in range(max(0, shared - 8), shared + 1):
            self.complete_cold(prefix + one.text[:n_chars], suffix, max_tokens=1)
            best = sorted(self.context.logits().tolist())[-2:]
            margins.append(best[1] - best[0])
        return bool(min(margins) <= NEAR_TIE)


def load_real_engine() -> RealEngine:
    model = llama.Model(builtin_path())
    plan = plan_load(EngineConfig(), DescribedMachine(llama.backend(), 2), model.shape)
    context = llama.Context(model, plan)
    flag = ctypes.create_string_buffer(2)
    context.set_abort_flag(ctypes.addressof(flag))
    vocabulary = model.vocabulary
    match = recognise(model.name, vocabulary.declared, vocabulary.find)
    cache = KvCache(context)
    engine = LoadedModel(context, vocabulary, match, cache, HealingTable(vocabulary.text_pieces()))
    return RealEngine(engine, match, context, flag, Slots(cache, PARKED_BYTES))


def positions(n_places: int, n_chars: int = 600) -> Iterator[tuple[str, str]]:
    """Yields prefix and suffix at positions spread evenly over real files, each file in turn."""
    for i in range(n_places):
        source = SOURCES[i % len(SOURCES)]
        at = n_chars + i * (len(source) - 2 * n_chars) // n_places
        yield source[at - n_chars : at], source[at : at + n_chars // 3]
