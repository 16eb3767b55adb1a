"""From a prompt's pieces to its tokens, cut to what fits, and what healing takes back of them."""

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
# The number of tokens cut off an end that is too long is a multiple of this, so that typing does
# not move the prompt's start on every key.
DROP_STEP = 256
_SUFFIX_SHARE = 4  # of the room, one in so many is the suffix's before it is cut
MAX_TYPED = 256  # tokens; what is typed beyond it goes to the prefix, half as many at once
_TYPED_SHARE = 4  # of n_ctx


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """What a loaded model is made of, for requests. Without a table nothing is healed."""

    context: Context
    vocabulary: Vocabulary
    match: Match
    cache: KvCache
    table: token_healing.HealingTable = field(default_factory=token_healing.HealingTable)


@dataclass(frozen=True, slots=True)
class PromptTokens:
    """`draft`: the text's own tokens of what was taken back; `owed`: the same as bytes."""

    tokens: tuple[int, ...]
    draft: tuple[int, ...] = ()
    pending_bytes: bytes = b""


@dataclass(frozen=True, slots=True)
class _CursorTokens:
    """The tokens of the text before the cursor, in their three parts."""

    prefix: Sequence[int]
    typed: Sequence[int]
    draft: Sequence[int]


def tokenize_prompt(engine: LoadedModel, pieces: Sequence[Piece], max_tokens: int) -> PromptTokens:
    """The prompt, cut to what fits beside `max_tokens`: a prefix loses tokens at its start, a
    suffix at its end.

    Raises:
        EngineError: the pieces without prefix and suffix do not fit, or name an unknown token.
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
        raise EngineError(f"The prompt's frame leaves no room in {engine.context.n_ctx} tokens")
    n_prefix, n_suffix = truncation(sizes["prefix"], sizes["suffix"], room)
    kept: list[int] = []
    for name, tokens in parts:
        first = n_prefix if name == "prefix" else 0
        end = len(tokens) - (n_suffix if name == "suffix" else 0)
        kept += tokens[first:end]
    # A model has to begin somewhere: an empty buffer of a model without sentinels or BOS.
    kept = kept or [max(vocabulary.bos, vocabulary.eos, 0)]
    owed = b"".join(map(vocabulary.piece, text.draft))
    return PromptTokens(tuple(kept), tuple(text.draft), owed)


def truncation(n_prefix: int, n_suffix: int, room: int) -> tuple[int, int]:
    """How many tokens the prefix's start and the suffix's end lose. The suffix gives first, down
    to its share of the room."""
    step = max(min(DROP_STEP, room // 4), 1)
    over = n_prefix + n_suffix - room
    from_suffix = _round_up(min(over, n_suffix - room // _SUFFIX_SHARE), step, n_suffix)
    from_prefix = _round_up(over - from_suffix, step, n_prefix)
    return from_prefix, from_suffix + _round_up(over - from_suffix - from_prefix, 1, n_suffix)


def _round_up(n_tokens: int, step: int, at_most: int) -> int:
    return min(-(-max(n_tokens, 0) // step) * step, at_most)


def _tokenize_before_cursor(engine: LoadedModel, pieces: Sequence[Piece]) -> _CursorTokens:
    """Prefix and typed text are tokenised as the one text that they are; what is taken back never
    reaches over the border between them."""
    texts = {piece.name: piece.text for piece in pieces}
    vocabulary, typed = engine.vocabulary, texts.get("typed")
    tokens = vocabulary.tokenize(texts.get("prefix", "") + (typed or ""))
    border = len(tokens) if typed is None else _typed_start(engine, tokens, typed)
    own = tokens if typed is None else tokens[border:]
    n_back = (
        token_healing.n_healed_tokens(own, vocabulary.piece, engine.table) if "heal" in texts else 0
    )
    end = len(tokens) - n_back
    return _CursorTokens(tokens[: min(border, end)], tokens[border:end], tokens[end:])


def _typed_start(engine: LoadedModel, tokens: Sequence[int], typed: str) -> int:
    """The first token of the typed text, of which no more is left than its share."""
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
        raise EngineError(f"The model has no token `{piece.text}`, which its family's format needs")
    return (token,)
