"""The engine's pure parts: plan, sampling, layout on a machine, cutting of spellings."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmd.config import Engine, Sampling
from llmd.engine.plan import plan
from llmd.engine.sampling import sample, uniform
from llmd.errors import EngineError
from llmd.models.fit import Machine, Shape, plan_load

TOKENS = st.lists(st.integers(0, 3), max_size=12)
SHAPE = Shape(n_layers=30, n_head_kv=3, head_dim=64, n_ctx_train=8192)
CPU, GPU = Machine("cpu", 2), Machine("metal", 10)


@given(TOKENS, st.lists(st.integers(0, 3), min_size=1, max_size=12))
def test_a_plan_keeps_only_what_the_prompt_begins_with(cells: list[int], wanted: list[int]) -> None:
    made = plan(cells, wanted)
    assert [*cells[: made.n_keep], *made.evaluate] == wanted
    assert made.evaluate
    grown = made.n_keep + 1
    assert len(made.evaluate) == 1 or cells[:grown] != wanted[:grown]


def test_a_draw_depends_on_seed_and_index_alone() -> None:
    logits = np.zeros(50, np.float32)
    draws = [sample(logits, Sampling(), index) for index in range(200)]
    assert draws == [sample(logits, Sampling(), index) for index in range(200)]
    assert len(set(draws)) > 30
    assert draws != [sample(logits, Sampling(seed=1), index) for index in range(200)]


def test_an_unlikely_token_is_never_drawn() -> None:
    logits = np.array([0.0, -2.0, -2.5], np.float32)  # min_p 0.1 keeps down to -2.30
    drawn = {sample(logits, Sampling(temperature=2.0), index) for index in range(500)}
    assert drawn == {0, 1}


def test_uniform_is_uniform() -> None:
    assert 0.47 < sum(uniform(3407, i) for i in range(2000)) / 2000 < 0.53


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_logits_that_are_not_finite_are_an_error(bad: float) -> None:
    with pytest.raises(EngineError, match="not finite"):
        sample(np.full(4, bad, np.float32), Sampling(profile="greedy"), 0)


@pytest.mark.parametrize(
    ("engine", "machine", "types", "flash"),
    [
        (Engine(), CPU, ("q4_0", "f16"), False),
        (Engine(), GPU, ("q4_0", "q4_0"), True),
        (Engine(cache_type_v="q4_0"), CPU, ("q4_0", "q4_0"), True),
        (Engine(cache_type_k="f16"), CPU, ("f16", "f16"), False),
        (Engine(flash_attn=False), GPU, ("q4_0", "f16"), False),
    ],
)
def test_cache_types_follow_machine_and_wishes(
    engine: Engine, machine: Machine, types: tuple[str, str], flash: bool
) -> None:
    made = plan_load(engine, machine, SHAPE)
    assert ((made.cache_type_k, made.cache_type_v), made.flash_attn) == (types, flash)


def test_a_head_that_no_block_fits_gets_f16() -> None:
    made = plan_load(Engine(), GPU, Shape(2, 2, 20, 512))
    assert (made.cache_type_k, made.cache_type_v, made.n_ctx) == ("f16", "f16", 512)


def test_all_layers_go_to_the_gpu_by_default() -> None:
    assert plan_load(Engine(), GPU, SHAPE).n_gpu_layers == -1
    assert plan_load(Engine(n_gpu_layers=7), GPU, SHAPE).n_gpu_layers == 7
