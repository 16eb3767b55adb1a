"""Describes the parts of a model that determine its memory use."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

_LAYER_TENSOR = re.compile(r"blk\.(\d{1,4})\.")
_MAX_LAYERS = 512  # llama-hparams.h
_F32_BYTES = 4
_INPUT_TENSOR = re.compile(r"(token_embd|per_layer_token_embd|position_embd|token_types)\b")


@dataclass(frozen=True, slots=True)
class Shape:
    """Holds counts and weight sizes. Unknown counts are 0 and unknown tuples are empty. Where a
    count differs between layers, the maximum is kept."""

    n_layers: int
    n_head_kv: int
    head_dim: int
    n_ctx_train: int
    value_dim: int = 0  # of a head; 0: same as head_dim
    n_head: int = 0
    n_embd: int = 0
    n_ff: int = 0  # sum over the experts that work on one token
    n_vocab: int = 0
    heads_kv_by_layer: tuple[int, ...] = ()
    is_mla: bool = False  # the K cache holds V too
    layer_bytes: tuple[int, ...] = ()
    input_bytes: int = 0  # embeddings, which are always in the machine's memory
    output_bytes: int = 0  # 0: the embeddings are the output, and are copied to a GPU
    largest_bytes: int = 0  # the largest tensor in a layer
    n_experts: int = 0  # few of them work on one token
    unit_spans: tuple[tuple[int, int], ...] = ()  # of each layer and the output in the file, bytes
    state_bytes: int = 0  # per layer, of a recurrent model; independent of the context
    adapter_bytes: int = 0  # LoRAs, which are read into memory

    @property
    def weight_bytes(self) -> int:
        return sum(self.layer_bytes) + self.input_bytes + self.output_bytes

    @property
    def n_offload_units(self) -> int:
        """Returns the number of units that `n_gpu_layers` counts: the layers, and the output as the
        last unit."""
        return self.n_layers + 1


def shape_from_fields(
    read_counts: Callable[[str], tuple[int, ...]], n_vocab: int, bytes_by_tensor: Mapping[str, int]
) -> Shape:
    """Builds a shape from the architecture's own fields and the tensors' sizes in bytes.
    `read_counts` returns a field's number, or one per layer; nothing if the field is missing."""

    def read_number(key: str) -> int:
        return max(read_counts(key), default=0)

    n_head = read_number("attention.head_count")
    n_embd = read_number("embedding_length")
    heads_kv = read_counts("attention.head_count_kv") or read_counts("attention.head_count")
    head_dim = read_number("attention.key_length") or n_embd // max(n_head, 1)
    n_ff_experts = read_number("expert_used_count") * read_number("expert_feed_forward_length")
    n_layers = read_number("block_count")
    layer_bytes, input_bytes, output_bytes, largest_bytes = _sum_weights(n_layers, bytes_by_tensor)
    return Shape(
        n_layers=n_layers,
        n_head_kv=max(heads_kv, default=0),
        head_dim=head_dim,
        n_ctx_train=read_number("context_length"),
        value_dim=read_number("attention.value_length"),
        n_head=n_head,
        n_embd=n_embd,
        n_ff=max(read_number("feed_forward_length"), n_ff_experts),
        n_vocab=n_vocab,
        heads_kv_by_layer=heads_kv if len(heads_kv) == n_layers else (),
        is_mla=read_number("attention.key_length_mla") > 0,
        layer_bytes=layer_bytes,
        unit_spans=_unit_spans(len(layer_bytes), bytes_by_tensor),
        input_bytes=input_bytes,
        output_bytes=output_bytes,
        largest_bytes=largest_bytes,
        n_experts=read_number("expert_count"),
        state_bytes=_state_bytes(read_number, n_embd),
    )


def _state_bytes(read_number: Callable[[str], int], n_embd: int) -> int:
    """Returns the state per layer of Mamba and RWKV models, as llama-hparams.cpp computes it. In a
    hybrid model each layer is counted as recurrent. The states of LFM2, Kimi and MiniMax are not
    counted."""
    if wkv := read_number("wkv.head_size"):
        return _F32_BYTES * n_embd * (wkv + (read_number("token_shift_count") or 2))
    inner, state = read_number("ssm.inner_size"), read_number("ssm.state_size")
    convolved = inner + 2 * read_number("ssm.group_count") * state
    return _F32_BYTES * (max(read_number("ssm.conv_kernel") - 1, 0) * convolved + inner * state)


def _sum_weights(
    n_layers: int, bytes_by_tensor: Mapping[str, int]
) -> tuple[tuple[int, ...], int, int, int]:
    """Returns the bytes of each layer, of the input, of the output and of the largest tensor in a
    layer."""
    layers, inputs, outputs, largest = [0] * min(n_layers, _MAX_LAYERS), 0, 0, 0
    for name, size in bytes_by_tensor.items():
        match = _LAYER_TENSOR.match(name)
        if match and int(match[1]) < len(layers):
            layers[int(match[1])] += size
            largest = max(largest, size)
        elif _INPUT_TENSOR.match(name):
            inputs += size
        else:
            outputs += size
    # Without an output tensor the embeddings are the output, although the output norm is separate.
    if _ties_output(bytes_by_tensor):
        inputs, outputs = inputs + outputs, 0
    return tuple(layers) if any(layers) else (), inputs, outputs, largest


def _ties_output(bytes_by_tensor: Mapping[str, int]) -> bool:
    return not any(name.startswith("output.") for name in bytes_by_tensor)


def _unit_spans(n_layers: int, bytes_by_tensor: Mapping[str, int]) -> tuple[tuple[int, int], ...]:
    """Returns where each layer and, last, the output begins and ends among the tensors, which are
    in the file's order. The padding between tensors is not counted."""
    starts, ends, position = [1 << 62] * (n_layers + 1), [0] * (n_layers + 1), 0
    is_tied = _ties_output(bytes_by_tensor)
    for name, size in bytes_by_tensor.items():
        match = _LAYER_TENSOR.match(name)
        is_output = is_tied or not _INPUT_TENSOR.match(name)
        unit = int(match[1]) if match else n_layers
        if unit < n_layers or (match is None and is_output):
            starts[unit] = min(starts[unit], position)
            ends[unit] = max(ends[unit], position + size)
        position += size
    return tuple(zip(starts, ends, strict=True)) if n_layers and all(ends) else ()
