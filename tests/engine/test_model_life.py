"""Tests that a model is freed, and that an error of a GPU that comes late is not missed.

On a Mac a process that ends with a loaded model aborts (llama.cpp, pull request 24368).
"""

from __future__ import annotations

from collections import Counter
from contextlib import closing
from typing import Any

import pytest
from tests.support.builtin import builtin_path
from tests.support.real_engine import load_real_engine

from llmd.config import EngineConfig
from llmd.engine import messages
from llmd.errors import EngineError, ModelError
from llmd.worker import loader
from llmd.worker.llama import library, model


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Counts loads and frees of models."""
    counted: Counter[str] = Counter()

    def count(name: str) -> None:
        original: Any = getattr(model.c, name)

        def counting(*args: Any) -> Any:
            counted[name] += 1
            return original(*args)

        monkeypatch.setattr(model.c, name, counting)

    count("llama_model_load_from_file")
    count("llama_model_free")
    return counted


LOAD = messages.Load(str(builtin_path()), "auto", EngineConfig(n_ctx=512))


def test_a_closed_model_is_freed(calls: Counter[str]) -> None:
    with closing(loader.open_model(LOAD, lambda _: None)):
        pass
    assert set(calls.values()) == {1}
    assert len(calls) == 2


@pytest.mark.parametrize("message", ["code -3", "failed to allocate compute buffers"])
@pytest.mark.parametrize("step", ["warm_up", "llama.Context"])
def test_a_load_that_fails_frees_each_model_that_it_tried(
    monkeypatch: pytest.MonkeyPatch, calls: Counter[str], step: str, message: str
) -> None:
    def fail(*_: object) -> None:
        raise EngineError(message)

    monkeypatch.setattr(f"llmd.worker.loader.{step}", fail)
    with pytest.raises((EngineError, ModelError), match=message):
        loader.open_model(LOAD, lambda _: None)
    n_loads = calls["llama_model_load_from_file"]
    assert n_loads == calls["llama_model_free"]
    assert (n_loads > 1) == ("allocate" in message)  # less memory is tried


def test_an_error_between_decode_and_logits_is_of_this_decode() -> None:
    """On a GPU `llama_decode` returns 0 before the error, and the logits are of an earlier one."""
    engine = load_real_engine()
    context, cache = engine.context, engine.engine.cache
    cache.decode([1, 2, 3])
    context.logits()
    cache.decode([4])
    library._log(4, b"ggml_metal_synchronize: error: command buffer 0 failed with status 5\n", None)
    library._log(4, b"error: Insufficient Memory (00000008)\n", None)
    with pytest.raises(EngineError, match="failed to evaluate tokens: error: Insufficient Memory"):
        context.logits()
    cache.decode([5])
    context.logits()
