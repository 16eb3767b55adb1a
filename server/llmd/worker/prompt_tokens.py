"""Turns prompt pieces into tokens, truncates them to the context, and prepares token healing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from llmd.errors import EngineError
from llmd.prompt.build import Piece
from llmd.prompt.families import Match
from llmd.worker import token_healing
from llmd.worker.kv_cache import KvCache
from llmd.worker.llama import Context, Vocabulary

N_SPARE = 8  # cells left free beyond prompt and completion
# Truncation removes a multiple of this many tokens, so that typing does not move the prompt's start
# with every key.
DROP_STEP = 256
_SUFFIX_SHARE = 4  # the suffix keeps at least 1/4 of the room
MAX_TYPED = 256  # tokens; half of them move to the prefix at once when more are typed
_TYPED_SHARE = 4  # typed text takes at most 1/4 of n_ctx


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """Holds the parts of a loaded model that requests use. An empty `table` disables healing."""

    context: Context
    vocabulary: Vocabulary
    match: Match
    cache: KvCache
    table: token_healing.HealingTable = field(default_factory=token_healing.HealingTable)


@dataclass(frozen=True, slots=True)
class PromptTokens:
    """Holds a tokenized prompt without the text that healing regenerates.

    `draft`: the original tokens of the removed text. `pending_bytes`: the same text as bytes.
    """

    tokens: tuple[int, ...]
    draft: tuple[int, ...] = ()
    pending_bytes: bytes = b""


@dataclass(frozen=True, slots=True)
class _CursorTokens:
    """Holds the tokens of the text before the cursor, in three parts."""

    prefix: Sequence[int]
    typed: Sequence[int]
    draft: Sequence[int]


def tokenize_prompt(engine: LoadedModel, pieces: Sequence[Piece], max_tokens: int) -> PromptTokens:
    """Tokenizes a prompt and truncates it so that `max_tokens` more fit into the context.

    A long prefix loses tokens at its start, a long suffix at its end.

    Raises:
        EngineError: the pieces other than prefix and suffix do not fit, or name an unknown token.
    """
    vocabulary = engine.vocabulary
    text = _tokenize_before_cursor(engine, pieces)
    parts = [(piece.name, _piece_tokens(engine, piece, text)) for piece in pieces]
    if vocabulary.add_bos:
        parts.insert(0, ("token", (vocabulary.bos,)))
    sizes = dict.fromkeys(("prefix", "suffix", "rest"), 0)
    for name, tokens in parts:
        sizes[name if name in sizes else "rest"] += len(tokens)
    room = engine.context.n_ctx - max_tokens - N_SPARE - sizes["rest"] - len(text.draft)
    if room < 0:
        raise EngineError(
            f"Prompt needs {-room} tokens more than `engine.n_ctx` ({engine.context.n_ctx}) has,"
            " without prefix and suffix; set a larger `engine.n_ctx`"
        )
    n_prefix, n_suffix = truncation(sizes["prefix"], sizes["suffix"], room)
    prompt: list[int] = []
    for name, tokens in parts:
        first = n_prefix if name == "prefix" else 0
        end = len(tokens) - (n_suffix if name == "suffix" else 0)
        prompt += tokens[first:end]
    # A prompt needs a token, also in an empty buffer with a model without sentinels and BOS.
    prompt = prompt or [max(vocabulary.bos, vocabulary.eos, 0)]
    pending_bytes = b"".join(map(vocabulary.piece, text.draft))
    return PromptTokens(tuple(prompt), tuple(text.draft), pending_bytes)


def truncation(n_prefix: int, n_suffix: int, room: int) -> tuple[int, int]:
    """Returns how many tokens the prefix loses at its start and the suffix at its end.

    The suffix is truncated first, down to its share of the room.
    """
    step = max(min(DROP_STEP, room // 4), 1)
    over = n_prefix + n_suffix - room
    from_suffix = _round_up(min(over, n_suffix - room // _SUFFIX_SHARE), step, n_suffix)
    from_prefix = _round_up(over - from_suffix, step, n_prefix)
    return from_prefix, from_suffix + _round_up(over - from_suffix - from_prefix, 1, n_suffix)


def _round_up(n_tokens: int, step: int, at_most: int) -> int:
    return min(-(-max(n_tokens, 0) // step) * step, at_most)


def _tokenize_before_cursor(engine: LoadedModel, pieces: Sequence[Piece]) -> _CursorTokens:
    """Tokenizes prefix and typed text as one text, and splits off the tokens to be healed.

    Healing never crosses the border between prefix and typed text.
    """
    texts = {piece.name: piece.text for piece in pieces}
    vocabulary, typed = engine.vocabulary, texts.get("typed")
    tokens = vocabulary.tokenize(texts.get("prefix", "") + (typed or ""))
    border = len(tokens) if typed is None else _typed_start(engine, tokens, typed)
    last = tokens if typed is None else tokens[border:]
    end = len(tokens)
    if "heal" in texts:
        end -= token_healing.n_healed_tokens(last, vocabulary.piece, engine.table)
    return _CursorTokens(tokens[: min(border, end)], tokens[border:end], tokens[end:])


def _typed_start(engine: LoadedModel, tokens: Sequence[int], typed: str) -> int:
    """Returns the index of the first typed token, after limiting typed text to its share."""
    n_bytes = len(typed.encode(errors="replace"))
    n_typed = token_healing.n_after_anchor(tokens, n_bytes, engine.vocabulary.piece, engine.table)
    limit = min(MAX_TYPED, engine.context.n_ctx // _TYPED_SHARE)
    return len(tokens) - n_typed + _round_up(n_typed - limit, max(limit // 2, 1), n_typed)


def _piece_tokens(engine: LoadedModel, piece: Piece, text: _CursorTokens) -> Sequence[int]:
    match piece.name:
        case "prefix":
            return text.prefix
        case "typed":
            return text.typed
        case "heal":
            return ()
        case "pre" | "suf" | "mid":
            return (engine.match.roles[piece.name],)
        case "suffix" | "frame":
            return engine.vocabulary.tokenize(piece.text)
    if (token := engine.vocabulary.find(piece.text)) is None:
        raise EngineError(
            f"Model has no token `{piece.text}`, which the prompt format of its family needs"
        )
    return (token,)
