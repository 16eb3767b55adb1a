"""Implements SmolLM2 in PyTorch with LoRA on every linear layer. Reads the GGUF files of the base
and of an adapter, and writes an adapter for llama.cpp and llmd.

Samples are concatenated without padding; only attention separates them. Rotary position embedding
rotates neighbouring pairs, which is llama.cpp's order of a llama's rows, so weights are used
unchanged.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np
import torch
from gguf.quants import dequantize
from torch import Tensor, nn
from torch.nn import functional

LINEARS = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")


@dataclass(frozen=True, slots=True)
class Shape:
    n_layers: int
    n_embd: int
    n_ff: int
    n_head: int
    n_head_kv: int
    n_vocab: int
    rope_base: float = 100_000.0
    norm_eps: float = 1e-5

    @property
    def head_dim(self) -> int:
        return self.n_embd // self.n_head

    def linear(self, name: str) -> tuple[int, int]:
        """Returns the shape (in, out) of a layer's matrix."""
        n_kv = self.n_head_kv * self.head_dim
        return {
            "attn_q": (self.n_embd, self.n_embd),
            "attn_k": (self.n_embd, n_kv),
            "attn_v": (self.n_embd, n_kv),
            "attn_output": (self.n_embd, self.n_embd),
            "ffn_gate": (self.n_embd, self.n_ff),
            "ffn_up": (self.n_embd, self.n_ff),
            "ffn_down": (self.n_ff, self.n_embd),
        }[name]


SMOLLM2_135M = Shape(30, 576, 1536, 9, 3, 49152)


class Lora(nn.Module):
    """Computes y = W x + (alpha / rank) B A x; W is not trained."""

    def __init__(self, n_in: int, n_out: int, rank: int, scale: float) -> None:
        super().__init__()
        self.register_buffer("weight", torch.randn(n_out, n_in) * n_in**-0.5)
        self.a = nn.Parameter(torch.randn(rank, n_in) * n_in**-0.5)
        self.b = nn.Parameter(torch.zeros(n_out, rank))
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        low = functional.linear(x, self.a) * self.scale
        return functional.linear(x, self.weight) + functional.linear(low, self.b)


class Block(nn.Module):
    def __init__(self, shape: Shape, rank: int, scale: float) -> None:
        super().__init__()
        self.shape = shape
        self.register_buffer("attn_norm", torch.ones(shape.n_embd))
        self.register_buffer("ffn_norm", torch.ones(shape.n_embd))
        for name in LINEARS:
            setattr(self, name, Lora(*shape.linear(name), rank, scale))

    def forward(self, x: Tensor, rotation: Tensor, n_tokens: Sequence[int]) -> Tensor:
        eps, n_embd = self.shape.norm_eps, (self.shape.n_embd,)
        x = x + self._attend(
            functional.rms_norm(x, n_embd, self.attn_norm, eps), rotation, n_tokens
        )
        h = functional.rms_norm(x, n_embd, self.ffn_norm, eps)
        return x + self.ffn_down(functional.silu(self.ffn_gate(h)) * self.ffn_up(h))

    def _attend(self, h: Tensor, rotation: Tensor, n_tokens: Sequence[int]) -> Tensor:
        dim = self.shape.head_dim
        q = _rotate(self.attn_q(h).unflatten(-1, (-1, dim)), rotation)
        k = _rotate(self.attn_k(h).unflatten(-1, (-1, dim)), rotation)
        v = self.attn_v(h).unflatten(-1, (-1, dim))
        n_group = self.shape.n_head // self.shape.n_head_kv
        k, v = (part.repeat_interleave(n_group, dim=1) for part in (k, v))
        seen = [
            functional.scaled_dot_product_attention(
                *(part.transpose(0, 1)[None] for part in parts), is_causal=True
            )[0].transpose(0, 1)
            for parts in zip(*(part.split(list(n_tokens)) for part in (q, k, v)), strict=True)
        ]
        return self.attn_output(torch.cat(seen).flatten(1))


def _rotate(x: Tensor, rotation: Tensor) -> Tensor:
    """Rotates `x` (tokens, heads, dim) by complex numbers of length 1 (tokens, dim / 2)."""
    pairs = torch.view_as_complex(x.float().unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * rotation[:, None]).flatten(-2)


class Model(nn.Module):
    def __init__(self, shape: Shape, rank: int = 32, alpha: float = 32.0) -> None:
        super().__init__()
        self.shape, self.rank, self.alpha = shape, rank, alpha
        self.register_buffer("embedding", torch.randn(shape.n_vocab, shape.n_embd) * 0.02)
        self.register_buffer("output_norm", torch.ones(shape.n_embd))
        self.blocks = nn.ModuleList(Block(shape, rank, alpha / rank) for _ in range(shape.n_layers))

    def forward(self, tokens: Tensor, n_tokens: Sequence[int], positions: Tensor) -> Tensor:
        """Returns logits (positions, vocabulary) at `positions` in the concatenated samples."""
        rotation = self._rotation(n_tokens)
        x = self.embedding[tokens]
        with torch.autocast("cpu", self.blocks[0].ffn_up.weight.dtype, self.is_half):
            for block in self.blocks:
                x = block(x, rotation, n_tokens)
        x = functional.rms_norm(
            x[positions], (self.shape.n_embd,), self.output_norm, self.shape.norm_eps
        )
        return functional.linear(x, self.embedding)

    @property
    def is_half(self) -> bool:
        return self.blocks[0].ffn_up.weight.dtype == torch.bfloat16

    def to_bf16(self) -> None:
        """Converts the layers' matrices to bf16, which is three times as fast on processors that
        multiply bf16. Trained parameters, the residual stream and the logits stay f32."""
        for module in self.modules():
            if isinstance(module, Lora):
                module.weight = module.weight.bfloat16()

    def _rotation(self, n_tokens: Sequence[int]) -> Tensor:
        positions = torch.cat([torch.arange(n, dtype=torch.float32) for n in n_tokens])
        half = self.shape.head_dim // 2
        rates = self.shape.rope_base ** (-torch.arange(half, dtype=torch.float32) / half)
        angles = positions[:, None] * rates
        return torch.polar(torch.ones_like(angles), angles)

    def read_base(self, path: Path) -> None:
        """Loads the base's weights, dequantised."""
        named = dict(self.named_buffers())
        for tensor in gguf.GGUFReader(path).tensors:
            data = torch.from_numpy(dequantize(tensor.data, tensor.tensor_type).copy())
            named[_torch_name(tensor.name)].copy_(data)

    @torch.no_grad()
    def read_adapter(self, path: Path) -> None:
        named = dict(self.named_parameters())
        for tensor in gguf.GGUFReader(path).tensors:
            data = torch.from_numpy(tensor.data.astype(np.float32))
            named[_torch_name(tensor.name)].copy_(data)

    def write_adapter(self, path: Path, metadata: dict[str, str | int]) -> None:
        """Writes llama.cpp's adapter format in f16, as llama.cpp's convert_lora_to_gguf.py does."""
        writer = gguf.GGUFWriter(path, "llama")
        writer.add_type("adapter")
        writer.add_string("adapter.lora.type", "lora")
        writer.add_string("adapter.type", "lora")
        writer.add_float32("adapter.lora.alpha", self.alpha)
        for key, value in metadata.items():
            add = writer.add_string if isinstance(value, str) else writer.add_uint32
            add(key, value)
        for name, parameter in self.named_parameters():
            _, layer, linear, factor = name.split(".")
            data = parameter.detach().numpy().astype(np.float16)
            writer.add_tensor(f"blk.{layer}.{linear}.weight.lora_{factor}", data)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()


def is_bf16_faster() -> bool:
    """Returns whether this processor multiplies bf16 in less than two thirds of f32's time."""
    best = {dtype: _product_s(dtype) for dtype in (torch.float32, torch.bfloat16)}
    return best[torch.bfloat16] * 1.5 < best[torch.float32]


def _product_s(dtype: torch.dtype) -> float:
    left, right = torch.randn(1024, 576).to(dtype), torch.randn(1536, 576).to(dtype)
    times = []
    for _ in range(5):
        start_s = time.monotonic()
        functional.linear(left, right)
        times.append(time.monotonic() - start_s)
    return min(times)


def _torch_name(name: str) -> str:
    """Maps blk.3.attn_q.weight.lora_a to blocks.3.attn_q.a, and blk.3.attn_norm.weight to
    blocks.3.attn_norm."""
    if name in ("token_embd.weight", "output_norm.weight"):
        return {"token_embd.weight": "embedding", "output_norm.weight": "output_norm"}[name]
    _, layer, rest = name.split(".", 2)
    rest = rest.replace(".weight.lora_", ".").replace("_norm.weight", "_norm")
    return f"blocks.{layer}.{rest}"
