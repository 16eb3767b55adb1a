"""What is measured: something that follows a document and completes at its cursor."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import msgspec

from llmd.cli.eval.trace_pauses import Patch

ReplayOutcome = Literal["model", "memory", "suppressed", "cancelled", "failed"]

_OF_PATH: dict[str, ReplayOutcome] = {
    "cold": "model",
    "warm": "model",
    "late": "model",
    "reused": "memory",
    "prefetched": "memory",
    "suppressed": "suppressed",
    "superseded": "cancelled",
}


def outcome_of_path(path: str) -> ReplayOutcome:
    """Who answered, by the path of a trace (docs/PROTOCOL.md)."""
    return _OF_PATH.get(path, "failed")


class TimedCompletion(msgspec.Struct, frozen=True, kw_only=True):
    """Times are the client's clock, from sending the request: to the first text (None where none
    came) and to the answer. What the engine spent is its own: tokens, and the ms it took, of which
    `engine_ms` is all."""

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
    """Of many requests together."""

    requests: int = 0
    n_prefill: int = 0
    n_healed: int = 0
    n_decoded: int = 0

    def minus(self, other: TokenCounts) -> TokenCounts:
        pairs = zip(msgspec.structs.astuple(self), msgspec.structs.astuple(other), strict=True)
        return TokenCounts(*(mine - theirs for mine, theirs in pairs))


class TokenUsage(msgspec.Struct, frozen=True):
    """What a side has spent since it was made: on all that was asked, and on what was not."""

    requested: TokenCounts = TokenCounts()
    background: TokenCounts = TokenCounts()


@dataclass(slots=True)
class OpenDocument:
    """A document that one side has open. Lines end with \\n alone."""

    uri: str
    name: str
    text: str
    caret: int = 0
    version: int = 1


@dataclass(frozen=True, slots=True)
class LspPosition:
    """As LSP has it, in characters."""

    line: int
    character: int


def position_at(text: str, offset: int) -> LspPosition:
    return LspPosition(text.count("\n", 0, offset), offset - (text.rfind("\n", 0, offset) + 1))


class Backend(Protocol):
    """`name` is a column's title, `version` says what it is. One request at a time."""

    name: str
    version: str

    async def open(self, document: OpenDocument) -> None: ...

    def edit(self, document: OpenDocument, patches: Sequence[Patch]) -> None:
        """`document` is as it was before."""

    def cursor_idle(self, document: OpenDocument) -> None:
        """The cursor has come to rest where `document` has it."""

    def request(self, document: OpenDocument) -> asyncio.Future[TimedCompletion]:
        """Sends a request at once."""

    def cancel(self) -> None:
        """Of the running request; it is still answered."""

    async def token_usage(self, n_asked: int) -> TokenUsage | None:
        """Once `n_asked` requests are accounted for; None where it does not say."""
