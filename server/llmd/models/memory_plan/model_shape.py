"""What a model's header says of the memory it needs."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

_OF_LAYER = re.compile(r"blk\.(\d{1,4})\.")
_MAX_LAYERS = 512  # of llama.cpp
_F32 = 4
_INPUT = re.compile(r"(token_embd|per_layer_token_embd|position_embd|token_types)\b")


@dataclass(frozen=True, slots=True)
class Shape:
    """Counts are 0 and tuples empty where nothing is known. Of counts that differ between layers,
    the greatest. Sizes are those of the weights."""

    n_layers: int
    n_head_kv: int
    head_dim: int
    n_ctx_train: int
    value_dim: int = 0  # of a head; 0: as the keys
    n_head: int = 0
    n_embd: int = 0
    n_ff: int = 0  # of the experts at work, all together
    n_vocab: int = 0
    heads_kv: tuple[int, ...] = ()  # of each layer
    is_mla: bool = False  # what is cached as K holds V too
    layer_bytes: tuple[int, ...] = ()
    input_bytes: int = 0  # embeddings: always in the machine's memory
    output_bytes: int = 0  # 0: the embeddings serve, copied to a GPU
    largest_bytes: int = 0  # of one tensor in a layer
    n_experts: int = 0  # of which few work on one token
    state_bytes: int = 0  # of a layer that is recurrent, whatever the context
    adapter_bytes: int = 0  # LoRAs upon the model, which are read into memory

    @property
    def weight_bytes(self) -> int:
        return sum(self.layer_bytes) + self.input_bytes + self.output_bytes

    @property
    def n_units(self) -> int:
        """What `n_gpu_layers` counts: the layers and, as the last, the output."""
        return self.n_layers + 1


def shape_of(
    number: Callable[[str], int], counts: Callable[[str], tuple[int, ...]], n_vocab: int,
    sizes: Mapping[str, int],
) -> Shape:  # fmt: skip
    """`number` and `counts` look up a field of the architecture, `sizes` are the tensors'."""
    heads, n_embd = max(counts("attention.head_count"), default=0), number("embedding_length")
    heads_kv = counts("attention.head_count_kv") or counts("attention.head_count")
    head_dim = number("attention.key_length") or n_embd // max(heads, 1)
    n_used = max(counts("expert_used_count"), default=0)
    n_ff = max(counts("feed_forward_length"), default=0)
    n_layers = number("block_count")
    layers, inputs, outputs, largest = _weights(n_layers, sizes)
    return Shape(
        n_layers=n_layers,
        n_head_kv=max(heads_kv, default=0),
        head_dim=head_dim,
        n_ctx_train=number("context_length"),
        value_dim=number("attention.value_length"),
        n_head=heads,
        n_embd=n_embd,
        n_ff=max(n_ff, n_used * number("expert_feed_forward_length")),
        n_vocab=n_vocab,
        heads_kv=heads_kv if len(heads_kv) == n_layers else (),
        is_mla=number("attention.key_length_mla") > 0,
        layer_bytes=layers,
        input_bytes=inputs,
        output_bytes=outputs,
        largest_bytes=largest,
        n_experts=number("expert_count"),
        state_bytes=_state_bytes(number, n_embd),
    )


def _state_bytes(number: Callable[[str], int], n_embd: int) -> int:
    """Of Mamba's kinds and RWKV's, by llama-hparams.cpp; a hybrid's is counted for all its layers.
    What LFM2, Kimi and MiniMax keep is not counted."""
    if wkv := number("wkv.head_size"):
        return _F32 * n_embd * (wkv + (number("token_shift_count") or 2))
    inner, state = number("ssm.inner_size"), number("ssm.state_size")
    convolved = inner + 2 * number("ssm.group_count") * state
    return _F32 * (max(number("ssm.conv_kernel") - 1, 0) * convolved + inner * state)


def _weights(n_layers: int, sizes: Mapping[str, int]) -> tuple[tuple[int, ...], int, int, int]:
    """Bytes of each layer, of what stands before them and after, and of a layer's largest
    tensor."""
    layers, inputs, outputs, largest = [0] * min(n_layers, _MAX_LAYERS), 0, 0, 0
    for name, size in sizes.items():
        of_layer = _OF_LAYER.match(name)
        if of_layer and int(of_layer[1]) < len(layers):
            layers[int(of_layer[1])] += size
            largest = max(largest, size)
        elif _INPUT.match(name):
            inputs += size
        else:
            outputs += size
    # The norm before the output is a tensor of its own even where the embeddings are the output.
    if not any(name.startswith("output.") for name in sizes):
        inputs, outputs = inputs + outputs, 0
    return tuple(layers) if any(layers) else (), inputs, outputs, largest
