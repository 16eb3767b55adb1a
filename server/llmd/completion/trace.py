"""Records the cost of requests: one trace per request, sums, and the latest request of each file.

Identity: `n_prompt == n_cached + n_prefill`. Times are milliseconds of a monotonic clock.
Imports nothing but msgspec and engine.report: the command line decodes these objects.
"""

from __future__ import annotations

import time
from collections import Counter, OrderedDict, deque
from typing import Literal

import msgspec

from llmd.engine.report import Cost, TokenCost

TracePath = Literal[
    "cold", "warm", "reused", "prefetched", "superseded", "suppressed", "late", "failed"
]

# Fewer cached tokens than this is a cold start: a header and some markers always match.
WARM_MIN_CACHED = 16
MAX_DOCUMENTS = 256
TOKEN_COUNTS = TokenCost.__struct_fields__


class Trace(Cost, frozen=True, kw_only=True):
    """Describes one request, from its arrival to its reply.

    path: `cold` (fewer than 16 tokens cached), `warm`, `reused` (an earlier or running answer
        continues here; no tokens), `prefetched` (as `reused`, with an answer that was computed in
        the background), `superseded` (by a newer request), `suppressed` (not shown or not sent to
        the model, see `reason`), `late` (past the deadline) or `failed`
    reason: why the engine stopped, or why nothing is shown; `confidence`: `logprob_line` was below
        `completion.min_logprob`
    total_ms: time from the request's arrival in the daemon to its answer
    """

    path: TracePath
    reason: str = ""
    total_ms: float = 0.0


class RequestCounts(TokenCost, frozen=True):
    """Sums over all requests since the daemon started.

    requests: number of requests
    by_path: number of requests by the `path` of the trace
    """

    requests: int = 0
    by_path: dict[str, int] = msgspec.field(default_factory=dict)


class Quantiles(msgspec.Struct, frozen=True):
    """Holds two quantiles of a latency.

    p50: median
    p95: 95th percentile
    """

    p50: float = 0.0
    p95: float = 0.0


class Latency(msgspec.Struct, frozen=True):
    """Quantiles in milliseconds over the latest requests that the model answered.

    ttft_ms: as `ttft_ms` of a trace
    total_ms: as `total_ms` of a trace
    """

    ttft_ms: Quantiles = Quantiles()
    total_ms: Quantiles = Quantiles()


class EngineSpeed(msgspec.Struct, frozen=True):
    """Tokens per second of the engine's own time.

    prefill_tokens_per_s: 0: nothing was evaluated
    decode_tokens_per_s: 0: nothing was generated
    """

    prefill_tokens_per_s: float = 0.0
    decode_tokens_per_s: float = 0.0


class WindowLines(msgspec.Struct, frozen=True):
    """Describes the text that the model sees.

    first_line: first line in the window, from 1
    end_line: last line in the window, from 1
    n_prefix_chars: characters before the cursor
    n_suffix_chars: characters after the cursor
    """

    first_line: int
    end_line: int
    n_prefix_chars: int
    n_suffix_chars: int


class RequestStages(msgspec.Struct, frozen=True, kw_only=True):
    """Describes the latest request of a document, stage by stage, without any text.

    at_s: when the request ended, in seconds since the epoch
    file: path of the document, links followed
    line: line of the cursor, from 1
    col: column of the cursor, from 1, in characters
    invoked: true: requested by a key; false: while typing
    gate: why the request was refused; empty: the request passed
    window: the text that the model sees
    trace: tokens and times, see [A trace](#a-trace)
    stop: why the engine stopped
    n_chars_generated: characters that the engine generated
    n_chars_shown: characters that the editor received
    """

    at_s: float = 0.0
    file: str
    line: int
    col: int
    invoked: bool
    gate: str
    window: WindowLines | None
    trace: Trace
    stop: str
    n_chars_generated: int
    n_chars_shown: int


def trace_of(cost: Cost, path: TracePath, total_ms: float, reason: str = "") -> Trace:
    spent = msgspec.structs.asdict(cost)
    return Trace(**spent, path=path, reason=reason, total_ms=round(total_ms, 2))


class Totals:
    """Sums up requests since start, and keeps the latest latencies. Owned by the event loop."""

    KEPT_LATENCIES = 512

    def __init__(self) -> None:
        self.requests = 0
        self._by_path: Counter[str] = Counter()
        self._by_reason: Counter[str] = Counter()
        self._tokens: Counter[str] = Counter()
        self._spent_ms = {"prefill": 0.0, "decode": 0.0}
        self._ttft_ms: deque[float] = deque(maxlen=self.KEPT_LATENCIES)
        self._total_ms: deque[float] = deque(maxlen=self.KEPT_LATENCIES)

    def add(self, trace: Trace) -> None:
        self.requests += 1
        self._by_path[trace.path] += 1
        if trace.path == "suppressed":
            self._by_reason[trace.reason] += 1
        self._tokens.update({name: getattr(trace, name) for name in TOKEN_COUNTS})
        self._spent_ms["prefill"] += trace.prefill_ms
        self._spent_ms["decode"] += trace.decode_ms
        if trace.path in ("cold", "warm"):
            self._ttft_ms.append(trace.ttft_ms)
            self._total_ms.append(trace.total_ms)

    def counts(self) -> RequestCounts:
        tokens = {name: self._tokens[name] for name in TOKEN_COUNTS}
        return RequestCounts(self.requests, dict(self._by_path), **tokens)

    def speed(self) -> EngineSpeed:
        return EngineSpeed(
            self._tokens_per_s("prefill", "n_prefill"), self._tokens_per_s("decode", "n_decoded")
        )

    def suppressed(self) -> dict[str, int]:
        """Returns the number of suppressed requests by reason."""
        return dict(self._by_reason)

    def latency(self) -> Latency:
        return Latency(_quantiles(self._ttft_ms), _quantiles(self._total_ms))

    def _tokens_per_s(self, stage: str, count: str) -> float:
        spent_ms = self._spent_ms[stage]
        return round(1e3 * self._tokens[count] / spent_ms, 1) if spent_ms else 0.0


def _quantiles(values: deque[float]) -> Quantiles:
    ordered = sorted(values) or [0.0]
    indexes = (min(len(ordered) - 1, int(len(ordered) * share)) for share in (0.5, 0.95))
    return Quantiles(*(round(ordered[idx], 2) for idx in indexes))


class RequestHistory:
    """Keeps the latest request of each of the latest documents. Owned by the event loop."""

    def __init__(self) -> None:
        self._by_file: OrderedDict[str, RequestStages] = OrderedDict()

    def add(self, stages: RequestStages) -> None:
        at_s = round(time.time(), 3)
        self._by_file[stages.file] = msgspec.structs.replace(stages, at_s=at_s)
        self._by_file.move_to_end(stages.file)
        if len(self._by_file) > MAX_DOCUMENTS:
            self._by_file.popitem(last=False)

    def last(self, file: str = "") -> RequestStages | None:
        """Returns the latest request of `file`, or of all files where `file` is empty."""
        if file:
            return self._by_file.get(file)
        return next(reversed(self._by_file.values()), None)
