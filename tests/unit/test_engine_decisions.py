"""The engine's pure parts: plan, sampling, layout on a machine, cutting of spellings."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.model_cache import Memory

from llmd.config import EngineConfig, SamplingConfig
from llmd.errors import EngineError
from llmd.models.memory_plan import DescribedMachine, Shape, plan_load
from llmd.worker.kv_cache import plan_cells
from llmd.worker.loader import model_notice
from llmd.worker.sampling import sample, uniform
from llmd.worker.warm_up import warm_up

TOKENS = st.lists(st.integers(0, 3), max_size=12)
SHAPE = Shape(n_layers=30, n_head_kv=3, head_dim=64, n_ctx_train=8192)
CPU, GPU = DescribedMachine("cpu", 2), DescribedMachine("metal", 10)


@given(TOKENS, st.lists(st.integers(0, 3), min_size=1, max_size=12))
def test_a_plan_keeps_only_what_the_prompt_begins_with(cells: list[int], wanted: list[int]) -> None:
    made = plan_cells(cells, wanted)
    assert [*cells[: made.n_keep], *made.evaluate] == wanted
    assert made.evaluate
    grown = made.n_keep + 1
    assert len(made.evaluate) == 1 or cells[:grown] != wanted[:grown]


def test_a_draw_depends_on_seed_and_index_alone() -> None:
    logits = np.zeros(50, np.float32)
    draws = [sample(logits, SamplingConfig(), index) for index in range(200)]
    assert draws == [sample(logits, SamplingConfig(), index) for index in range(200)]
    assert len(set(draws)) > 30
    assert draws != [sample(logits, SamplingConfig(seed=1), index) for index in range(200)]


def test_an_unlikely_token_is_never_drawn() -> None:
    logits = np.array([0.0, -2.0, -2.5], np.float32)  # min_p 0.1 keeps down to -2.30
    drawn = {sample(logits, SamplingConfig(temperature=2.0), index) for index in range(500)}
    assert drawn == {0, 1}


def test_uniform_is_uniform() -> None:
    assert 0.47 < sum(uniform(3407, i) for i in range(2000)) / 2000 < 0.53


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_logits_that_are_not_finite_are_an_error(bad: float) -> None:
    with pytest.raises(EngineError, match="not finite"):
        sample(np.full(4, bad, np.float32), SamplingConfig(profile="greedy"), 0)


@pytest.mark.parametrize(
    ("engine", "machine", "types", "flash"),
    [
        (EngineConfig(), CPU, ("q4_0", "f16"), False),
        (EngineConfig(), GPU, ("q4_0", "q4_0"), True),
        (EngineConfig(cache_type_v="q4_0"), CPU, ("q4_0", "q4_0"), True),
        (EngineConfig(cache_type_k="f16"), CPU, ("f16", "f16"), False),
        (EngineConfig(flash_attn=False), GPU, ("q4_0", "f16"), False),
    ],
)
def test_cache_types_follow_machine_and_wishes(
    engine: EngineConfig, machine: DescribedMachine, types: tuple[str, str], flash: bool
) -> None:
    made = plan_load(engine, machine, SHAPE)
    assert ((made.cache_type_k, made.cache_type_v), made.flash_attn) == (types, flash)


def test_a_head_that_no_block_fits_gets_f16() -> None:
    made = plan_load(EngineConfig(), GPU, Shape(2, 2, 20, 512))
    assert (made.cache_type_k, made.cache_type_v, made.n_ctx) == ("f16", "f16", 512)


@pytest.mark.parametrize(
    ("memory_cuts", "is_recurrent", "n_window", "can_cut", "can_save"),
    [
        (True, False, 0, True, True),
        (False, False, 0, False, False),
        (True, True, 0, False, False),  # some recurrent ones go one token back
        (True, False, Memory.n_ctx - 1, True, False),
        (True, False, Memory.n_ctx, True, True),  # a window that hides nothing
    ],
)
def test_what_a_memory_can_do_is_tried(
    memory_cuts: bool, is_recurrent: bool, n_window: int, can_cut: bool, can_save: bool
) -> None:
    vocabulary = SimpleNamespace(bos=-1, eos=5)
    model = SimpleNamespace(vocabulary=vocabulary, is_recurrent=is_recurrent, n_window=n_window)
    memory = Memory(can_cut=memory_cuts)
    cache = warm_up(cast(Any, model), cast(Any, memory)).cache
    assert (cache.can_cut, cache.can_save) == (can_cut, can_save)
    assert cache.cells == memory.tokens == []
    assert memory.n_evaluated == 2


@pytest.mark.parametrize(
    ("is_plain", "can_cut", "can_save", "words"),
    [
        (False, True, True, r"^$"),
        (True, True, True, r"^Model `m` has no FIM tokens; .* trained for infilling$"),
        (False, True, False, r"^Model `m` cannot save its KV cells; each switch"),
        (False, False, False, r"^Model `m` cannot remove single KV cells; every request"),
        (
            True,
            False,
            False,
            r"^Model `m` has no FIM .* infilling\. It cannot remove single KV cells",
        ),
    ],
)
def test_what_a_model_cannot_do_is_said(
    is_plain: bool, can_cut: bool, can_save: bool, words: str
) -> None:
    assert re.search(words, model_notice("m", is_plain, can_cut, can_save))


def test_all_layers_go_to_the_gpu_by_default() -> None:
    assert plan_load(EngineConfig(), GPU, SHAPE).n_gpu_layers == -1
    assert plan_load(EngineConfig(n_gpu_layers=7), GPU, SHAPE).n_gpu_layers == 7
