"""A side driven through scripts as an editor drives it: an edit, a request, the next edit."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile, zip_longest

import msgspec

from llmd.cli.bench.backend import Answer, Copy, Outcome, Side, Spent, Tokens
from llmd.cli.bench.trace import Action, Kind, Script, applied

REST_S = 0.3  # the cursor rests so long before the first key after a jump

Advance = Callable[[str], None]
Asked = tuple[int, Action, asyncio.Future[Answer]]


@dataclass(frozen=True, slots=True)
class Pace:
    """`key_ms`: from one key to the next; 0: as fast as answers come. `rests`: the side is told
    where the cursor rests, REST_S before the first key after a jump. `warms_up`: a request for
    each document comes first, which is not counted."""

    key_ms: float = 0.0
    rests: bool = False
    warms_up: bool = False


class Row(msgspec.Struct, frozen=True):
    """One edit and what was answered. `n_kept`: how many of the characters shown were typed."""

    document: int
    kind: Kind
    outcome: Outcome
    n_prefill: int
    n_healed: int
    n_decoded: int
    prefill_ms: float
    engine_ms: float
    ttft_ms: float | None
    total_ms: float
    n_shown: int
    n_kept: int


class Replayed(msgspec.Struct, frozen=True):
    """`n_cancelled`: prompt tokens spent on answers that nobody got; `background`: on what nobody
    asked for. None where the side does not say."""

    rows: tuple[Row, ...]
    n_cancelled: int | None = None
    background: Tokens | None = None


async def replay(side: Side, scripts: Sequence[Script], pace: Pace, advance: Advance) -> Replayed:
    """
    Raises:
        LlmdError: the side gives no answers.
    """
    copies = [_copy(number, script) for number, script in enumerate(scripts)]
    for copy in copies:
        await side.open(copy)
        if pace.warms_up:
            await side.ask(copy)
    n_first = len(copies) if pace.warms_up else 0
    before = await side.spent(n_first)
    asked = await _type(side, copies, scripts, pace, advance)
    rows = [_row(number, action, await answer) for number, action, answer in asked]
    return replayed(rows, before, await side.spent(n_first + len(rows)))


def _copy(number: int, script: Script) -> Copy:
    return Copy(f"file:///bench/{number}/{script.name}", script.name, script.text, script.start)


async def _type(
    side: Side, copies: Sequence[Copy], scripts: Sequence[Script], pace: Pace, advance: Advance
) -> list[Asked]:
    asked: list[Asked] = []
    due_s = time.monotonic()
    for number, action in in_turn(scripts):
        running = asked[-1][2] if asked else None
        if running and not pace.key_ms:
            await running
        await asyncio.sleep(max(0.0, due_s - time.monotonic()))
        if running and not running.done():
            side.cancel()
        if pace.rests and action.kind == "jump":
            await _rest(side, copies[number], action.start)
        due_s = max(due_s, time.monotonic()) + pace.key_ms / 1e3
        asked.append((number, action, _press(side, copies[number], action)))
        advance(side.name)
    return asked


def in_turn(scripts: Sequence[Script]) -> Iterator[tuple[int, Action]]:
    """An action of each document, then the next of each."""
    for together in zip_longest(*(script.actions for script in scripts)):
        for number, action in enumerate(together):
            if action is not None:
                yield number, action


async def _rest(side: Side, copy: Copy, caret: int) -> None:
    copy.caret = caret
    side.rest(copy)
    await asyncio.sleep(REST_S)


def _press(side: Side, copy: Copy, action: Action) -> asyncio.Future[Answer]:
    side.edit(copy, action.patches)
    copy.text, copy.caret = applied(copy.text, action.patches), action.caret
    return side.ask(copy)


def _row(number: int, action: Action, answer: Answer) -> Row:
    n_kept = n_common(answer.text, action.typed)
    spent = {name: getattr(answer, name) for name in Row.__struct_fields__ if hasattr(answer, name)}
    n_shown = len(answer.text)
    return Row(document=number, kind=action.kind, n_shown=n_shown, n_kept=n_kept, **spent)


def n_common(left: str, right: str) -> int:
    """The length of the common beginning."""
    pairs = takewhile(lambda pair: pair[0] == pair[1], zip(left, right, strict=False))
    return sum(1 for _ in pairs)


def replayed(rows: Sequence[Row], before: Spent | None, after: Spent | None) -> Replayed:
    """What answers do not account for was spent on those that were cancelled."""
    if before is None or after is None:
        return Replayed(tuple(rows))
    asked = after.asked.less(before.asked)
    told = sum(row.n_prefill + row.n_healed for row in rows)
    return Replayed(
        rows=tuple(rows),
        n_cancelled=asked.n_prefill + asked.n_healed - told,
        background=after.background.less(before.background),
    )
