"""Writes a tiny recurrent model of random weights, whose memory is one state that cannot be cut."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from gguf import GGUFWriter, TokenType

N_EMBD, N_STATE, N_CONV, DT_RANK = 32, 8, 4, 4
N_INNER = 2 * N_EMBD
N_VOCAB = 258


def write_mamba(path: Path) -> Path:
    writer = GGUFWriter(path, "mamba")
    writer.add_name("toy-mamba")
    writer.add_context_length(512)
    writer.add_embedding_length(N_EMBD)
    writer.add_feed_forward_length(0)
    writer.add_head_count(0)
    writer.add_block_count(1)
    writer.add_ssm_conv_kernel(N_CONV)
    writer.add_ssm_inner_size(N_INNER)
    writer.add_ssm_state_size(N_STATE)
    writer.add_ssm_time_step_rank(DT_RANK)
    writer.add_layer_norm_rms_eps(1e-5)
    _add_vocabulary(writer)
    _add_tensors(writer)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add_vocabulary(writer: GGUFWriter) -> None:
    """Adds a token for each byte, in GPT-2's characters for bytes, and an end token."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    letters = [chr(byte) for byte in printable] + [chr(256 + i) for i in range(len(others))]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("default")
    writer.add_token_list([*letters, "!!", "<end>"])
    writer.add_token_types([*[TokenType.NORMAL] * 257, TokenType.CONTROL])
    writer.add_token_merges(["! !"])
    writer.add_bos_token_id(257)
    writer.add_eos_token_id(257)
    writer.add_add_bos_token(False)


def _add_tensors(writer: GGUFWriter) -> None:
    random = np.random.default_rng(3407)
    shapes = {
        "token_embd.weight": (N_VOCAB, N_EMBD),
        "blk.0.ssm_in.weight": (2 * N_INNER, N_EMBD),
        "blk.0.ssm_conv1d.weight": (N_INNER, N_CONV),
        "blk.0.ssm_conv1d.bias": (N_INNER,),
        "blk.0.ssm_x.weight": (DT_RANK + 2 * N_STATE, N_INNER),
        "blk.0.ssm_dt.weight": (N_INNER, DT_RANK),
        "blk.0.ssm_dt.bias": (N_INNER,),
        "blk.0.ssm_out.weight": (N_EMBD, N_INNER),
    }
    for name, shape in shapes.items():
        writer.add_tensor(name, random.normal(0, 0.5, shape).astype(np.float32))
    for name in ("output_norm.weight", "blk.0.attn_norm.weight"):
        writer.add_tensor(name, np.ones(N_EMBD, np.float32))
    writer.add_tensor("blk.0.ssm_a", -np.ones((N_INNER, N_STATE), np.float32))
    writer.add_tensor("blk.0.ssm_d", np.ones(N_INNER, np.float32))
