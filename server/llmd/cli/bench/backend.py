"""What is measured: something that follows a document and completes at its cursor."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import msgspec

from llmd.cli.eval.trace_pauses import Patch

Outcome = Literal["model", "memory", "suppressed", "cancelled", "failed"]

_OF_PATH: dict[str, Outcome] = {
    "cold": "model",
    "warm": "model",
    "late": "model",
    "reused": "memory",
    "prefetched": "memory",
    "suppressed": "suppressed",
    "superseded": "cancelled",
}


def outcome_of(path: str) -> Outcome:
    """Who answered, by the path of a trace (docs/PROTOCOL.md)."""
    return _OF_PATH.get(path, "failed")


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """Times are the client's clock, from sending the request: to the first text (None where none
    came) and to the answer. What the engine spent is its own: tokens, and the ms it took, of which
    `engine_ms` is all."""

    outcome: Outcome
    text: str = ""
    ttft_ms: float | None = None
    total_ms: float = 0.0
    n_prefill: int = 0
    n_healed: int = 0
    n_decoded: int = 0
    prefill_ms: float = 0.0
    engine_ms: float = 0.0


CANCELLED = Answer(outcome="cancelled")


class Tokens(msgspec.Struct, frozen=True):
    """Of many requests together."""

    requests: int = 0
    n_prefill: int = 0
    n_healed: int = 0
    n_decoded: int = 0

    def less(self, other: Tokens) -> Tokens:
        pairs = zip(msgspec.structs.astuple(self), msgspec.structs.astuple(other), strict=True)
        return Tokens(*(mine - theirs for mine, theirs in pairs))


class Spent(msgspec.Struct, frozen=True):
    """What a side has spent since it was made: on all that was asked, and on what was not."""

    asked: Tokens = Tokens()
    background: Tokens = Tokens()


@dataclass(slots=True)
class Copy:
    """A document that one side has open. Lines end with \\n alone."""

    uri: str
    name: str
    text: str
    caret: int = 0
    version: int = 1


@dataclass(frozen=True, slots=True)
class Place:
    """As LSP has it, in characters."""

    line: int
    character: int


def place_at(text: str, offset: int) -> Place:
    return Place(text.count("\n", 0, offset), offset - (text.rfind("\n", 0, offset) + 1))


class Side(Protocol):
    """`name` is a column's title, `version` says what it is. One request at a time."""

    name: str
    version: str

    async def open(self, copy: Copy) -> None: ...

    def edit(self, copy: Copy, patches: Sequence[Patch]) -> None:
        """`copy` is as it was before."""

    def rest(self, copy: Copy) -> None:
        """The cursor has come to rest where `copy` has it."""

    def ask(self, copy: Copy) -> asyncio.Future[Answer]:
        """Sends a request at once."""

    def cancel(self) -> None:
        """Of the running request; it is still answered."""

    async def spent(self, n_asked: int) -> Spent | None:
        """Once `n_asked` requests are accounted for; None where it does not say."""
