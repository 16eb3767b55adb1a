"""Checks which GGUF files pass validation, and the exact message for each file that fails."""

from __future__ import annotations

import errno
import os
import re
import socket
from dataclasses import replace
from pathlib import Path
from struct import pack
from typing import NoReturn

import gguf
import pytest
from tests.support import toy_gguf
from tests.support.gguf_bytes import (
    ARRAY,
    BOOL,
    F32,
    F64,
    I32,
    STRING,
    TOKENS,
    U8,
    U16,
    U32,
    U64,
    Gguf,
    Raw,
    Tensor,
    array,
    number,
    placed,
    string,
    text,
    tiny,
)

from llmd.errors import ModelError
from llmd.models.gguf import byte_reader, parse, validate
from llmd.models.gguf.validate import check_model, read_header
from llmd.models.pull import build_builtin
from llmd.prompt import families

ONE = tuple(placed({"a": (4,)})[0])
TWO = tuple(placed({"a": (4,), "b": (4,)})[0])
MAX_I64 = (1 << 63) - 1


def f32(name: str, *dims: int, offset: int = 0) -> Tensor:
    return Tensor(name, dims, offset)


def write(folder: Path, content: bytes, name: str = "m.gguf") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def rejection(path: Path, needs_tensors: bool = True) -> str:
    """Returns the error message after the file's name."""
    with pytest.raises(ModelError) as caught:
        check_model(path, needs_tensors)
    message = str(caught.value)
    assert "\n" not in message
    before = f"Model file `{path}` "
    assert message.startswith(before)
    return message.removeprefix(before)


# The cases of llama.cpp's test-gguf.cpp under their own names: a file that llama.cpp refuses is
# refused here too (row 22).
UPSTREAM = {
    "HEADER_BAD_MAGIC": Gguf(magic=b"FUGG"),
    "HEADER_BAD_VERSION_0": Gguf(version=0),
    "HEADER_BAD_VERSION_1": Gguf(version=1),
    "HEADER_BAD_VERSION_FUTURE": Gguf(version=4),
    "HEADER_BAD_N_TENSORS": Gguf(n_tensors=(1 << 64) - 1),
    "HEADER_BAD_N_KV": Gguf(n_kv=(1 << 64) - 1),
    "KV_BAD_KEY_SIZE": Gguf(n_kv=1, data=text("k", (1 << 64) - 1) + bytes(8)),
    "KV_EMPTY_KEY": Gguf([("", number(U32, 1))]),
    "KV_BAD_TYPE": Gguf([("k", Raw(13, b"\0"))]),
    "KV_BAD_ARRAY_TYPE": Gguf([("k", Raw(ARRAY, pack("<IQ", 13, 1) + b"\0"))]),
    "KV_BAD_VALUE_SIZE": Gguf([("k", string("v", (1 << 64) - 1))]),
    "KV_DUPLICATE_KEY": Gguf([("k", number(U8, 1)), ("k", number(U8, 1))]),
    "KV_BAD_ALIGN": Gguf([("general.alignment", number(U32, 13))]),
    "KV_WRONG_TYPE_ALIGN": Gguf([("general.alignment", number(I32, 32))]),
    "TENSORS_BAD_NAME_SIZE": Gguf(tensors=[f32("n" * 64, 4)], data=bytes(32)),
    "TENSORS_BAD_N_DIMS": Gguf(tensors=[Tensor("a", (4,), 0, n_dims=5)], data=bytes(99)),
    "TENSORS_BAD_SHAPE": Gguf(tensors=[f32("a", -1)], data=bytes(32)),
    # Upstream accepts an empty tensor; no model has one, and no graph expects one.
    "TENSORS_ZERO_DIM": Gguf(tensors=[f32("a", 4, 0)], data=bytes(32)),
    "TENSORS_NE_TOO_BIG": Gguf(tensors=[f32("a", 1 << 33, 1 << 33)], data=bytes(32)),
    "TENSORS_NBYTES_TOO_BIG": Gguf(tensors=[Tensor("a", (1 << 31, 1 << 30), 0, kind=27)]),
    "TENSORS_NBYTES_PAD_WRAP": Gguf(tensors=[f32("a", 4, (1 << 30) - 1, (1 << 30) + 1)]),
    "TENSORS_BAD_TYPE": Gguf(tensors=[Tensor("a", (4,), 0, kind=43)], data=bytes(32)),
    "TENSORS_BAD_OFFSET": Gguf(tensors=[f32("a", 4, offset=(1 << 64) - 1)], data=bytes(32)),
    "TENSORS_DUPLICATE_NAME": Gguf(tensors=[f32("a", 4), f32("a", 4, offset=32)]),
    "TENSORS_BAD_ALIGN": Gguf([("general.alignment", number(U32, 13))], TWO, bytes(64)),
    "TENSORS_INCONSISTENT_ALIGN": Gguf(tensors=[f32("a", 1), f32("b", 1, offset=4)]),
    "DATA_NOT_ENOUGH_DATA": Gguf(tensors=TWO, data=bytes(32 + 15)),
    "DATA_BAD_ALIGN": Gguf([("general.alignment", number(U32, 0))], TWO, bytes(64)),
    "DATA_INCONSISTENT_ALIGN": Gguf(
        [("general.alignment", number(U32, 64))], TWO, bytes(64), alignment=64
    ),
    "DATA_MEM_SIZE_OVERFLOW": Gguf(
        tensors=[
            Tensor("a", (MAX_I64 - 63,), 0, kind=24),
            Tensor("b", (MAX_I64 - 63,), MAX_I64 - 63 + 0, kind=24),
        ],
        data=bytes(32),
    ),
    # Upstream accepts these too; ggml's CPU buffers abort at such an alignment.
    "TENSORS_CUSTOM_ALIGN": Gguf([("general.alignment", number(U32, 1))], ONE, bytes(16)),
    "DATA_CUSTOM_ALIGN": Gguf([("general.alignment", number(U32, 16))], ONE, bytes(16)),
}

NOT_GGUF = {
    "empty": b"",
    "two_bytes": b"GG",
    "web_page": b"<!DOCTYPE html><html>",
    "web_page_after_blanks": b"\r\n  <html>",
    "git_lfs": b"version https://git-lfs.github.com/spec/v1\noid sha256:0",
    "json_error": b'{"error":"gated"}',
    "zip": b"PK\x03\x04" + bytes(60),
    "pickle": b"\x80\x02}q\x00",
    "safetensors": pack("<Q", 300) + b'{"__metadata__":{}}',
    "old_ggml": b"tjgg" + bytes(60),
    "text": b"hello\n",
    "big_endian": b"GGUF" + pack(">IQQ", 3, 0, 0),
    "version_only": b"GGUF" + pack("<I", 3),
}

DEEP = Raw(ARRAY, pack("<IQ", ARRAY, 1) + pack("<IQ", U8, 0))
BROKEN = {
    "more_fields_than_bytes": Gguf(n_kv=9, data=bytes(99)),
    "more_tensors_than_bytes": Gguf(n_tensors=3, data=bytes(80)),
    "long_array": Gguf([("k", array(U64, [1], 9))]),
    "long_string_array": Gguf([("k", array(STRING, ["a"], 9))]),
    "string_array_cut_in_a_length": Gguf(
        [("k", Raw(ARRAY, pack("<IQ", STRING, 2) + text("12345678") + bytes(3)))]
    ),
    "absurd_array": Gguf([("k", array(U8, [1], 1 << 40))]),
    "absurd_string_in_an_array": Gguf([("k", Raw(ARRAY, pack("<IQQ", STRING, 1, 1 << 62)))]),
    "nested_array": Gguf([("k", DEEP)]),
    "key_not_utf8": Gguf([(b"k\xff", number(U8, 1))]),
    "key_with_nul": Gguf([("tokenizer.ggml.tokens\0", number(U8, 1))]),
    "tensor_not_utf8": Gguf(tensors=[Tensor(b"\xff", (4,), 0)], data=bytes(32)),
    "no_dimensions": Gguf(tensors=[Tensor("a", (4,), 0, n_dims=0)], data=bytes(32)),
    "half_a_block": Gguf(tensors=[Tensor("a", (33,), 0, kind=8)], data=bytes(99)),
    "removed_type": Gguf(tensors=[Tensor("a", (32,), 0, kind=4)], data=bytes(99)),
    "overlap": Gguf(tensors=[f32("a", 16), f32("b", 4, offset=32)], data=bytes(99)),
    "gap": Gguf(tensors=[f32("a", 4), f32("b", 4, offset=64)], data=bytes(99)),
    "starts_late": Gguf(tensors=[f32("a", 4, offset=32)], data=bytes(99)),
    "bleeding_llama (row 24)": Gguf(tensors=[f32("a", 1 << 20)], data=bytes(32)),
    "alignment_absurd": Gguf([("general.alignment", number(U32, 1 << 31))]),
    "control_characters": Gguf([("a\x1b[31m\nb", Raw(99, b"\0"))]),
}

# Changes to the fields of a tiny model.
UNSUITABLE: dict[str, dict[str, Raw | None]] = {
    "no_architecture": {"general.architecture": None},
    "architecture_mistyped": {"general.architecture": number(U32, 1)},
    "architecture_too_long": {"general.architecture": string("a" * 5000)},
    "name_mistyped": {"general.name": number(U32, 1)},
    "adapter": {"general.type": string("adapter")},
    "mmproj": {"general.type": string("mmproj")},
    "vision": {"general.architecture": string("clip")},
    "bert": {"general.architecture": string("bert")},
    "nomic_bert": {"general.architecture": string("nomic-bert")},
    "jina_bert": {"general.architecture": string("jina-bert-v2")},
    "t5_encoder": {"general.architecture": string("t5encoder")},
    "whisper": {"general.architecture": string("whisper")},
    "gemma_embedding": {"general.architecture": string("gemma-embedding")},
    "image": {"general.architecture": string("flux")},
    "diffusion": {"general.architecture": string("dream")},
    "pools": {"llama.pooling_type": number(U32, 3)},
    "looks_ahead": {"llama.attention.causal": number(BOOL, 0)},
    "no_tokenizer": {"tokenizer.ggml.model": None},
    "no_tokens": {"tokenizer.ggml.tokens": None},
    "empty_vocabulary": {
        "tokenizer.ggml.tokens": array(STRING, []),
        "tokenizer.ggml.token_type": None,
    },
    "tokens_mistyped": {"tokenizer.ggml.tokens": array(I32, range(32))},
    "unknown_tokenizer": {"tokenizer.ggml.model": string("none")},
    "tokenizer_that_aborts": {"tokenizer.ggml.pre": string("whitespace")},
    "same_tokens": {"tokenizer.ggml.tokens": array(STRING, [*TOKENS[:-1], "a"])},
    "same_as_an_empty_token": {
        "tokenizer.ggml.tokens": array(STRING, ["", *TOKENS[1:-1], "[EMPTY_0]"])
    },
    # llama.cpp reads texts as C strings, up to the first NUL.
    "same_up_to_a_nul": {"tokenizer.ggml.tokens": array(STRING, [*TOKENS[:-1], "a\0b"])},
    "aborts_up_to_a_nul": {"tokenizer.ggml.pre": string("whitespace\0")},
    "clip_up_to_a_nul": {"general.architecture": string("clip\0")},
    "no_byte_tokens": {"tokenizer.ggml.model": string("llama")},
    "few_types": {"tokenizer.ggml.token_type": array(I32, [1] * 31)},
    "types_mistyped": {"tokenizer.ggml.token_type": array(F32, [1.0] * 32)},
    "many_scores": {"tokenizer.ggml.scores": array(F32, [0.0] * 33)},
    "scores_mistyped": {"tokenizer.ggml.scores": array(F64, [0.0] * 32)},
    "merges_mistyped": {"tokenizer.ggml.merges": array(I32, [1])},
    "bos_outside": {"tokenizer.ggml.bos_token_id": number(U32, 32)},
    "bos_mistyped": {"tokenizer.ggml.bos_token_id": number(I32, 1)},
    "fim_outside": {"tokenizer.ggml.fim_pre_token_id": number(U32, 1 << 31)},
    "fim_mistyped": {"tokenizer.ggml.fim_pre_token_id": string("<P>")},
    "split_mistyped": {"split.count": number(U32, 2)},
    "no_layers": {"llama.block_count": number(U32, 0)},
    "layers_missing": {"llama.block_count": None},
    "layers_mistyped": {"llama.block_count": string("1")},
    "a_billion_layers": {"llama.block_count": number(U32, 10**9)},
    "no_context": {"llama.context_length": number(U32, 0)},
    "no_embedding": {"llama.embedding_length": number(U32, 0)},
    "no_heads": {"llama.attention.head_count": number(U32, 0)},
    "heads_missing": {"llama.attention.head_count": None},
    "heads_mistyped": {"llama.attention.head_count": array(F32, [2.0])},
    "heads_of_other_layers": {"llama.attention.head_count": array(I32, [2, 2, 2])},
    "negative_heads": {"llama.attention.head_count_kv": array(I32, [-1])},
    "no_key": {"llama.attention.key_length": number(U32, 0)},
    "heads_that_do_not_share": {
        "llama.attention.head_count": number(U32, 4),
        "llama.attention.head_count_kv": array(I32, [3]),
    },
    "heads_of_one_layer_that_do_not_share": {
        "llama.block_count": number(U32, 2),
        "llama.attention.head_count": array(I32, [4, 3]),
        "llama.attention.head_count_kv": number(U32, 2),
    },
    "values_of_another_length": {"llama.attention.value_length": number(U32, 8)},
    "half_rotated": {"llama.rope.dimension_count": number(U32, 8)},
    "line_break": {"general.architecture": string("ll\nama")},
    "predicts_more_layers": {"llama.nextn_predict_layers": number(U32, 2)},
    "experts_absurd": {"llama.expert_count": number(U32, 1 << 20)},
    "experts_unused": {"llama.expert_count": number(U32, 8)},
    "experts_too_many_used": {"llama.expert_used_count": number(U32, 2)},
    "expert_groups": {
        "llama.expert_count": number(U32, 8),
        "llama.expert_used_count": number(U32, 2),
        "llama.expert_group_count": number(U32, 3),
    },
    "expert_groups_absurd": {"llama.expert_group_count": number(U32, 1 << 20)},
    "expert_groups_of_none": {"llama.expert_group_count": number(U32, 1)},
    "rope_scaling": {"llama.rope.scaling.type": string("magic")},
    "embeds_fewer": {
        "tokenizer.ggml.tokens": array(STRING, [*TOKENS, "zz"]),
        "tokenizer.ggml.token_type": None,
    },
}

MESSAGES = {
    "HEADER_BAD_MAGIC": (
        "is not GGUF: it starts with 0x46554747, expected 0x47475546; choose another model"
    ),
    "HEADER_BAD_VERSION_0": "is GGUF version 0, expected 2 or 3; choose another model",
    "HEADER_BAD_VERSION_1": "is GGUF version 1, expected 2 or 3; choose another model",
    "HEADER_BAD_VERSION_FUTURE": "is GGUF version 4, expected 2 or 3; choose another model",
    "HEADER_BAD_N_TENSORS": (
        "is damaged before byte 16: the tensor count is 18446744073709551615, expected at most "
        "0 in a file of this size; download it again"
    ),
    "HEADER_BAD_N_KV": (
        "is damaged before byte 24: the field count is 18446744073709551615, expected at most "
        "0 in a file of this size; download it again"
    ),
    "KV_BAD_KEY_SIZE": (
        "is damaged before byte 32: field 1 of 1 has a name of 18446744073709551615 bytes, "
        "expected 1 to 65535; download it again"
    ),
    "KV_EMPTY_KEY": (
        "is damaged before byte 32: field 1 of 1 has a name of 0 bytes, expected 1 to 65535; "
        "download it again"
    ),
    "KV_BAD_TYPE": (
        "is damaged before byte 37: field `k` has value type 13, which GGUF does not define; "
        "download it again"
    ),
    "KV_BAD_ARRAY_TYPE": (
        "is damaged before byte 49: field `k` has value type 13, which GGUF does not define; "
        "download it again"
    ),
    "KV_BAD_VALUE_SIZE": (
        "is truncated at byte 45: field `k` needs 18446744073709551615 bytes, got 1; download "
        "it again"
    ),
    "KV_DUPLICATE_KEY": "is damaged before byte 47: field `k` appears twice; download it again",
    "KV_BAD_ALIGN": (
        "has a `general.alignment` of 13, expected a power of 2 from 32 to 65536; download it again"
    ),
    "KV_WRONG_TYPE_ALIGN": (
        "has a `general.alignment` of type INT32, expected UINT32; choose another model"
    ),
    "TENSORS_BAD_NAME_SIZE": (
        "is damaged before byte 32: tensor 1 of 1 has a name of 64 bytes, expected 1 to 63; "
        "download it again"
    ),
    "TENSORS_BAD_N_DIMS": (
        "is damaged before byte 37: tensor `a` has 5 dimensions, expected 1 to 4; download it again"
    ),
    "TENSORS_BAD_SHAPE": (
        "is damaged before byte 45: tensor `a` has the shape -1, expected 1 to "
        "9223372036854775807 elements; download it again"
    ),
    "TENSORS_ZERO_DIM": (
        "is damaged before byte 53: tensor `a` has the shape 4 x 0, expected 1 to "
        "9223372036854775807 elements; download it again"
    ),
    "TENSORS_NE_TOO_BIG": (
        "is damaged before byte 53: tensor `a` has the shape 8589934592 x 8589934592, expected "
        "1 to 9223372036854775807 elements; download it again"
    ),
    "TENSORS_NBYTES_TOO_BIG": (
        "has 96 bytes, expected 18446744073709551712 for its tensors; download it again"
    ),
    "TENSORS_NBYTES_PAD_WRAP": (
        "has 96 bytes, expected 18446744073709551696 for its tensors; download it again"
    ),
    "TENSORS_BAD_TYPE": (
        "has tensor `a` of type 43, which this llama.cpp does not support; choose another model"
    ),
    "TENSORS_BAD_OFFSET": (
        "is damaged before byte 57: tensor `a` is at offset 18446744073709551615, expected a "
        "multiple of 32; download it again"
    ),
    "TENSORS_DUPLICATE_NAME": (
        "is damaged before byte 66: tensor `a` appears twice; download it again"
    ),
    "TENSORS_BAD_ALIGN": (
        "has a `general.alignment` of 13, expected a power of 2 from 32 to 65536; download it again"
    ),
    "TENSORS_INCONSISTENT_ALIGN": (
        "is damaged before byte 90: tensor `b` is at offset 4, expected a multiple of 32; "
        "download it again"
    ),
    "DATA_NOT_ENOUGH_DATA": "has 143 bytes, expected 144 for its tensors; download it again",
    "DATA_BAD_ALIGN": (
        "has a `general.alignment` of 0, expected a power of 2 from 32 to 65536; download it again"
    ),
    "DATA_INCONSISTENT_ALIGN": (
        "is damaged before byte 123: tensor `b` is at offset 32, expected a multiple of 64; "
        "download it again"
    ),
    "DATA_MEM_SIZE_OVERFLOW": (
        "has 128 bytes, expected 18446744073709551584 for its tensors; download it again"
    ),
    "TENSORS_CUSTOM_ALIGN": (
        "has a `general.alignment` of 1, expected a power of 2 from 32 to 65536; download it again"
    ),
    "DATA_CUSTOM_ALIGN": (
        "has a `general.alignment` of 16, expected a power of 2 from 32 to 65536; download it again"
    ),
    "empty": "is empty; download it again",
    "two_bytes": (
        "is truncated at byte 0: the magic and version needs 4 bytes, got 2; download it again"
    ),
    "web_page": "is a web page, expected GGUF; download the file itself, not its page",
    "web_page_after_blanks": "is a web page, expected GGUF; download the file itself, not its page",
    "git_lfs": "is a Git LFS pointer, expected GGUF; run `git lfs pull` in its repository",
    "json_error": "is JSON, perhaps a server's error message, expected GGUF; download it again",
    "zip": "is a PyTorch or zip archive, expected GGUF; convert it to GGUF",
    "pickle": "is a PyTorch or zip archive, expected GGUF; convert it to GGUF",
    "safetensors": "is a safetensors file, expected GGUF; convert it to GGUF",
    "old_ggml": "is in the old GGML format, expected GGUF; download a GGUF of this model",
    "text": "is not GGUF: it starts with 0x68656c6c, expected 0x47475546; choose another model",
    "big_endian": "is big-endian, expected little-endian; choose another model",
    "version_only": (
        "is truncated at byte 8: the tensor count needs 8 bytes, got 0; download it again"
    ),
    "more_fields_than_bytes": (
        "is damaged before byte 24: the field count is 9, expected at most 7 in a file of this "
        "size; download it again"
    ),
    "more_tensors_than_bytes": (
        "is damaged before byte 16: the tensor count is 3, expected at most 2 in a file of "
        "this size; download it again"
    ),
    "long_array": "is truncated at byte 49: field `k` needs 72 bytes, got 8; download it again",
    "long_string_array": (
        "is truncated at byte 49: field `k` needs 72 bytes, got 9; download it again"
    ),
    "string_array_cut_in_a_length": (
        "is truncated at byte 65: field `k` needs 8 bytes, got 3; download it again"
    ),
    "absurd_array": (
        "is damaged before byte 49: field `k` has 1099511627776 items, expected at most "
        "4194304; download it again"
    ),
    "absurd_string_in_an_array": (
        "is truncated at byte 57: field `k` needs 4611686018427387904 bytes, got 0; download "
        "it again"
    ),
    "nested_array": (
        "is damaged before byte 49: field `k` is an array of arrays, which llama.cpp does not "
        "support; download it again"
    ),
    "key_not_utf8": (
        "is damaged before byte 34: field 1 of 1 has a name that is not UTF-8; download it again"
    ),
    "key_with_nul": (
        "is damaged before byte 54: field 1 of 1 has a NUL in its name; download it again"
    ),
    "tensor_not_utf8": (
        "is damaged before byte 33: tensor 1 of 1 has a name that is not UTF-8; download it again"
    ),
    "no_dimensions": (
        "is damaged before byte 37: tensor `a` has 0 dimensions, expected 1 to 4; download it again"
    ),
    "half_a_block": (
        "is damaged before byte 49: tensor `a` has rows of 33 values, expected a multiple of "
        "32; download it again"
    ),
    "removed_type": (
        "has tensor `a` of type 4, which this llama.cpp does not support; choose another model"
    ),
    "overlap": (
        "is damaged before byte 90: tensor `b` is at offset 32, expected 64: it overlaps the "
        "previous tensor; download it again"
    ),
    "gap": (
        "is damaged before byte 90: tensor `b` is at offset 64, expected 32: it leaves a gap; "
        "download it again"
    ),
    "starts_late": (
        "is damaged before byte 57: tensor `a` is at offset 32, expected 0: it leaves a gap; "
        "download it again"
    ),
    "bleeding_llama (row 24)": "has 96 bytes, expected 4194368 for its tensors; download it again",
    "alignment_absurd": (
        "has a `general.alignment` of 2147483648, expected a power of 2 from 32 to 65536; "
        "download it again"
    ),
    "control_characters": (
        "is damaged before byte 44: field `a?[31m?b` has value type 99, which GGUF does not "
        "define; download it again"
    ),
    "no_architecture": "has no `general.architecture`; choose another model",
    "architecture_mistyped": (
        "has a `general.architecture` of type UINT32, expected STRING; choose another model"
    ),
    "architecture_too_long": (
        "has a `general.architecture` of more than 4096 bytes; choose another model"
    ),
    "name_mistyped": "has a `general.name` of type UINT32, expected STRING; choose another model",
    "adapter": (
        "is not a language model that completes text: its type is `adapter`; choose another model"
    ),
    "mmproj": (
        "is not a language model that completes text: its type is `mmproj`; choose another model"
    ),
    "vision": (
        "is not a language model that completes text: its architecture is `clip`; choose "
        "another model"
    ),
    "bert": (
        "is not a language model that completes text: its architecture is `bert`; choose "
        "another model"
    ),
    "nomic_bert": (
        "is not a language model that completes text: its architecture is `nomic-bert`; choose "
        "another model"
    ),
    "jina_bert": (
        "is not a language model that completes text: its architecture is `jina-bert-v2`; "
        "choose another model"
    ),
    "t5_encoder": (
        "is not a language model that completes text: its architecture is `t5encoder`; choose "
        "another model"
    ),
    "whisper": (
        "is not a language model that completes text: its architecture is `whisper`; choose "
        "another model"
    ),
    "gemma_embedding": (
        "is not a language model that completes text: its architecture is `gemma-embedding`; "
        "choose another model"
    ),
    "image": (
        "is not a language model that completes text: its architecture is `flux`; choose "
        "another model"
    ),
    "diffusion": (
        "is not a language model that completes text: its architecture is `dream`; choose "
        "another model"
    ),
    "pools": (
        "is not a language model that completes text: it computes embeddings; choose another model"
    ),
    "looks_ahead": (
        "is not a language model that completes text: it computes embeddings; choose another model"
    ),
    "no_tokenizer": "has no tokenizer; choose another model",
    "no_tokens": "has no tokenizer; choose another model",
    "empty_vocabulary": "has a tokenizer without tokens; choose another model",
    "tokens_mistyped": (
        "has a `tokenizer.ggml.tokens` of type ARRAY of INT32, expected ARRAY of STRING; "
        "choose another model"
    ),
    "unknown_tokenizer": (
        "has the tokenizer `none`, expected `gpt2` or `llama` or `gemma4`; choose another model"
    ),
    "tokenizer_that_aborts": (
        "has the tokenizer `whitespace`, expected `gpt2` or `llama` or `gemma4`; choose "
        "another model"
    ),
    "same_tokens": "has 1 duplicate tokens, expected none; download it again",
    "same_as_an_empty_token": "has 1 duplicate tokens, expected none; download it again",
    "same_up_to_a_nul": "has 1 duplicate tokens, expected none; download it again",
    "aborts_up_to_a_nul": (
        "has the tokenizer `whitespace`, expected `gpt2` or `llama` or `gemma4`; choose "
        "another model"
    ),
    "clip_up_to_a_nul": (
        "is not a language model that completes text: its architecture is `clip`; choose "
        "another model"
    ),
    "no_byte_tokens": "has no token for the byte 0x00; choose another model",
    "few_types": (
        "has 31 `tokenizer.ggml.token_type` items, expected 32, one per token; download it again"
    ),
    "types_mistyped": (
        "has a `tokenizer.ggml.token_type` of type ARRAY of FLOAT32, expected ARRAY of INT32; "
        "choose another model"
    ),
    "many_scores": (
        "has 33 `tokenizer.ggml.scores` items, expected 32, one per token; download it again"
    ),
    "scores_mistyped": (
        "has a `tokenizer.ggml.scores` of type ARRAY of FLOAT64, expected ARRAY of FLOAT32 or "
        "ARRAY of INT32; choose another model"
    ),
    "merges_mistyped": (
        "has a `tokenizer.ggml.merges` of type ARRAY of INT32, expected ARRAY of STRING; "
        "choose another model"
    ),
    "bos_outside": (
        "has a `tokenizer.ggml.bos_token_id` of 32, expected 0 to 31; choose another model"
    ),
    "bos_mistyped": (
        "has a `tokenizer.ggml.bos_token_id` of type INT32, expected UINT32; choose another model"
    ),
    "fim_outside": (
        "has a `tokenizer.ggml.fim_pre_token_id` of 2147483648, expected 0 to 31; choose "
        "another model"
    ),
    "fim_mistyped": (
        "has a `tokenizer.ggml.fim_pre_token_id` of type STRING, expected UINT32; choose "
        "another model"
    ),
    "split_mistyped": "has a `split.count` of type UINT32, expected UINT16; choose another model",
    "no_layers": "has a `llama.block_count` of 0, expected 1 to 512; choose another model",
    "layers_missing": "has no `llama.block_count`; choose another model",
    "layers_mistyped": (
        "has a `llama.block_count` of type STRING, expected UINT32; choose another model"
    ),
    "a_billion_layers": (
        "has a `llama.block_count` of 1000000000, expected 1 to 512; choose another model"
    ),
    "no_context": (
        "has a `llama.context_length` of 0, expected 1 to 2147483647; choose another model"
    ),
    "no_embedding": (
        "has a `llama.embedding_length` of 0, expected 1 to 1048576; choose another model"
    ),
    "no_heads": (
        "has a `llama.attention.head_count` of 0, expected 1 to 65536; choose another model"
    ),
    "heads_missing": "has no `llama.attention.head_count`; choose another model",
    "heads_mistyped": (
        "has a `llama.attention.head_count` of type ARRAY of FLOAT32, expected UINT32; choose "
        "another model"
    ),
    "heads_of_other_layers": (
        "has 3 `llama.attention.head_count` items, expected 1; choose another model"
    ),
    "negative_heads": (
        "has a `llama.attention.head_count_kv` of -1, expected 0 to 65536; choose another model"
    ),
    "no_key": "has a `llama.attention.key_length` of 0, expected 1 to 65536; choose another model",
    "heads_that_do_not_share": (
        "has 3 key heads, expected a divisor of its 4 heads; choose another model"
    ),
    "heads_of_one_layer_that_do_not_share": (
        "has 2 key heads, expected a divisor of its 3 heads; choose another model"
    ),
    "values_of_another_length": (
        "has 16 key, 8 value and 16 rotated dimensions per head, expected equal numbers; "
        "choose another model"
    ),
    "half_rotated": (
        "has 16 key, 16 value and 8 rotated dimensions per head, expected equal numbers; "
        "choose another model"
    ),
    "line_break": "has no `ll?ama.context_length`; choose another model",
    "predicts_more_layers": (
        "has a `llama.nextn_predict_layers` of 2, expected 0 to 1; choose another model"
    ),
    "experts_absurd": (
        "has a `llama.expert_count` of 1048576, expected 0 to 1024; choose another model"
    ),
    "experts_unused": (
        "uses 0 of 8 experts, 0 of 0 groups, which is inconsistent; choose another model"
    ),
    "experts_too_many_used": (
        "uses 2 of 0 experts, 0 of 0 groups, which is inconsistent; choose another model"
    ),
    "expert_groups": (
        "uses 2 of 8 experts, 0 of 3 groups, which is inconsistent; choose another model"
    ),
    "expert_groups_absurd": (
        "uses 0 of 0 experts, 0 of 1048576 groups, which is inconsistent; choose another model"
    ),
    "expert_groups_of_none": (
        "uses 0 of 0 experts, 0 of 1 groups, which is inconsistent; choose another model"
    ),
    "rope_scaling": (
        "has the RoPE scaling `magic`, expected none, linear, yarn, longrope; choose another model"
    ),
    "embeds_fewer": "has 32 embeddings, expected 33; choose another model",
}
FILES = {
    **{name: gguf_file.encode() for name, gguf_file in (UPSTREAM | BROKEN).items()},
    **NOT_GGUF,
    **{name: tiny(changes).encode() for name, changes in UNSUITABLE.items()},
}


@pytest.mark.parametrize("name", FILES)
def test_an_invalid_file_is_refused_with_its_own_message(name: str, tmp_path: Path) -> None:
    """Rows 22 and 24."""
    assert rejection(write(tmp_path, FILES[name])) == MESSAGES[name]


@pytest.mark.parametrize("name", [*UPSTREAM, *NOT_GGUF, *BROKEN])
def test_a_malformed_file_is_refused_by_the_reader_alone(name: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError):
        read_header(write(tmp_path, FILES[name]))


@pytest.mark.parametrize(
    ("gguf_file", "n_kv", "n_tensors", "tensor_bytes"),
    [
        pytest.param(Gguf(), 0, 0, 0, id="HEADER_EMPTY"),
        pytest.param(Gguf(version=2), 0, 0, 0, id="version_2"),
        pytest.param(Gguf([("k", number(U8, 1)), ("l", string("v"))]), 2, 0, 0, id="KV_SUCCESS"),
        pytest.param(Gguf(tensors=TWO, data=bytes(48)), 0, 2, 64, id="DATA_SUCCESS"),
        pytest.param(
            Gguf(
                [("general.alignment", number(U32, 64))],
                placed({"a": (4,), "b": (4,)}, 64)[0],
                bytes(80),
                alignment=64,
            ),
            1, 2, 128,
            id="DATA_CUSTOM_ALIGN",
        ),
    ],
)  # fmt: skip
def test_a_valid_file_is_read(
    gguf_file: Gguf, n_kv: int, n_tensors: int, tensor_bytes: int, tmp_path: Path
) -> None:
    """Reads the files that llama.cpp's own test accepts (row 22)."""
    model = read_header(write(tmp_path, gguf_file.encode()))
    assert (model.n_kv, model.n_tensors, model.tensor_bytes) == (n_kv, n_tensors, tensor_bytes)
    assert (model.architecture, model.n_vocab, model.split_count) == ("", 0, 1)


def test_every_value_type_is_skipped_by_its_size(tmp_path: Path) -> None:
    kinds = [kind for kind in range(13) if kind not in (STRING, ARRAY)]
    fields = [(f"s{kind}", number(kind, 1)) for kind in kinds]
    fields += [(f"a{kind}", array(kind, [1] * 3)) for kind in kinds]
    fields += [(f"l{kind}", array(kind, [1] * 1000)) for kind in kinds]
    gguf_file = Gguf([*fields, ("general.name", string("the last"))])
    assert read_header(write(tmp_path, gguf_file.encode())).name == "the last"


def test_a_header_holds_what_the_memory_plan_needs(tmp_path: Path) -> None:
    model = check_model(write(tmp_path, tiny({"general.file_type": number(U32, 7)}).encode()))
    assert (model.architecture, model.name, model.kind) == ("llama", "tiny", "")
    assert (model.n_layers, model.n_ctx_train, model.n_vocab, model.file_type) == (1, 64, 32, 7)
    assert (model.head_count, model.head_count_kv, model.key_length) == (2, 1, 16)
    assert model.fim_token_ids == {"pre": 27, "suf": 28, "mid": 29}
    assert (model.embedding_length, model.tensor_bytes, model.file_bytes) == (32, 29056, 31072)


def test_counts_that_differ_between_layers_are_read_as_their_maximum(tmp_path: Path) -> None:
    gguf_file = tiny(
        {
            "llama.block_count": number(U32, 3),
            "llama.attention.head_count": array(I32, [0, 4, 2]),
            "llama.attention.head_count_kv": None,
            "llama.rope.dimension_count": number(U32, 8),
        }
    )
    model = check_model(write(tmp_path, gguf_file.encode()))
    assert (model.head_count, model.head_count_kv, model.key_length) == (4, 4, 8)


def test_key_heads_are_checked_layer_by_layer(tmp_path: Path) -> None:
    gguf_file = tiny(
        {
            "llama.block_count": number(U32, 2),
            "llama.attention.head_count": array(I32, [4, 2]),
            "llama.attention.head_count_kv": array(I32, [4, 1]),
            "llama.rope.dimension_count": number(U32, 8),
        }
    )
    assert check_model(write(tmp_path, gguf_file.encode())).head_count_kv == 4


@pytest.mark.parametrize("percent", range(100))
def test_a_cut_file_is_refused(percent: int, tmp_path: Path) -> None:
    """Row 21."""
    whole = tiny().encode()
    message = rejection(write(tmp_path, whole[: len(whole) * percent // 100]))
    expected = r"is empty|is truncated at |is damaged before .* count is |has \d+ bytes, expected"
    assert re.match(expected, message)
    assert message.endswith("; download it again")


def test_a_header_cut_anywhere_is_refused(tmp_path: Path) -> None:
    """Row 21."""
    whole = tiny().encode()
    for n_bytes in range(0, len(tiny(data=b"").encode()), 7):
        rejection(write(tmp_path, whole[:n_bytes]))


def test_a_chat_template_is_not_rendered(tmp_path: Path) -> None:
    """Row 25."""
    marker = tmp_path / "was-here"
    code = f"{{{{ cycler.__init__.__globals__.os.system('touch {marker}') }}}}"
    for filling in ("", " " * 10_000):
        gguf_file = tiny({"tokenizer.chat_template": string(code + filling)})
        assert check_model(write(tmp_path, gguf_file.encode())).n_vocab == 32
    assert not marker.exists()


def test_long_texts_and_arrays_are_not_kept(tmp_path: Path) -> None:
    many = array(STRING, ["merge"] * 100_000)
    gguf_file = tiny({"tokenizer.ggml.merges": many, "general.license": string("x" * 100_000)})
    _, fields = validate._read_file(write(tmp_path, gguf_file.encode()))
    assert fields.by_key["tokenizer.ggml.merges"].value is None
    assert fields.by_key["tokenizer.ggml.merges"].n_items == 100_000
    assert fields.by_key["general.license"].value is None


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(array(STRING, [], 1000), id="a_hole_of_empty_strings"),
        pytest.param(array(STRING, ["x" * 500] * 10), id="strings"),
        pytest.param(array(U64, [1] * 1000), id="numbers"),
        pytest.param(string("x" * 5000), id="text"),
    ],
)
def test_a_header_without_end_is_refused(
    value: Raw, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(byte_reader, "MAX_HEADER_BYTES", 4096)
    path = write(tmp_path, Gguf([("k", value)]).encode())
    os.truncate(path, 1 << 30)
    with pytest.raises(ModelError, match="makes the header longer than 4096 bytes; download"):
        read_header(path)


@pytest.mark.parametrize("lie", ["n_tensors", "n_kv"])
def test_a_file_of_any_size_has_a_bounded_number_of_items(lie: str, tmp_path: Path) -> None:
    path = write(tmp_path, replace(Gguf(), **{lie: (1 << 16) + 1}).encode())
    os.truncate(path, 1 << 30)
    with pytest.raises(ModelError, match="is 65537, expected at most 65536 in a file"):
        read_header(path)


def test_a_file_that_shrinks_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, tiny().encode())
    status = os.stat(path)
    os.truncate(path, 1000)
    monkeypatch.setattr(os, "fstat", lambda _fd: status)
    assert rejection(path) == "shrank while it was being read; try again once it is complete"


def _link(path: Path) -> None:
    path.symlink_to(path)


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        pytest.param(Path.mkdir, "is a folder, expected a file; choose another model", id="folder"),
        pytest.param(
            os.mkfifo, "is a pipe or a device, expected a file; choose another model", id="fifo"
        ),
        pytest.param(
            lambda path: path.symlink_to("/dev/zero"),
            "is a pipe or a device, expected a file; choose another model",
            id="device",
        ),
        pytest.param(
            _link,
            f"cannot be read: {os.strerror(errno.ELOOP)}; set `model` to a file you can read",
            id="loop",
        ),
        pytest.param(
            _socket,
            f"cannot be read: {os.strerror(errno.ENXIO)}; set `model` to a file you can read",
            id="socket",
        ),
        pytest.param(lambda _: None, "does not exist; set `model` to a GGUF file", id="missing"),
    ],
)
def test_a_path_that_is_not_a_file_is_refused(make: object, message: str, tmp_path: Path) -> None:
    """Row 29."""
    assert callable(make)
    make(path := tmp_path / "m.gguf")
    assert rejection(path) == message


def test_a_file_without_read_permission_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row 29. Root may read any file, so the refusal is simulated."""

    def denied(*_: object) -> NoReturn:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(os, "open", denied)
    message = rejection(tmp_path / "m.gguf")
    assert message == "cannot be read: Permission denied; set `model` to a file you can read"


def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    n_open = len(os.listdir("/dev/fd"))
    for path in (tmp_path, write(tmp_path, b"GGUF"), write(tmp_path, tiny().encode(), "ok")):
        for _ in range(3):
            try:
                check_model(path)
            except ModelError:
                continue
    assert len(os.listdir("/dev/fd")) == n_open


def test_a_file_name_is_shown_on_one_line() -> None:
    with pytest.raises(ModelError, match=r"^Model file `/no/a\?b` does not exist; set"):
        read_header(Path("/no/a\nb"))
    with pytest.raises(ModelError, match=r"^Model file `/no/a\?` has a NUL in its name"):
        read_header(Path("/no/a\0"))


def _part(no: int, n_parts: int, tensors: Gguf | None = None) -> bytes:
    split = {"split.no": number(U16, no), "split.count": number(U16, n_parts)}
    if no == 0:
        return tiny(split, tensors=(), data=b"").encode()
    whole = tensors or tiny()
    return Gguf(list(split.items()), whole.tensors, whole.data).encode()


def test_a_split_model(tmp_path: Path) -> None:
    first = write(tmp_path, _part(0, 3), "a-00001-of-00003.gguf")
    missing = (
        "is split into parts, and part `a-0000{}-of-00003.gguf` is missing; put all parts in one "
        "folder"
    )
    assert rejection(first) == missing.format(2)
    second = write(tmp_path, _part(1, 3), "a-00002-of-00003.gguf")
    assert rejection(first) == missing.format(3)
    third = write(tmp_path, _part(2, 3), "a-00003-of-00003.gguf")
    assert check_model(first).split_count == 3
    assert (read_header(second).split_no, read_header(third).split_no) == (1, 2)
    third.write_bytes(_part(1, 3))
    with pytest.raises(ModelError, match=r"00003-of-00003.gguf` is part 2, expected part 3"):
        check_model(first)
    third.write_bytes(_part(2, 3)[:-100])
    with pytest.raises(ModelError, match=r"00003-of-00003.gguf` has \d+ bytes, expected \d+ for"):
        check_model(first)


@pytest.mark.parametrize("name", ["a.gguf", "a-00002-of-00002.gguf"])
def test_a_part_under_another_name(name: str, tmp_path: Path) -> None:
    assert rejection(write(tmp_path, _part(0, 2), name)) == (
        "is part 1 of 2, expected a name that ends in `-00001-of-00002.gguf`; rename the file"
    )


def test_a_part_that_is_not_the_first(tmp_path: Path) -> None:
    gguf_file = tiny({"split.no": number(U16, 1), "split.count": number(U16, 2)}).encode()
    message = rejection(write(tmp_path, gguf_file, "a-00002-of-00002.gguf"))
    assert message == "is part 2 of 2, expected part 1; use `a-00001-of-00002.gguf`"


@pytest.mark.parametrize("family", families.FAMILIES, ids=lambda family: family.name)
def test_a_vocabulary_alone(family: families.Family, tmp_path: Path) -> None:
    path = tmp_path / "toy.gguf"
    toy_gguf.write_vocabulary(path, "toy", family, {"pre": 1, "suf": 2, "mid": 3})
    assert check_model(path, needs_tensors=False).fim_token_ids == {"pre": 1, "suf": 2, "mid": 3}
    assert rejection(path) == "has a vocabulary but no weights; choose another model"


def test_the_built_in_model(models_dir: Path) -> None:
    (path,) = models_dir.glob("*.gguf")
    model = check_model(path)
    assert (model.architecture, model.n_layers, model.n_vocab) == ("llama", 30, 49152)
    assert (model.head_count, model.head_count_kv, model.key_length) == (9, 3, 64)
    assert model.fim_token_ids == {"pre": 11, "suf": 6, "mid": 3, "rep": 4, "sep": 5}
    assert model.file_bytes - model.tensor_bytes < byte_reader.MAX_HEADER_BYTES


def test_the_adapter_of_the_built_in_model_is_readable_but_not_a_model() -> None:
    path = build_builtin.ADAPTER
    assert read_header(path).n_tensors == 420
    assert rejection(path) == (
        "is not a language model that completes text: its type is `adapter`; choose another model"
    )


def test_tensor_types_match_ggml() -> None:
    known = {int(kind): sizes for kind, sizes in gguf.GGML_QUANT_SIZES.items()}
    # The gguf package does not know Q2_0 yet: ggml-common.h, block_q2_0.
    assert {**known, 42: (64, 18)} == parse.TENSOR_TYPES
