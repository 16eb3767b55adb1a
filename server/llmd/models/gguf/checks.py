"""What llama.cpp can be given, by what a GGUF says of itself: pure rules, each with its sentence.

Sources: llama-vocab.cpp and llama-model.cpp of llama.cpp for what ends the process.
"""

from __future__ import annotations

import re
from itertools import product
from typing import NoReturn

from llmd.models.gguf.format import MAX_LAYERS, TOKENS_KEY, Fields, Header
from llmd.models.gguf.reader import CHOOSE_ANOTHER, DOWNLOAD_AGAIN, reject, sanitize

# Not read from left to right, or not text. llama-arch.cpp, stable-diffusion.cpp, whisper.cpp.
_NOT_COMPLETION_MODELS = re.compile(
    r"clip|whisper|.*bert.*|t5|t5encoder|.*-(embed|embedding)|wavtokenizer.*|.*tts|dream|llada.*"
    r"|rnd1|eagle3|dflash|.*-assistant|flux|sd[0-9x].*|aura|hidream|cosmos|ltxv|hyvid|wan|lumina2|"
    r"qwen_image|pig"
)
_TOKEN_ID = re.compile(r"tokenizer\.ggml\.(bos|eos|prefix|suffix|middle|fim_[a-z]{3})_token_id")
_TOKEN_ARRAYS = {
    TOKENS_KEY: "ARRAY of STRING",
    "tokenizer.ggml.token_type": "ARRAY of INT32",
    "tokenizer.ggml.scores": "ARRAY of FLOAT32 or ARRAY of INT32",
    "tokenizer.ggml.merges": "ARRAY of STRING",
}
# Those that were tried. The others have asserts that a file can trip, and write no code.
_TOKENIZERS = ("gpt2", "llama", "gemma4")
# Without attention, so without heads.
_RECURRENT = re.compile(r"mamba2?|a?rwkv.*")
# Scalars that llama.cpp reads as UINT32, and between what bounds it survives them.
_SCALAR_LIMITS = {
    "context_length": (1, (1 << 31) - 1),
    "embedding_length": (1, 1 << 20),
    "block_count": (1, MAX_LAYERS),
    "expert_count": (0, 1024),
    "expert_group_used_count": (0, 1024),
    "attention.key_length": (1, 1 << 16),
    "attention.value_length": (1, 1 << 16),
    "rope.dimension_count": (0, 1 << 16),
}
_REQUIRED_KEYS = ("context_length", "embedding_length", "block_count", "attention.head_count")
# One for all layers, or one for each.
_LAYER_LIMITS = {
    "attention.head_count": 1 << 16,
    "attention.head_count_kv": 1 << 16,
    "feed_forward_length": 1 << 24,
    "expert_used_count": 1024,
}
# Their graphs assert that keys, values and what is rotated of them are of one length.
_EQUAL_HEAD_LENGTHS = re.compile(
    r"llama|qwen[23](moe)?|starcoder2|deepseek|codeshell|granite|mellum|seed_oss|maincoder|smollm3"
    r"|mistral3|internlm2|olmo"
)
_ROPE_SCALINGS = ("none", "linear", "yarn", "longrope")


def check_completes_text(header: Header, fields: Fields) -> None:
    """Invariant: what passes is a language model that goes on with a text.

    Raises:
        ModelError: it is not so. As all of these.
    """
    if not header.architecture:
        _reject(fields, "names no `general.architecture`")
    reason, is_causal = "", fields.get(header.key("attention.causal"), True)
    if header.kind not in ("", "model"):
        reason = f"its type is `{sanitize(header.kind)}`"
    elif _NOT_COMPLETION_MODELS.fullmatch(header.architecture):
        reason = f"its architecture is `{sanitize(header.architecture)}`"
    elif fields.get(header.key("pooling_type"), 0) or not is_causal:
        reason = "it makes embeddings"
    if reason:
        _reject(fields, f"is no language model that completes text: {reason}")


def check_tokenizer(header: Header, fields: Fields) -> None:
    """Invariant: what passes can be loaded by llama.cpp, and any text be tokenized with it."""
    by_key, model = fields.by_key, fields.get("tokenizer.ggml.model", "")
    if not model or TOKENS_KEY not in by_key:
        _reject(fields, "holds no tokenizer")
    pre_tokenizer = fields.get("tokenizer.ggml.pre", "")
    tokenizer = (
        pre_tokenizer if pre_tokenizer == "whitespace" else model
    )  # that one aborts at the first space
    if tokenizer not in _TOKENIZERS:
        expected = " or ".join(f"`{name}`" for name in _TOKENIZERS)
        _reject(fields, f"has the tokenizer `{sanitize(tokenizer)}`, expected {expected}")
    for key in filter(by_key.__contains__, _TOKEN_ARRAYS):
        _check_token_array(header, fields, key)
    _check_tokens(header, fields, model)
    for key in filter(_TOKEN_ID.fullmatch, by_key):
        token, max_token = fields.get(key, 0), header.n_vocab - 1
        if token > max_token:
            _reject(fields, f"has a `{key}` of {token}, expected 0 to {max_token}")


def _check_token_array(header: Header, fields: Fields, key: str) -> None:
    field, expected = fields.by_key[key], _TOKEN_ARRAYS[key]
    if field.kind not in expected.split(" or "):
        _reject(fields, f"has a `{key}` of type {field.kind}, expected {expected}")
    if key != "tokenizer.ggml.merges" and field.n_items != header.n_vocab:
        problem = f"has {field.n_items} `{key}`, expected {header.n_vocab}, one for each token"
        _reject(fields, problem, DOWNLOAD_AGAIN)


def _check_tokens(header: Header, fields: Fields, model: str) -> None:
    tokens = fields.by_key[TOKENS_KEY].value
    if not tokens or not isinstance(tokens, set):
        _reject(fields, "has a tokenizer without tokens")
    if n_duplicates := header.n_vocab - len(tokens):
        _reject(
            fields,
            f"spells {n_duplicates} of its tokens like others, expected none",
            DOWNLOAD_AGAIN,
        )
    for byte in range(256 if model == "llama" else 0):
        # C++ looks the byte up as a C string, in which NUL is nothing.
        if not {b"<0x%02X>" % byte, bytes([byte]) if byte else b""} & tokens:
            _reject(fields, f"has no token for the byte 0x{byte:02X}")


def check_shape(header: Header, fields: Fields) -> None:
    """What llama.cpp asserts, or what would make it ask for absurd amounts of memory."""
    required = _REQUIRED_KEYS[:3] if _RECURRENT.fullmatch(header.architecture) else _REQUIRED_KEYS
    for key in map(header.key, required):
        if key not in fields.by_key:
            _reject(fields, f"has no `{key}`")
    limits = _SCALAR_LIMITS | {"nextn_predict_layers": (0, header.n_layers)}
    for suffix, (minimum, maximum) in limits.items():
        key = header.key(suffix)
        _check_range(fields, key, fields.get(key, minimum), minimum, maximum)
    _check_layer_counts(header, fields)
    scaling = fields.get(header.key("rope.scaling.type"), "linear")
    if scaling not in _ROPE_SCALINGS:
        expected = ", ".join(_ROPE_SCALINGS)
        _reject(fields, f"scales its positions by `{sanitize(scaling)}`, expected {expected}")
    if header.n_embedding_rows not in (None, header.n_vocab):
        _reject(fields, f"has {header.n_vocab} tokens and embeds {header.n_embedding_rows}")
    _check_heads(header, fields)
    _check_experts(header, fields)


def _check_layer_counts(header: Header, fields: Fields) -> None:
    for suffix, maximum in _LAYER_LIMITS.items():
        counts = fields.counts(key := header.key(suffix))
        if len(counts) not in (0, 1, header.n_layers):
            _reject(fields, f"has {len(counts)} `{key}`, expected {header.n_layers}")
        for count in counts:
            _check_range(fields, key, count, 0, maximum)


def _check_range(fields: Fields, key: str, value: int, minimum: int, maximum: int) -> None:
    if not minimum <= value <= maximum:
        _reject(fields, f"has a `{key}` of {value}, expected {minimum} to {maximum}")


def _check_heads(header: Header, fields: Fields) -> None:
    if not _RECURRENT.fullmatch(header.architecture):
        _check_range(fields, header.key("attention.head_count"), header.head_count, 1, 1 << 16)
    heads = fields.counts(header.key("attention.head_count"))
    heads_kv = fields.counts(header.key("attention.head_count_kv"))
    is_per_layer = len(heads) == len(heads_kv)  # else one of them is for all layers
    for n_heads, n_kv in (
        zip(heads, heads_kv, strict=True) if is_per_layer else product(heads, heads_kv)
    ):
        if n_kv and n_heads % n_kv:
            _reject(fields, f"shares {n_kv} key heads among {n_heads} heads, expected a divisor")
    key_length = header.key_length
    value_length = fields.get(header.key("attention.value_length"), key_length)
    n_rotated = fields.get(header.key("rope.dimension_count"), key_length)
    if (
        _EQUAL_HEAD_LENGTHS.fullmatch(header.architecture)
        and not key_length == value_length == n_rotated
    ):
        lengths = f"keys of {key_length}, values of {value_length} and rotates {n_rotated}"
        _reject(fields, f"has {lengths}, expected one length")


def _check_experts(header: Header, fields: Fields) -> None:
    """llama-model.cpp, load_hparams."""
    n_experts = fields.get(header.key("expert_count"), 0)
    n_used = max(fields.counts(header.key("expert_used_count")), default=0)
    n_groups = fields.get(header.key("expert_group_count"), 0)
    n_groups_used = fields.get(header.key("expert_group_used_count"), 0)
    is_consistent = (
        n_used <= n_experts
        and (n_used > 0) == (n_experts > 0)
        and n_groups < max(n_experts, 1)
        and (n_groups <= 1 or (n_experts % n_groups == 0 and 0 < n_groups_used < n_groups))
    )
    if not is_consistent:
        counts = f"uses {n_used} of {n_experts} experts, {n_groups_used} of {n_groups} groups"
        _reject(fields, f"{counts}, which cannot be")


def _reject(fields: Fields, problem: str, advice: str = CHOOSE_ANOTHER) -> NoReturn:
    reject(fields.path, problem, advice)
