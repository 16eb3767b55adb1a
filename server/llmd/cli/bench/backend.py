"""Defines what a benchmark measures: a backend that follows documents and completes at a cursor."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, get_args

import msgspec

from llmd.cli.eval.trace_pauses import Patch
from llmd.completion.trace import TracePath

ReplayOutcome = Literal["model", "memory", "suppressed", "cancelled", "failed"]
OUTCOMES: tuple[ReplayOutcome, ...] = get_args(ReplayOutcome)
OUTCOME_BY_PATH: dict[TracePath, ReplayOutcome] = {
    "cold": "model",
    "warm": "model",
    "late": "model",
    "reused": "memory",
    "prefetched": "memory",
    "suppressed": "suppressed",
    "superseded": "cancelled",
    "failed": "failed",
}


class TimedCompletion(msgspec.Struct, frozen=True, kw_only=True):
    """Holds a completion and its cost. `ttft_ms` and `total_ms` are on the client's clock, from
    sending the request to the first text (None if there was no text) and to the reply. The engine
    reports the tokens, `prefill_ms`, and `engine_ms`, which is all of the engine's time."""

    outcome: ReplayOutcome
    text: str = ""
    ttft_ms: float | None = None
    total_ms: float = 0.0
    n_prefill: int = 0
    n_healed: int = 0
    n_decoded: int = 0
    prefill_ms: float = 0.0
    engine_ms: float = 0.0


CANCELLED = TimedCompletion(outcome="cancelled")


class TokenCounts(msgspec.Struct, frozen=True):
    """Sums the tokens of many requests."""

    requests: int = 0
    n_prefill: int = 0
    n_healed: int = 0
    n_decoded: int = 0

    def minus(self, other: TokenCounts) -> TokenCounts:
        pairs = zip(msgspec.structs.astuple(self), msgspec.structs.astuple(other), strict=True)
        return TokenCounts(*(left - right for left, right in pairs))


class TokenUsage(msgspec.Struct, frozen=True):
    """Sums what a backend has spent since its start, on requests (`counts`) and on background
    work."""

    counts: TokenCounts
    background: TokenCounts


@dataclass(slots=True)
class OpenDocument:
    """Holds a document that a backend has open. Lines end with \\n alone; `caret` counts
    characters."""

    uri: str
    name: str
    text: str
    caret: int = 0
    version: int = 1


@dataclass(frozen=True, slots=True)
class LspPosition:
    """Holds a position as LSP has it, with `character` in characters (UTF-32)."""

    line: int
    character: int


def position_at(text: str, offset: int) -> LspPosition:
    return LspPosition(text.count("\n", 0, offset), offset - (text.rfind("\n", 0, offset) + 1))


class Backend(Protocol):
    """Completes one request at a time. `name` is the title of a table's column, `version`
    describes the backend."""

    name: str
    version: str

    async def open(self, document: OpenDocument) -> None: ...

    def edit(self, document: OpenDocument, patches: Sequence[Patch]) -> None:
        """Sends an edit. `document` holds the text from before the edit."""

    def cursor_idle(self, document: OpenDocument) -> None:
        """Reports that the cursor has come to rest at `document.caret`."""

    def request(self, document: OpenDocument) -> asyncio.Future[TimedCompletion]:
        """Sends a request at once."""

    def cancel(self) -> None:
        """Cancels the running request, whose future then has the outcome `cancelled`."""

    async def token_usage(self, n_requests: int) -> TokenUsage | None:
        """Returns the usage when it covers `n_requests` requests; None if the backend has no
        such figures."""
