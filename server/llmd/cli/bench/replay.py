"""A backend driven through scripts as an editor drives it: an edit, a request, the next edit."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile, zip_longest

import msgspec

from llmd.cli.bench.backend import (
    Backend,
    OpenDocument,
    ReplayOutcome,
    TimedCompletion,
    TokenCounts,
    TokenUsage,
)
from llmd.cli.bench.trace import EditAction, EditKind, Script, apply_patches

REST_S = 0.3  # the cursor rests so long before the first key after a jump

Advance = Callable[[str], None]
Asked = tuple[int, EditAction, asyncio.Future[TimedCompletion]]


@dataclass(frozen=True, slots=True)
class Pace:
    """`key_ms`: from one key to the next; 0: as fast as answers come. `rests`: the backend is told
    where the cursor rests, REST_S before the first key after a jump. `warms_up`: a request for
    each document comes first, which is not counted."""

    key_ms: float = 0.0
    has_cursor_rests: bool = False
    has_warm_up: bool = False


class ReplayRow(msgspec.Struct, frozen=True):
    """One edit and what was answered. `n_kept`: how many of the characters shown were typed."""

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
    """`n_cancelled`: prompt tokens spent on answers that nobody got; `background`: on what nobody
    asked for. None where the backend does not say."""

    rows: tuple[ReplayRow, ...]
    n_cancelled: int | None = None
    background: TokenCounts | None = None


async def replay(
    backend: Backend, scripts: Sequence[Script], pace: Pace, advance: Advance
) -> ReplayResult:
    """
    Raises:
        LlmdError: the backend gives no answers.
    """
    documents = [_open_document(number, script) for number, script in enumerate(scripts)]
    for document in documents:
        await backend.open(document)
        if pace.has_warm_up:
            await backend.request(document)
    n_first = len(documents) if pace.has_warm_up else 0
    before = await backend.token_usage(n_first)
    asked = await _play(backend, documents, scripts, pace, advance)
    rows = [_row(number, action, await answer) for number, action, answer in asked]
    return replay_result(rows, before, await backend.token_usage(n_first + len(rows)))


def _open_document(number: int, script: Script) -> OpenDocument:
    return OpenDocument(
        f"file:///bench/{number}/{script.name}", script.name, script.text, script.start
    )


async def _play(
    backend: Backend,
    documents: Sequence[OpenDocument],
    scripts: Sequence[Script],
    pace: Pace,
    advance: Advance,
) -> list[Asked]:
    asked: list[Asked] = []
    due_s = time.monotonic()
    for number, action in interleave(scripts):
        running = asked[-1][2] if asked else None
        if running and not pace.key_ms:
            await running
        await asyncio.sleep(max(0.0, due_s - time.monotonic()))
        if running and not running.done():
            backend.cancel()
        if pace.has_cursor_rests and action.kind == "jump":
            await _pause_at(backend, documents[number], action.start)
        due_s = max(due_s, time.monotonic()) + pace.key_ms / 1e3
        asked.append((number, action, _apply_and_request(backend, documents[number], action)))
        advance(backend.name)
    return asked


def interleave(scripts: Sequence[Script]) -> Iterator[tuple[int, EditAction]]:
    """An action of each document, then the next of each."""
    for together in zip_longest(*(script.actions for script in scripts)):
        for number, action in enumerate(together):
            if action is not None:
                yield number, action


async def _pause_at(backend: Backend, document: OpenDocument, caret: int) -> None:
    document.caret = caret
    backend.cursor_idle(document)
    await asyncio.sleep(REST_S)


def _apply_and_request(
    backend: Backend, document: OpenDocument, action: EditAction
) -> asyncio.Future[TimedCompletion]:
    backend.edit(document, action.patches)
    document.text, document.caret = apply_patches(document.text, action.patches), action.caret
    return backend.request(document)


def _row(number: int, action: EditAction, answer: TimedCompletion) -> ReplayRow:
    n_kept = common_prefix_len(answer.text, action.typed)
    spent = {
        name: getattr(answer, name) for name in ReplayRow.__struct_fields__ if hasattr(answer, name)
    }
    n_shown = len(answer.text)
    return ReplayRow(document=number, kind=action.kind, n_shown=n_shown, n_kept=n_kept, **spent)


def common_prefix_len(left: str, right: str) -> int:
    """The length of the common beginning."""
    pairs = takewhile(lambda pair: pair[0] == pair[1], zip(left, right, strict=False))
    return sum(1 for _ in pairs)


def replay_result(
    rows: Sequence[ReplayRow], before: TokenUsage | None, after: TokenUsage | None
) -> ReplayResult:
    """What answers do not account for was spent on those that were cancelled."""
    if before is None or after is None:
        return ReplayResult(tuple(rows))
    asked = after.requested.minus(before.requested)
    told = sum(row.n_prefill + row.n_healed for row in rows)
    return ReplayResult(
        rows=tuple(rows),
        n_cancelled=asked.n_prefill + asked.n_healed - told,
        background=after.background.minus(before.background),
    )
