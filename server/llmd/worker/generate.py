"""One request in the worker: pieces to tokens, prefill, decode, stop. Runs in its main thread.

It is given what it depends on (vocabulary, cache, clock by `arrived_s`), and leaves the cache
holding what was evaluated, so that the next request of the document begins there.
"""

from __future__ import annotations

import codecs
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice
from typing import cast

from llmd.engine.messages import Cost, Done, Generate, StopReason
from llmd.postprocess.stop import is_missing_body, stable_prefix, stop_at
from llmd.worker.kv_cache import CachePlan, DecodeOutcome, plan_cells
from llmd.worker.llama import Logits
from llmd.worker.prompt_tokens import LoadedModel, PromptTokens, tokenize_prompt
from llmd.worker.sampling import is_near_tie, logprob, runners_up, sample
from llmd.worker.token_healing import TokenIds

MAX_ALTERNATIVES = 8
PARTIAL_EVERY_S = 0.03  # chosen: two frames of a screen


@dataclass(slots=True)
class _Generation:
    """The state of one request.

    `ahead`: tokens of the draft whose cells are there and which were not generated yet; the logits
    looked at are those before them.
    """

    engine: LoadedModel
    request: Generate
    prompt: PromptTokens
    max_tokens: int
    deadline_s: float
    is_cancelled: Callable[[], bool]
    emit: Callable[[str], None]
    drafted: list[int] = field(default_factory=list)
    pending_bytes: bytes = b""
    reason: str = ""
    text: str = ""
    n_healed: int = 0
    n_decoded: int = 0
    n_reevaluated: int = 0
    logprobs: list[float] = field(default_factory=list)
    first_token_s: float = 0.0
    _is_drafted: bool = False  # the logits come from a token of the draft
    _has_diverged: bool = False  # an alternative has parted from the text proper
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
        """Whether to go on."""
        if outcome == "full":
            self.reason = "context"
        elif outcome == "aborted" and not self.reason:
            self.reason = "cancelled"
        return outcome == "done"

    def prefill(self) -> tuple[int, int]:
        """Evaluates the prompt and its draft. Returns the tokens kept and those evaluated."""
        cache = self.engine.cache
        self.pending_bytes = self.prompt.pending_bytes
        if cache.can_cut:  # a draft that fails is taken back
            self.drafted = list(self.prompt.draft[: self.engine.context.n_batch - 1])
        wanted = [*self.prompt.tokens, *self.drafted]
        todo = plan_cells(cache.cells, wanted, len(self.drafted) + 1, cache.can_cut)
        outcome, n_cached, n_evaluated = cache.prefill(todo, self.is_stopped)
        self.record_outcome(outcome)
        return n_cached, n_evaluated

    def decode(self) -> None:
        """Samples and evaluates until a reason to stop is found."""
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
            said = self._new_bytes(token)
            if said is not None:
                self._record_logprob(logits, chosen)
                self._append(said)
            if not self.reason and not self.is_stopped():
                self._advance(token)

    def _candidates(self) -> tuple[TokenIds | None, Logits]:
        """The tokens that may come next and their logits; None: all tokens."""
        logits = self.engine.context.logits(len(self.drafted))
        if not self.pending_bytes:
            return None, logits
        ids = self.engine.table.allowed(self.pending_bytes)
        return ids, logits[ids]

    def _new_bytes(self, token: int) -> bytes | None:
        """What a token adds to the text; None where it adds nothing: it pays for owed bytes only,
        or ends the text."""
        if self.pending_bytes:
            self.n_healed += 1
            piece = self.engine.vocabulary.piece(token)
            rest, self.pending_bytes = (
                piece[len(self.pending_bytes) :],
                self.pending_bytes[len(piece) :],
            )
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
        """An index of `logits`; no end of the text where a block has no body yet."""
        idx = -1 - self.n_healed if self.pending_bytes else self.n_decoded
        chosen = sample(logits, self.request.sampling, idx)
        if (
            not self.pending_bytes
            and self._is_end(chosen)
            and is_missing_body(self.text, self.request.stop)
        ):
            logits = logits.copy()
            while self._is_end(chosen):
                logits[chosen] = -math.inf
                chosen = sample(logits, self.request.sampling, idx)
        return chosen

    def _diverges_at(self, token: int) -> bool:
        """Whether an alternative says something else here: at the first token that gives text."""
        if self._has_diverged or not self.request.alternative:
            return False
        return self._is_end(token) or len(self.engine.vocabulary.piece(token)) > len(
            self.pending_bytes
        )

    def _sample_alternative(self, ids: TokenIds | None, logits: Logits, drawn: int) -> int:
        """An index of `logits`; -1: there are not so many."""
        self._has_diverged = True
        k = self.request.alternative
        others = (
            idx for idx in runners_up(logits, drawn) if self._is_usable_start(_token(ids, idx))
        )
        return next(islice(others, k - 1, k), -1) if k <= MAX_ALTERNATIVES else -1

    def _is_usable_start(self, token: int) -> bool:
        """Whether it gives text that the rule does not end at once."""
        piece = self.engine.vocabulary.piece(token)[len(self.pending_bytes) :]
        if not piece or self._is_end(token):
            return False
        found = stop_at(piece.decode(errors="replace"), self.request.stop)
        return bool(found.n_chars or not found.reason)

    def _append(self, piece: bytes) -> None:
        self.first_token_s = self.first_token_s or time.monotonic()
        self.text += self._utf8.decode(piece)
        self.reason = stop_at(self.text, self.request.stop).reason
        if not self.reason and self.n_decoded >= self.max_tokens:
            self.reason = "tokens"
        if not self.reason and time.monotonic() >= self._emit_from_s:
            self._emit_stable(stable_prefix(self.text, self.request.stop))

    def _emit_stable(self, said: str) -> None:
        """Whoever shows it works on the same cores: not more often than it can be read."""
        if len(said) > len(self._emitted):
            self._emitted = said
            self._emit_from_s = time.monotonic() + PARTIAL_EVERY_S
            self.emit(said)

    def _record_logprob(self, logits: Logits, chosen: int) -> None:
        if "\n" not in self.text:
            self.logprobs.append(logprob(logits, chosen))

    def _advance(self, token: int) -> None:
        """The draft's next token is there already; anything else takes the draft's place."""
        if self.drafted and self.drafted[0] == token:
            del self.drafted[0]
            self._is_drafted = True
        else:
            self._evaluate(len(self.engine.cache.cells) - len(self.drafted), token)

    def _reevaluate_last(self) -> None:
        """The draft's last confirmed token alone, so that text with a draft equals text without."""
        last = len(self.engine.cache.cells) - len(self.drafted) - 1
        self._evaluate(last, self.engine.cache.cells[last])

    def _evaluate(self, n_keep: int, token: int) -> None:
        cache = self.engine.cache
        kept = tuple(cache.cells[:n_keep])
        self.drafted, self._is_drafted = [], False
        if cache.keep(n_keep) < n_keep:  # a memory that cannot be cut was cleared
            outcome, _, n_evaluated = cache.prefill(CachePlan(0, 0, kept), self.is_stopped)
            self.n_reevaluated += n_evaluated
            if not self.record_outcome(outcome):
                return
        if cache.is_full:
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
    emit: Callable[[str], None],
) -> Done:
    """Answers one request. `arrived_s` is when its frame came in, on the monotonic clock.

    Raises:
        EngineError: llama.cpp failed, or the prompt cannot be made; the cache may be empty.
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
    final = stop_at(run.text, request.stop, is_final=True)  # as after each token: a part of decode
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
    return Done(request.id, run.text[: final.n_chars], reason, cost)


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 2)
