"""What one request cost, in the words that status, logs and benchmarks share.

Identity: `n_prompt == n_cached + n_prefill`. Times are milliseconds of a monotonic clock.
"""

from __future__ import annotations

import time
from collections import Counter, OrderedDict, deque
from typing import Any, Literal

import msgspec

from llmd.engine.messages import Cost

TracePath = Literal[
    "cold", "warm", "reused", "prefetched", "superseded", "suppressed", "late", "failed"
]

# Fewer cached tokens than this is a cold start: a header and some markers always match.
WARM_MIN_CACHED = 16


TOKEN_COUNTS = tuple(name for name in Cost.__struct_fields__ if name.startswith("n_"))


class Trace(Cost, frozen=True, kw_only=True):
    """One request, from its arrival to its reply."""

    path: TracePath
    reason: str = ""
    total_ms: float = 0.0


def trace_of(cost: Cost, path: TracePath, total_ms: float, reason: str = "") -> Trace:
    spent = msgspec.structs.asdict(cost)
    return Trace(**spent, path=path, reason=reason, total_ms=round(total_ms, 2))


class Totals:
    """Sums since start, and the latest latencies. Owned by the event loop."""

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

    def counts(self) -> dict[str, object]:
        tokens = {name: self._tokens[name] for name in TOKEN_COUNTS}
        return {"requests": self.requests, "by_path": dict(self._by_path), **tokens}

    def speed(self) -> dict[str, float]:
        """Tokens per second of the engine's own time."""
        return {
            f"{stage}_tokens_per_s": round(1e3 * n_tokens / self._spent_ms[stage], 1)
            if self._spent_ms[stage]
            else 0.0
            for stage, n_tokens in (
                ("prefill", self._tokens["n_prefill"]),
                ("decode", self._tokens["n_decoded"]),
            )
        }

    def suppressed(self) -> dict[str, int]:
        return dict(self._by_reason)

    def latency(self) -> dict[str, dict[str, float]]:
        return {"ttft_ms": _quantiles(self._ttft_ms), "total_ms": _quantiles(self._total_ms)}


def _quantiles(values: deque[float]) -> dict[str, float]:
    ordered = sorted(values) or [0.0]
    return {
        name: round(ordered[min(len(ordered) - 1, int(len(ordered) * share))], 2)
        for name, share in (("p50", 0.5), ("p95", 0.95))
    }


MAX_DOCUMENTS = 256


class WindowLines(msgspec.Struct, frozen=True):
    """Lines count from 1; `end_line` is the last one in the window."""

    first_line: int
    end_line: int
    n_prefix_chars: int
    n_suffix_chars: int


class RequestStages(msgspec.Struct, frozen=True):
    file: str  # its path, links followed
    line: int  # from 1
    col: int  # from 1, in characters
    invoked: bool
    gate: str  # the reason it was refused; empty: passed
    window: WindowLines | None
    trace: Trace
    stop: str  # why the engine stopped
    n_chars_generated: int
    n_chars_shown: int


class RequestHistory:
    """The latest request of each of the latest documents. Owned by the event loop."""

    def __init__(self) -> None:
        self._by_file: OrderedDict[str, tuple[float, RequestStages]] = OrderedDict()

    def add(self, stages: RequestStages) -> None:
        self._by_file[stages.file] = (time.time(), stages)
        self._by_file.move_to_end(stages.file)
        if len(self._by_file) > MAX_DOCUMENTS:
            self._by_file.popitem(last=False)

    def last(self, file: str = "") -> dict[str, Any] | None:
        """Of that file, or of any where `file` is empty; None where there was none."""
        found = self._by_file.get(file) if file else next(reversed(self._by_file.values()), None)
        if found is None:
            return None
        at_s, stages = found
        return {"at_s": round(at_s, 3), **msgspec.to_builtins(stages)}
