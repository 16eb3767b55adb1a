"""Tests a LoRA adapter that a catalog entry applies to its model through llama.cpp."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from gguf import GGUFWriter
from tests.support import gguf_bytes

from llmd.config import EngineConfig
from llmd.engine import messages
from llmd.errors import ModelError
from llmd.worker.llama import Logits
from llmd.worker.loader import load_engine

N_IN, N_OUT, RANK, ALPHA = 32, 32, 2, 4.0
NAME = "blk.0.ffn_up.weight"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Writes an adapter with weights other than zero, since zeros would change nothing."""
    whole = gguf_bytes.tiny()
    data = np.random.default_rng(7).standard_normal(len(whole.data) // 4, np.float32).tobytes()
    path = tmp_path / "tiny.gguf"
    path.write_bytes(gguf_bytes.tiny(data=data).encode())
    return path


def lora(path: Path, architecture: str = "llama", name: str = NAME) -> Path:
    writer = GGUFWriter(path, architecture)
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", ALPHA)
    random = np.random.default_rng(3407)
    writer.add_tensor(f"{name}.lora_a", random.standard_normal((RANK, N_IN), np.float32))
    writer.add_tensor(f"{name}.lora_b", random.standard_normal((N_OUT, RANK), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def logits(model: Path, *adapters: tuple[str, float]) -> Logits:
    flag = np.zeros(2, np.uint8)
    load = messages.Load(
        str(model), "auto", EngineConfig(threads=1, cache_type_k="f16"), adapters=adapters
    )
    engine, _ = load_engine(load, flag.ctypes.data, lambda _: None)
    engine.context.clear()
    assert engine.context.decode([1, 2, 3], 0, 1) == 0
    return engine.context.logits()


def test_an_adapter_changes_the_output_by_its_scale(model: Path, tmp_path: Path) -> None:
    path = str(lora(tmp_path / "l.gguf"))
    bare, none = logits(model), logits(model, (path, 0.0))
    half, whole = logits(model, (path, 0.5)), logits(model, (path, 1.0))
    np.testing.assert_allclose(bare, none, atol=1e-4)
    assert np.abs(half - bare).max() > 1e-3
    assert np.abs(whole - half).max() > 1e-3
    two = logits(model, (path, 0.5), (str(lora(tmp_path / "m.gguf")), 0.5))
    np.testing.assert_allclose(two, whole, rtol=1e-3, atol=1e-3)


def test_a_file_other_than_an_adapter_is_rejected_before_llama_cpp(
    model: Path, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match="is not an adapter: its type is not `adapter`"):
        logits(model, (str(model), 1.0))
    other = lora(tmp_path / "q.gguf", "qwen2")
    with pytest.raises(ModelError, match="is for the architecture `qwen2`, expected `llama`"):
        logits(model, (str(other), 1.0))


def test_an_adapter_of_another_model_is_reported(model: Path, tmp_path: Path) -> None:
    other = lora(tmp_path / "o.gguf", name="blk.7.ffn_up.weight")
    with pytest.raises(ModelError, match=r"^Adapter `.*o.gguf` cannot be used: llama.cpp reports"):
        logits(model, (str(other), 1.0))
