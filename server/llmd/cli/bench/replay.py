"""Drives a backend through scripts as an editor would: an edit, a request, the next edit."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest

import msgspec

from llmd.cli.bench.backend import (
    Backend,
    OpenDocument,
    ReplayOutcome,
    TimedCompletion,
    TokenCounts,
    TokenUsage,
)
from llmd.cli.bench.edit_script import EditAction, EditKind, Script
from llmd.cli.eval.score import n_kept
from llmd.cli.eval.trace_pauses import apply_patches

REST_S = 0.3  # how long the cursor rests before the first key after a jump


@dataclass(frozen=True, slots=True)
class Pace:
    """Describes how fast edits follow each other. `key_ms`: the time between two keys; 0: each
    edit waits for the reply. `has_cursor_rests`: the backend learns where the cursor rests,
    REST_S before the first key after a jump. `has_warm_up`: each document begins with a request
    that is not counted."""

    key_ms: float = 0.0
    has_cursor_rests: bool = False
    has_warm_up: bool = False


class ReplayRow(msgspec.Struct, frozen=True):
    """Holds one edit and its completion. `n_kept` of the `n_shown` characters were then typed."""

    document: int
    kind: EditKind
    outcome: ReplayOutcome
    n_prefill: int
    n_healed: int
    n_decoded: int
    prefill_ms: float
    engine_ms: float
    ttft_ms: float | None
    total_ms: float
    n_shown: int
    n_kept: int


class ReplayResult(msgspec.Struct, frozen=True):
    """Holds all rows, and in prompt tokens what was spent on cancelled requests (`n_cancelled`)
    and on background work. None: the backend has no such figures."""

    rows: tuple[ReplayRow, ...]
    n_cancelled: int | None = None
    background: TokenCounts | None = None


async def replay(
    backend: Backend, scripts: Sequence[Script], pace: Pace, advance: Callable[[str], None]
) -> ReplayResult:
    """
    Raises:
        LlmdError: the backend does not answer.
    """
    documents = []
    for number, script in enumerate(scripts):
        uri, start = f"file:///bench/{number}/{script.name}", script.actions[0].start
        documents.append(OpenDocument(uri, script.name, script.text, start))
    for document in documents:
        await backend.open(document)
        if pace.has_warm_up:
            await backend.request(document)
    n_warm_up = len(documents) if pace.has_warm_up else 0
    before = await backend.token_usage(n_warm_up)
    sent: list[tuple[int, EditAction, asyncio.Future[TimedCompletion]]] = []
    due_s = time.monotonic()
    for number, action in interleave(scripts):
        running, document = sent[-1][2] if sent else None, documents[number]
        if running and not pace.key_ms:
            await running
        await asyncio.sleep(max(0.0, due_s - time.monotonic()))
        if running and not running.done():
            backend.cancel()
        if pace.has_cursor_rests and action.kind == "jump":
            document.caret = action.start
            backend.cursor_idle(document)
            await asyncio.sleep(REST_S)
        due_s = max(due_s, time.monotonic()) + pace.key_ms / 1e3
        backend.edit(document, action.patches)
        document.text = apply_patches(document.text, action.patches)
        document.caret = action.caret
        sent.append((number, action, backend.request(document)))
        advance(backend.name)
    rows = [_row(number, action, await completion) for number, action, completion in sent]
    return replay_result(rows, before, await backend.token_usage(n_warm_up + len(rows)))


def interleave(scripts: Sequence[Script]) -> Iterator[tuple[int, EditAction]]:
    """Yields one action of each document, then the next of each."""
    for together in zip_longest(*(script.actions for script in scripts)):
        for number, action in enumerate(together):
            if action is not None:
                yield number, action


def _row(number: int, action: EditAction, completion: TimedCompletion) -> ReplayRow:
    shared = set(ReplayRow.__struct_fields__) & set(TimedCompletion.__struct_fields__)
    return ReplayRow(
        document=number,
        kind=action.kind,
        n_shown=len(completion.text),
        n_kept=n_kept(completion.text, action.typed),
        **{name: getattr(completion, name) for name in shared},
    )


def replay_result(
    rows: Sequence[ReplayRow], before: TokenUsage | None, after: TokenUsage | None
) -> ReplayResult:
    """Attributes the tokens that no completion accounts for to cancelled requests."""
    if before is None or after is None:
        return ReplayResult(tuple(rows))
    requested = after.counts.minus(before.counts)
    n_reported = sum(row.n_prefill + row.n_healed for row in rows)
    return ReplayResult(
        rows=tuple(rows),
        n_cancelled=requested.n_prefill + requested.n_healed - n_reported,
        background=after.background.minus(before.background),
    )
