"""One request in the worker: pieces to tokens, prefill, decode, stop. Runs in its main thread.

It is given what it depends on (vocabulary, cache, clock by `arrived_s`), and leaves the cache
holding what was evaluated, so that the next request of the document begins there.
"""

from __future__ import annotations

import codecs
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import cast

from llmd.engine.cache import Cache, Outcome
from llmd.engine.frames import Done, Infer, StopReason
from llmd.engine.llama import Context, Vocabulary
from llmd.engine.plan import plan
from llmd.engine.sampling import sample
from llmd.errors import EngineError
from llmd.postprocess.stop import cut, settled
from llmd.prompt.build import Piece
from llmd.prompt.families import Match
from llmd.trace import Cost

N_SPARE = 8  # cells left free beyond prompt and completion
# The number of tokens cut off an end that is too long is a multiple of this, so that typing does
# not move the prompt's start on every key.
DROP_STEP = 256
_SUFFIX_SHARE = 4  # of the room, one in so many is the suffix's before it is cut


@dataclass(frozen=True, slots=True)
class Engine:
    """What a loaded model is made of, for requests."""

    context: Context
    vocabulary: Vocabulary
    match: Match
    cache: Cache


@dataclass(slots=True)
class _Run:
    """The state of one request."""

    engine: Engine
    request: Infer
    max_tokens: int
    deadline_s: float
    is_cancelled: Callable[[], bool]
    emit: Callable[[str], None]
    reason: str = ""
    text: str = ""
    n_decoded: int = 0
    first_token_s: float = 0.0
    _said: str = ""
    _utf8: codecs.IncrementalDecoder = field(
        default_factory=lambda: codecs.getincrementaldecoder("utf-8")("replace")
    )

    def is_stopped(self) -> bool:
        if self.is_cancelled():
            self.reason = "cancelled"
        elif time.monotonic() >= self.deadline_s:
            self.reason = "deadline"
        return bool(self.reason)

    def note(self, outcome: Outcome) -> bool:
        """Whether to go on."""
        if outcome == "full":
            self.reason = "context"
        elif outcome == "aborted" and not self.reason:
            self.reason = "cancelled"
        return outcome == "done"

    def decode(self) -> None:
        """Samples and evaluates until a reason to stop is found."""
        while not self.reason:
            logits = self.engine.context.logits()
            token = sample(logits, self.request.sampling, self.n_decoded)
            self.first_token_s = self.first_token_s or time.monotonic()
            self._add(token)
            if self.reason or self.is_stopped():
                return
            if self.engine.cache.is_full:
                self.reason = "context"
                return
            self.note(self.engine.cache.decode([token]))

    def _add(self, token: int) -> None:
        if token in self.engine.match.stop_ids or self.engine.vocabulary.is_eog(token):
            self.reason = "eog"
            return
        self.n_decoded += 1
        self.text += self._utf8.decode(self.engine.vocabulary.piece(token))
        self.reason = cut(self.text, self.request.stop).reason
        if not self.reason and self.n_decoded >= self.max_tokens:
            self.reason = "tokens"
        said = "" if self.reason else settled(self.text, self.request.stop)
        if len(said) > len(self._said):
            self._said = said
            self.emit(said)


def infer(
    engine: Engine,
    request: Infer,
    arrived_s: float,
    is_cancelled: Callable[[], bool],
    emit: Callable[[str], None],
) -> Done:
    """Answers one request. `arrived_s` is when its frame came in, on the monotonic clock.

    Raises:
        EngineError: llama.cpp failed, or the prompt cannot be made; the cache may be empty.
    """
    started_s = time.monotonic()
    max_tokens = min(request.stop.max_tokens, engine.context.n_ctx // 2)
    deadline_s = arrived_s + request.stop.deadline_ms / 1000
    run = _Run(engine, request, max_tokens, deadline_s, is_cancelled, emit)
    wanted = prompt_tokens(engine, request.pieces, max_tokens)
    todo = plan(engine.cache.cells, wanted)
    outcome, n_cached, n_prefill = engine.cache.prefill(todo, run.is_stopped)
    prefilled_s = time.monotonic()
    if run.note(outcome):
        run.decode()
    ended_s = time.monotonic()
    final = cut(run.text, request.stop, is_final=True)
    cost = Cost(
        n_prompt=n_cached + n_prefill,
        n_cached=n_cached,
        n_prefill=n_prefill,
        n_decoded=run.n_decoded,
        queue_ms=_ms(started_s - arrived_s),
        prefill_ms=_ms(prefilled_s - started_s),
        ttft_ms=_ms(run.first_token_s - arrived_s) if run.first_token_s else 0.0,
        decode_ms=_ms(ended_s - prefilled_s),
    )
    reason = cast(StopReason, run.reason or final.reason)
    return Done(request.id, run.text[: final.n_chars], reason, cost)


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 2)


def prompt_tokens(engine: Engine, pieces: Iterable[Piece], max_tokens: int) -> list[int]:
    """The prompt, cut to what fits beside `max_tokens`: a prefix loses tokens at its start, a
    suffix at its end."""
    vocabulary = engine.vocabulary
    parts = [(piece.name, _tokens(engine, piece)) for piece in pieces]
    if vocabulary.add_bos:
        parts.insert(0, ("token", (vocabulary.bos,)))
    sizes = dict.fromkeys(("prefix", "suffix", "rest"), 0)
    for name, tokens in parts:
        sizes[name if name in sizes else "rest"] += len(tokens)
    room = engine.context.n_ctx - max_tokens - N_SPARE - sizes["rest"]
    if room < 0:
        raise EngineError(f"The prompt's frame leaves no room in {engine.context.n_ctx} tokens")
    n_prefix, n_suffix = drops(sizes["prefix"], sizes["suffix"], room)
    kept: list[int] = []
    for name, tokens in parts:
        first = n_prefix if name == "prefix" else 0
        end = len(tokens) - (n_suffix if name == "suffix" else 0)
        kept += tokens[first:end]
    # A model has to begin somewhere: an empty buffer of a model without sentinels or BOS.
    return kept or [max(vocabulary.bos, vocabulary.eos, 0)]


def drops(n_prefix: int, n_suffix: int, room: int) -> tuple[int, int]:
    """How many tokens the prefix's start and the suffix's end lose. The suffix gives first, down
    to its share of the room."""
    step = max(min(DROP_STEP, room // 4), 1)
    over = n_prefix + n_suffix - room
    from_suffix = _round_up(min(over, n_suffix - room // _SUFFIX_SHARE), step, n_suffix)
    from_prefix = _round_up(over - from_suffix, step, n_prefix)
    return from_prefix, from_suffix + _round_up(over - from_suffix - from_prefix, 1, n_suffix)


def _round_up(n_tokens: int, step: int, at_most: int) -> int:
    return min(-(-max(n_tokens, 0) // step) * step, at_most)


def _tokens(engine: Engine, piece: Piece) -> Sequence[int]:
    if piece.name in ("pre", "suf", "mid"):
        return (engine.match.roles[piece.name],)
    if piece.name != "token":
        return engine.vocabulary.tokenize(piece.text)
    if (token := engine.vocabulary.find(piece.text)) is None:
        raise EngineError(f"The model has no token `{piece.text}`, which its family's format needs")
    return (token,)
