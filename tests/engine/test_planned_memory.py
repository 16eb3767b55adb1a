"""Tests the planned memory against the worker's real memory, for the built-in model."""

from __future__ import annotations

import asyncio

import pytest
from tests.support.builtin import builtin_path
from tests.support.fault_engine import until

from llmd import machine
from llmd.config import CacheType, Config, EngineConfig, SamplingConfig
from llmd.engine.client import EngineClient
from llmd.postprocess.stop import StopRule
from llmd.prompt.build import Piece

TYPES: list[tuple[CacheType, CacheType]] = [("q4_0", "f16"), ("f16", "f16"), ("q8_0", "q8_0")]
NEAR = 0.10


@pytest.mark.parametrize("types", TYPES, ids="-".join)
@pytest.mark.parametrize("n_ctx", [512, 2048, 4096, 8192])
async def test_planned_memory_equals_the_worker_s_memory(
    n_ctx: int, types: tuple[CacheType, CacheType]
) -> None:
    config = EngineConfig(n_ctx=n_ctx, cache_type_k=types[0], cache_type_v=types[1])
    engine = EngineClient(Config(model=str(builtin_path()), engine=config))
    living = asyncio.create_task(engine.run())
    try:
        await until(lambda: engine.state == "ready", "the model is loaded")
        await _complete(engine)
        assert engine.info
        taken, planned = machine.rss_bytes(engine.worker_pid), engine.info.planned_bytes
    finally:
        living.cancel()
        await asyncio.gather(living, return_exceptions=True)
    assert planned == pytest.approx(taken, rel=NEAR)


async def _complete(engine: EngineClient) -> None:
    """Evaluates some batches of a prompt and generates some tokens."""
    rule = StopRule(8, 1, 0, "", 60_000)
    job = engine.add_request(lambda _: (Piece("prefix", "x = 1\n" * 60),), rule, SamplingConfig())
    done = await job.finished
    assert done.cost.n_prefill > 100
