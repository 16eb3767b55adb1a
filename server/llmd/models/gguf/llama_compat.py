"""Checks whether llama.cpp can load a GGUF, from the file's metadata alone. Each rule has its own
error message.

Sources for what ends llama.cpp's process: llama-vocab.cpp and llama-model.cpp.
"""

from __future__ import annotations

import re
from itertools import product

from llmd.models.gguf.byte_reader import DOWNLOAD_AGAIN, sanitize
from llmd.models.gguf.parse import MAX_LAYERS, TOKENS_KEY, Fields, Header

# Models that are not causal or do not generate text. llama-arch.cpp, stable-diffusion.cpp,
# whisper.cpp.
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
# Tested tokenizers. The others have asserts that a file can trigger, and no code model uses them.
_TOKENIZERS = ("gpt2", "llama", "gemma4")
# Architectures without attention, which have no heads.
_RECURRENT = re.compile(r"mamba2?|a?rwkv.*")
# Scalars that llama.cpp reads as UINT32, with the least and the greatest value that it survives.
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
# Greatest values of counts that are given once for all layers or once per layer.
_LAYER_LIMITS = {
    "attention.head_count": 1 << 16,
    "attention.head_count_kv": 1 << 16,
    "feed_forward_length": 1 << 24,
    "expert_used_count": 1024,
}
# Architectures whose graphs assert equal lengths of keys, values and rotated dimensions.
_EQUAL_HEAD_LENGTHS = re.compile(
    r"llama|qwen[23](moe)?|starcoder2|deepseek|codeshell|granite|mellum|seed_oss|maincoder|smollm3"
    r"|mistral3|internlm2|olmo"
)
_ROPE_SCALINGS = ("none", "linear", "yarn", "longrope")


def check_completes_text(header: Header, fields: Fields) -> None:
    """Invariant: a file that passes is a causal language model.

    Raises:
        ModelError: the file is not such a model.
    """
    if not header.architecture:
        fields.reject("has no `general.architecture`")
    reason, is_causal = "", fields.get(header.key("attention.causal"), True)
    if header.kind not in ("", "model"):
        reason = f"its type is `{sanitize(header.kind)}`"
    elif _NOT_COMPLETION_MODELS.fullmatch(header.architecture):
        reason = f"its architecture is `{sanitize(header.architecture)}`"
    elif fields.get(header.key("pooling_type"), 0) or not is_causal:
        reason = "it computes embeddings"
    if reason:
        fields.reject(f"is not a language model that completes text: {reason}")


def check_tokenizer(header: Header, fields: Fields) -> None:
    """Invariant: llama.cpp can load the tokenizer of a file that passes, and tokenize any text.

    Raises:
        ModelError: the file has no such tokenizer.
    """
    by_key, model = fields.by_key, fields.get("tokenizer.ggml.model", "")
    if not model or TOKENS_KEY not in by_key:
        fields.reject("has no tokenizer")
    pre_tokenizer = fields.get("tokenizer.ggml.pre", "")
    # The pre-tokenizer `whitespace` aborts at the first space.
    tokenizer = pre_tokenizer if pre_tokenizer == "whitespace" else model
    if tokenizer not in _TOKENIZERS:
        expected = " or ".join(f"`{name}`" for name in _TOKENIZERS)
        fields.reject(f"has the tokenizer `{sanitize(tokenizer)}`, expected {expected}")
    for key in filter(by_key.__contains__, _TOKEN_ARRAYS):
        _check_token_array(header, fields, key)
    _check_tokens(header, fields, model)
    for key in filter(_TOKEN_ID.fullmatch, by_key):
        token, max_token = fields.get(key, 0), header.n_vocab - 1
        if token > max_token:
            fields.reject(f"has a `{key}` of {token}, expected 0 to {max_token}")


def _check_token_array(header: Header, fields: Fields, key: str) -> None:
    field, expected = fields.by_key[key], _TOKEN_ARRAYS[key]
    if field.kind not in expected.split(" or "):
        fields.reject(f"has a `{key}` of type {field.kind}, expected {expected}")
    if key != "tokenizer.ggml.merges" and field.n_items != header.n_vocab:
        problem = f"has {field.n_items} `{key}` items, expected {header.n_vocab}, one per token"
        fields.reject(problem, DOWNLOAD_AGAIN)


def _check_tokens(header: Header, fields: Fields, model: str) -> None:
    tokens = fields.by_key[TOKENS_KEY].value
    if not tokens or not isinstance(tokens, set):
        fields.reject("has a tokenizer without tokens")
    if n_duplicates := header.n_vocab - len(tokens):
        fields.reject(f"has {n_duplicates} duplicate tokens, expected none", DOWNLOAD_AGAIN)
    for byte in range(256 if model == "llama" else 0):
        # llama.cpp looks up each byte as a C string, in which NUL is the empty string.
        if not {b"<0x%02X>" % byte, bytes([byte]) if byte else b""} & tokens:
            fields.reject(f"has no token for the byte 0x{byte:02X}")


def check_shape(header: Header, fields: Fields) -> None:
    """Checks sizes that llama.cpp asserts or that would make llama.cpp allocate absurd amounts of
    memory.

    Raises:
        ModelError: a size is missing, out of range or inconsistent with another.
    """
    required = _REQUIRED_KEYS[:3] if _RECURRENT.fullmatch(header.architecture) else _REQUIRED_KEYS
    for key in map(header.key, required):
        if key not in fields.by_key:
            fields.reject(f"has no `{key}`")
    limits = _SCALAR_LIMITS | {"nextn_predict_layers": (0, header.n_layers)}
    for suffix, (minimum, maximum) in limits.items():
        key = header.key(suffix)
        _check_range(fields, key, fields.get(key, minimum), minimum, maximum)
    _check_layer_counts(header, fields)
    scaling = fields.get(header.key("rope.scaling.type"), "linear")
    if scaling not in _ROPE_SCALINGS:
        expected = ", ".join(_ROPE_SCALINGS)
        fields.reject(f"has the RoPE scaling `{sanitize(scaling)}`, expected {expected}")
    if header.n_embedding_rows not in (None, header.n_vocab):
        fields.reject(f"has {header.n_embedding_rows} embeddings, expected {header.n_vocab}")
    _check_heads(header, fields)
    _check_experts(header, fields)


def _check_layer_counts(header: Header, fields: Fields) -> None:
    for suffix, maximum in _LAYER_LIMITS.items():
        counts = fields.counts(key := header.key(suffix))
        if len(counts) not in (0, 1, header.n_layers):
            fields.reject(f"has {len(counts)} `{key}` items, expected {header.n_layers}")
        for count in counts:
            _check_range(fields, key, count, 0, maximum)


def _check_range(fields: Fields, key: str, value: int, minimum: int, maximum: int) -> None:
    if not minimum <= value <= maximum:
        fields.reject(f"has a `{key}` of {value}, expected {minimum} to {maximum}")


def _check_heads(header: Header, fields: Fields) -> None:
    if not _RECURRENT.fullmatch(header.architecture):
        _check_range(fields, header.key("attention.head_count"), header.head_count, 1, 1 << 16)
    heads = fields.counts(header.key("attention.head_count"))
    heads_kv = fields.counts(header.key("attention.head_count_kv"))
    # With different lengths, one of the counts is for all layers.
    pairs = zip if len(heads) == len(heads_kv) else product
    for n_heads, n_kv in pairs(heads, heads_kv):
        if n_kv and n_heads % n_kv:
            fields.reject(f"has {n_kv} key heads, expected a divisor of its {n_heads} heads")
    key_length = header.key_length
    value_length = fields.get(header.key("attention.value_length"), key_length)
    n_rotated = fields.get(header.key("rope.dimension_count"), key_length)
    is_equal = key_length == value_length == n_rotated
    if not is_equal and _EQUAL_HEAD_LENGTHS.fullmatch(header.architecture):
        lengths = f"{key_length} key, {value_length} value and {n_rotated} rotated dimensions"
        fields.reject(f"has {lengths} per head, expected equal numbers")


def _check_experts(header: Header, fields: Fields) -> None:
    """Checks the numbers of experts as `load_hparams` of llama-model.cpp does."""
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
        fields.reject(f"{counts}, which is inconsistent")
