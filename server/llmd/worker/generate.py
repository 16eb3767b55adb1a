"""Runs one request in the worker's main thread: tokenize the prompt, prefill, decode, stop.

The caller passes in every dependency: the loaded model with its cache, and the arrival time. After
a request the cache still holds the evaluated tokens, so the document's next request reuses them.
"""

from __future__ import annotations

import codecs
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice
from typing import cast

from llmd.engine.messages import Cost, Done, Generate, Partial, StopReason, TokenLogprob
from llmd.postprocess.stop import is_missing_body, stable_prefix, stop_at
from llmd.worker.kv_cache import CachePlan, DecodeOutcome, plan_cells
from llmd.worker.llama import Logits
from llmd.worker.prompt_tokens import LoadedModel, PromptTokens, tokenize_prompt
from llmd.worker.sampling import is_near_tie, logprob, runners_up, sample
from llmd.worker.token_healing import TokenIds

MAX_ALTERNATIVES = 8
PARTIAL_EVERY_S = 0.03  # chosen: two frames of a 60 Hz screen


@dataclass(slots=True)
class _Generation:
    """Holds the state of one request.

    `drafted`: draft tokens that the cache already holds and that are not generated yet. The next
    token is sampled from the logits of the cell before `drafted`.
    """

    engine: LoadedModel
    request: Generate
    prompt: PromptTokens
    max_tokens: int
    deadline_s: float
    is_cancelled: Callable[[], bool]
    emit: Callable[[Partial], None]
    drafted: list[int] = field(default_factory=list)
    pending_bytes: bytes = b""
    reason: str = ""
    text: str = ""
    n_healed: int = 0
    n_decoded: int = 0
    n_reevaluated: int = 0
    logprobs: list[float] = field(default_factory=list)  # of the first line
    tokens: list[TokenLogprob] = field(default_factory=list)  # of all, if the request wants them
    first_token_s: float = 0.0
    _is_drafted: bool = False  # the current logits were computed within the draft's batch
    _has_diverged: bool = False  # the alternative was already chosen
    _emitted: str = ""
    _emit_from_s: float = 0.0
    _utf8: codecs.IncrementalDecoder = field(
        default_factory=lambda: codecs.getincrementaldecoder("utf-8")("replace")
    )

    def is_stopped(self) -> bool:
        if self.is_cancelled():
            self.reason = "cancelled"
        elif time.monotonic() >= self.deadline_s:
            self.reason = "deadline"
        return bool(self.reason)

    def record_outcome(self, outcome: DecodeOutcome) -> bool:
        """Records why decoding stops, if `outcome` stops it. Returns True to continue."""
        if outcome == "full":
            self.reason = "context"
        elif outcome == "aborted" and not self.reason:
            self.reason = "cancelled"
        return outcome == "done"

    def prefill(self) -> tuple[int, int]:
        """Evaluates the prompt and its draft. Returns `(n_cached, n_evaluated)` in tokens."""
        cache = self.engine.cache
        self.pending_bytes = self.prompt.pending_bytes
        if cache.can_cut:  # the cells of a rejected draft have to be removed
            self.drafted = list(self.prompt.draft[: self.engine.context.n_batch - 1])
        tokens = [*self.prompt.tokens, *self.drafted]
        plan = plan_cells(cache.cells, tokens, len(self.drafted) + 1, cache.can_cut)
        outcome, n_cached, n_evaluated = cache.prefill(plan, self.is_stopped)
        self.record_outcome(outcome)
        return n_cached, n_evaluated

    def decode(self) -> None:
        """Samples and evaluates tokens until `reason` is set."""
        while not self.reason:
            ids, logits = self._candidates()
            if self._is_drafted and is_near_tie(logits):
                self._reevaluate_last()
                continue
            chosen = self._sample(logits)
            if self._diverges_at(_token(ids, chosen)):
                chosen = self._sample_alternative(ids, logits, chosen)
            if chosen < 0:
                self.reason = "alternative"
                break
            token = _token(ids, chosen)
            new_bytes = self._new_bytes(token)
            if new_bytes is not None:
                self._append(new_bytes, logits, chosen)
            if not self.reason and not self.is_stopped():
                self._advance(token)

    def _candidates(self) -> tuple[TokenIds | None, Logits]:
        """Returns the ids that may come next and their logits, both of shape `(n,)`.

        Ids of None mean the whole vocabulary.
        """
        logits = self.engine.context.logits(len(self.drafted))
        if not self.pending_bytes:
            return None, logits
        ids = self.engine.table.allowed(self.pending_bytes)
        return ids, logits[ids]

    def _new_bytes(self, token: int) -> bytes | None:
        """Returns the bytes that a token adds to the text.

        None: the token only covers bytes that token healing removed, or ends the text.
        """
        if self.pending_bytes:
            self.n_healed += 1
            piece = self.engine.vocabulary.piece(token)
            rest = piece[len(self.pending_bytes) :]
            self.pending_bytes = self.pending_bytes[len(piece) :]
            return rest or None
        if self._is_end(token):
            self.first_token_s = self.first_token_s or time.monotonic()
            self.reason = "eog"
            return None
        self.n_decoded += 1
        return self.engine.vocabulary.piece(token)

    def _is_end(self, token: int) -> bool:
        return token in self.engine.match.stop_ids or self.engine.vocabulary.is_eog(token)

    def _sample(self, logits: Logits) -> int:
        """Returns an index into `logits`. Excludes end tokens while a block has no body yet."""
        idx = -1 - self.n_healed if self.pending_bytes else self.n_decoded
        chosen = sample(logits, self.request.sampling, idx)
        is_ended = not self.pending_bytes and self._is_end(chosen)
        if is_ended and is_missing_body(self.text, self.request.stop):
            logits = logits.copy()
            while self._is_end(chosen):
                logits[chosen] = -math.inf
                chosen = sample(logits, self.request.sampling, idx)
        return chosen

    def _diverges_at(self, token: int) -> bool:
        """Returns whether an alternative departs from the best text here.

        An alternative departs at the first token that adds text.
        """
        if self._has_diverged or not self.request.alternative:
            return False
        n_bytes = len(self.engine.vocabulary.piece(token))
        return n_bytes > len(self.pending_bytes) or self._is_end(token)

    def _sample_alternative(self, ids: TokenIds | None, logits: Logits, drawn: int) -> int:
        """Returns the index into `logits` of the k-th runner-up; -1: fewer than k exist."""
        self._has_diverged = True
        k = self.request.alternative
        others = (
            idx for idx in runners_up(logits, drawn) if self._is_usable_start(_token(ids, idx))
        )
        return next(islice(others, k - 1, k), -1) if k <= MAX_ALTERNATIVES else -1

    def _is_usable_start(self, token: int) -> bool:
        """Returns whether a token adds text that the stop rule does not cut off at once."""
        piece = self.engine.vocabulary.piece(token)[len(self.pending_bytes) :]
        if not piece or self._is_end(token):
            return False
        stop_point = stop_at(piece.decode(errors="replace"), self.request.stop)
        return bool(stop_point.n_chars or not stop_point.reason)

    def _append(self, piece: bytes, logits: Logits, chosen: int) -> None:
        self.first_token_s = self.first_token_s or time.monotonic()
        is_first_line = "\n" not in self.text
        self.text += self._utf8.decode(piece)
        if is_first_line or self.request.wants_tokens:
            probability = logprob(logits, chosen)
            if is_first_line:
                self.logprobs.append(probability)
            if self.request.wants_tokens:
                self.tokens.append(TokenLogprob(len(self.text), round(probability, 4)))
        self.reason = stop_at(self.text, self.request.stop).reason
        if not self.reason and self.n_decoded >= self.max_tokens:
            self.reason = "tokens"
        if not self.reason and time.monotonic() >= self._emit_from_s:
            self._emit_stable(stable_prefix(self.text, self.request.stop))

    def _emit_stable(self, text: str) -> None:
        """Emits `text` if it grew. Rate limited: rendering competes for the same CPU cores."""
        if len(text) > len(self._emitted):
            self._emitted = text
            self._emit_from_s = time.monotonic() + PARTIAL_EVERY_S
            self.emit(Partial(self.request.id, text, tuple(self.tokens)))

    def _advance(self, token: int) -> None:
        """Accepts the draft's next token if it equals `token`, else replaces the draft."""
        if self.drafted and self.drafted[0] == token:
            del self.drafted[0]
            self._is_drafted = True
        else:
            self._evaluate(len(self.engine.cache.cells) - len(self.drafted), token)

    def _reevaluate_last(self) -> None:
        """Evaluates the last accepted token alone and drops the draft.

        Batch size changes logits slightly; on a near tie only a batch of one gives the same text
        as decoding without a draft.
        """
        last = len(self.engine.cache.cells) - len(self.drafted) - 1
        self._evaluate(last, self.engine.cache.cells[last])

    def _evaluate(self, n_keep: int, token: int) -> None:
        cache = self.engine.cache
        tokens = tuple(cache.cells[:n_keep])
        self.drafted, self._is_drafted = [], False
        if cache.keep(n_keep) < n_keep:  # a memory that cannot be cut was cleared
            outcome, _, n_evaluated = cache.prefill(CachePlan(0, tokens), self.is_stopped)
            self.n_reevaluated += n_evaluated
            if not self.record_outcome(outcome):
                return
        if len(cache.cells) >= cache.n_ctx:
            self.reason = "context"
        else:
            self.record_outcome(cache.decode([token]))


def _token(ids: TokenIds | None, idx: int) -> int:
    return idx if ids is None else int(ids[idx])


def generate(
    engine: LoadedModel,
    request: Generate,
    arrived_s: float,
    is_cancelled: Callable[[], bool],
    emit: Callable[[Partial], None],
) -> Done:
    """Runs one request. `arrived_s`: when the request reached the worker, on the monotonic clock.

    Raises:
        EngineError: llama.cpp failed (the cache may be empty), or the prompt does not fit.
    """
    started_s = time.monotonic()
    max_tokens = min(request.stop.max_tokens, engine.context.n_ctx // 2)
    deadline_s = arrived_s + request.stop.deadline_ms / 1000
    prompt = tokenize_prompt(engine, request.pieces, max_tokens)
    run = _Generation(engine, request, prompt, max_tokens, deadline_s, is_cancelled, emit)
    n_cached, n_prefill = run.prefill()
    prefilled_s = time.monotonic()
    if request.is_prefill or not max_tokens:
        run.reason = run.reason or "tokens"
    run.decode()
    final = stop_at(run.text, request.stop, is_final=True)  # counted as decode time
    ended_s = time.monotonic()
    cost = Cost(
        n_prompt=n_cached + n_prefill + run.n_reevaluated,
        n_cached=n_cached,
        n_prefill=n_prefill + run.n_reevaluated,
        n_healed=run.n_healed,
        n_decoded=run.n_decoded,
        queue_ms=_ms(started_s - arrived_s),
        prefill_ms=_ms(prefilled_s - started_s),
        ttft_ms=_ms(run.first_token_s - arrived_s) if run.first_token_s else 0.0,
        decode_ms=_ms(ended_s - prefilled_s),
        logprob_first=round(run.logprobs[0], 4) if run.logprobs else 0.0,
        logprob_line=round(sum(run.logprobs) / max(len(run.logprobs), 1), 4),
    )
    reason = cast(StopReason, run.reason or final.reason)
    return Done(request.id, run.text[: final.n_chars], reason, cost, tokens=tuple(run.tokens))


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 2)
