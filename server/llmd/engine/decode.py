"""One request: tokens, plan, prefill, decode, stop. Runs on the worker's main thread."""

from __future__ import annotations

import codecs
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from llmd.engine.cache import KvCache
from llmd.engine.frames import Done, Infer, StopReason
from llmd.engine.llama import Context, Vocabulary
from llmd.engine.plan import plan
from llmd.engine.sampling import sample
from llmd.postprocess.stop import cut, settled
from llmd.prompt.build import Piece
from llmd.prompt.families import Match, Role
from llmd.trace import Cost

# A prompt that does not fit loses whole blocks, so that its start stays while one types on.
TRIM_BLOCK = 256
N_MARKS_MAX = 8


@dataclass(slots=True)
class Clock:
    """Milliseconds since the request arrived in the worker."""

    arrived_s: float

    def ms(self) -> float:
        return 1e3 * (time.monotonic() - self.arrived_s)


@dataclass(slots=True)
class _Run:
    """What a request has spent and said so far."""

    n_cached: int = 0
    n_prefill: int = 0
    n_decoded: int = 0
    queue_ms: float = 0.0
    prefill_ms: float = 0.0
    ttft_ms: float = 0.0
    text: str = ""
    shown: str = ""
    utf8: codecs.IncrementalDecoder = field(
        default_factory=lambda: codecs.getincrementaldecoder("utf-8")("replace")
    )

    def cost(self, total_ms: float) -> Cost:
        return Cost(
            n_prompt=self.n_cached + self.n_prefill,
            n_cached=self.n_cached,
            n_prefill=self.n_prefill,
            n_decoded=self.n_decoded,
            queue_ms=round(self.queue_ms, 2),
            prefill_ms=round(self.prefill_ms, 2),
            ttft_ms=round(self.ttft_ms, 2),
            decode_ms=round(max(0.0, total_ms - self.queue_ms - self.prefill_ms), 2),
        )


class Engine:
    def __init__(self, context: Context, vocabulary: Vocabulary, match: Match) -> None:
        self.cache = KvCache(context)
        self._context = context
        self._vocabulary = vocabulary
        self._match = match

    def infer(
        self,
        request: Infer,
        clock: Clock,
        is_cancelled: Callable[[], bool],
        emit: Callable[[str], None],
    ) -> Done:
        """
        Raises:
            EngineError: llama.cpp failed; the cache is empty then.
        """
        run = _Run(queue_ms=clock.ms())
        deadline_ms = request.stop.deadline_ms

        def is_over() -> bool:
            return is_cancelled() or clock.ms() > deadline_ms

        reason = self._prefill(request, run, clock, is_over)
        if not reason:
            reason = self._decode(request, run, clock, is_over, emit)
        if reason == "over":
            reason = "cancelled" if is_cancelled() else "deadline"
        run.text += run.utf8.decode(b"", final=True)
        kept = cut(run.text, request.stop, is_final=True)
        text = "" if reason == "cancelled" else run.text[: kept.n_chars]
        return Done(request.id, text, _reason(reason, kept.reason), run.cost(clock.ms()))

    def _prefill(self, request: Infer, run: _Run, clock: Clock, is_over: Callable[[], bool]) -> str:
        wanted = self.tokens(request.pieces, self._context.n_ctx - request.stop.max_tokens)
        todo = self.cache.apply(plan(self.cache.cells, wanted))
        run.n_cached = len(self.cache.cells)
        run.n_prefill = self.cache.evaluate(todo, is_over)
        run.prefill_ms = clock.ms() - run.queue_ms
        # A prompt that was not sent whole still counts whole: what it lacks was not cached.
        return "" if len(self.cache.cells) == len(wanted) else "over"

    def _decode(
        self,
        request: Infer,
        run: _Run,
        clock: Clock,
        is_over: Callable[[], bool],
        emit: Callable[[str], None],
    ) -> str:
        for index in range(request.stop.max_tokens):
            if is_over():
                return "over"
            token = sample(self._context.logits(), index, request.sampling)
            run.ttft_ms = run.ttft_ms or clock.ms()
            run.n_decoded += 1
            if self._vocabulary.is_eog(token) or token in self._match.stop_ids:
                return "eog"
            run.text += run.utf8.decode(self._vocabulary.piece(token))
            if reason := cut(run.text, request.stop).reason:
                return reason
            self._show(request, run, emit)
            if len(self.cache.cells) >= self._context.n_ctx:
                return "context"
            if index + 1 < request.stop.max_tokens:
                self.cache.evaluate((token,), is_over)
        return "tokens"

    def _show(self, request: Infer, run: _Run, emit: Callable[[str], None]) -> None:
        sure = settled(run.text, request.stop)
        if len(sure) > len(run.shown):
            run.shown = sure
            emit(sure)

    def tokens(self, pieces: tuple[Piece, ...], n_max: int) -> tuple[int, ...]:
        """The prompt in tokens, the prefix's start and the suffix's end cut where it is long."""
        parts = {i: self._piece(piece) for i, piece in enumerate(pieces)}
        names = {piece.name: i for i, piece in enumerate(pieces)}
        over = sum(map(len, parts.values())) + N_MARKS_MAX - n_max
        if over > 0 and (suffix := names.get("suffix")) is not None:
            n_cut = min(_blocks(over), max(0, len(parts[suffix]) - n_max // 4))
            parts[suffix] = parts[suffix][: len(parts[suffix]) - n_cut]
            over -= n_cut
        if over > 0:
            parts[names["prefix"]] = parts[names["prefix"]][_blocks(over) :]
        prompt = tuple(token for part in parts.values() for token in part)
        return self._vocabulary.opening + (prompt or self._vocabulary.tokenize("\n"))

    def _piece(self, piece: Piece) -> tuple[int, ...]:
        match piece.name:
            case "pre" | "suf" | "mid":
                role: Role = piece.name
                return (self._match.roles[role],)
            case "token":
                found = self._vocabulary.find(piece.text)
                return () if found is None else (found,)
            case _:
                return self._vocabulary.tokenize(piece.text)


def _blocks(n_tokens: int) -> int:
    return -(-n_tokens // TRIM_BLOCK) * TRIM_BLOCK


def _reason(ended: str, cut_by: str) -> StopReason:
    return (cut_by or ended) if ended in ("eog", "tokens") else ended  # type: ignore[return-value]
