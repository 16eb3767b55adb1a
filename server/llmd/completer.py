"""The path of a request: gate, window, prompt, engine, trim, trace. Each stage once, in order.

Runs on the event loop; knows no protocol and no tokens.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath
from typing import Any

from llmd import gates
from llmd.config import Config
from llmd.context import window
from llmd.document.store import Document
from llmd.document.text import LineRange, Position, Text
from llmd.engine.frames import Done, Loaded
from llmd.engine.job import Job
from llmd.engine.service import EngineService
from llmd.postprocess.stop import rule_for
from llmd.postprocess.trim import trim
from llmd.prompt.build import Piece, build
from llmd.prompt.families import by_name, typed_of
from llmd.requests import LatestWins, Ticket
from llmd.stages import Journal, Stages, Window
from llmd.trace import WARM_MIN_CACHED, Cost, Path, Totals, Trace, of_cost
from llmd.transport.service import Answer, Selected

NO_TEXT = window.Excerpt("", "", "", "", "")

Refuse = Callable[[tuple[str, ...], str], str]

# Whoever asks by hand waits for the answer, also for the model to load.
INVOKED_DEADLINE_FACTOR = 20


@dataclass(frozen=True, slots=True)
class Place:
    """What is left of a request once the document has been looked at: a value, no document."""

    file: str
    cursor: Position
    invoked: bool
    file_name: str
    deadline_ms: int
    arrived_s: float
    excerpt: window.Excerpt = NO_TEXT
    lines: LineRange | None = None
    refusal: str = ""


class Completer:
    """`config` and `debounce_ms` may be set anew at any time; the next request follows them."""

    def __init__(self, config: Config, engine: EngineService, refuse: Refuse) -> None:
        """`refuse` says what a workspace's own file forbids: names and language to a reason."""
        self.config = config
        self.debounce_ms = config.completion.debounce_ms
        self.totals = Totals()
        self.journal = Journal()
        self.without: frozenset[str] = frozenset()  # rules of `postprocess.rules`, for `eval`
        self._engine = engine
        self._refuse = refuse
        self._latest = LatestWins()

    def complete(
        self,
        document: Document,
        cursor: Position,
        *,
        invoked: bool,
        selected: Selected | None = None,
        on_partial: Callable[[str], None] | None = None,
        anchor: Position | None = None,
    ) -> Coroutine[Any, Any, Answer]:
        """Looks at the document and ends its older request now; the coroutine does the rest.

        Cancelling the coroutine's task cancels the engine. `anchor` is where the typed text
        begins; None: where `context.window` puts it.
        """
        ticket = self._latest.take(id(document))
        place = self._look(document, cursor, invoked, selected, anchor)
        return self._answer(ticket, place, on_partial)

    def _look(
        self,
        document: Document,
        cursor: Position,
        invoked: bool,
        selected: Selected | None,
        anchor: Position | None,
    ) -> Place:
        limits = self.config.completion
        factor = INVOKED_DEADLINE_FACTOR if invoked else 1
        view = partial(
            Place,
            file=document.names[-1],
            cursor=cursor,
            invoked=invoked,
            file_name=PurePosixPath(document.names[0]).name.encode(errors="replace").decode(),
            deadline_ms=limits.deadline_ms * factor,
            arrived_s=time.monotonic(),
        )
        if refusal := (
            gates.refuse_document(document, self.config)
            or self._refuse(document.names, document.language)
        ):
            return view(refusal=refusal)
        lines, cursor = _as_if_taken(document.text, cursor, selected)
        budget = window.Budget(self.config.context.n_prefix, self.config.context.n_suffix)
        chosen = window.choose(document.window, lines, cursor, budget)
        document.window = chosen
        max_suffix = None if invoked else limits.max_line_suffix
        if refusal := gates.refuse_place(lines, chosen.first, chosen.end, cursor, max_suffix):
            return view(lines=chosen, refusal=refusal)
        return view(lines=chosen, excerpt=window.excerpt(chosen, lines, cursor, anchor))

    async def _answer(
        self, ticket: Ticket, place: Place, on_partial: Callable[[str], None] | None
    ) -> Answer:
        if place.refusal:
            return self._record(place, "", Cost(), "suppressed", place.refusal)
        if self.debounce_ms and not place.invoked:
            await asyncio.sleep(self.debounce_ms / 1e3)
        job = self._ask(place, on_partial)
        ticket.end_with(job.cancel)
        try:
            done = await job.answered
        except asyncio.CancelledError:
            job.cancel()
            self._count_when_finished(job, place, "cancelled")
            raise
        if ticket.is_superseded:
            self._count_when_finished(job, place, "")
            trace = of_cost(Cost(), "superseded", _since_ms(place.arrived_s))
            return Answer("", trace)
        return self._show(place, done)

    def _show(self, place: Place, done: Done) -> Answer:
        text = trim(done.text, place.excerpt, self.without)
        floor = self.config.completion.min_logprob
        if floor != "off" and text and done.cost.logprob_line < floor:
            return self._record(place, "", done.cost, "suppressed", "confidence", done)
        reason = done.error or done.reason
        return self._record(place, text, done.cost, _path(done), reason, done)

    def _ask(self, place: Place, on_partial: Callable[[str], None] | None) -> Job:
        limits, fim, without = self.config.completion, self.config.fim, self.without
        rule = rule_for(
            place.excerpt, limits.max_tokens, limits.max_lines, place.deadline_ms, without
        )

        def pieces(model: Loaded) -> tuple[Piece, ...]:
            family = by_name(model.family)
            typed = typed_of(family, model.order, fim.typed)
            return build(family, model.order, place.excerpt, place.file_name, typed, fim.heal)

        if limits.min_logprob != "off":  # what may yet be suppressed is not shown before
            on_partial = None
        show = on_partial and (lambda text: on_partial(trim(text, place.excerpt, without)))
        return self._engine.infer(pieces, rule, self.config.sampling, show)

    def _count_when_finished(self, job: Job, place: Place, reason: str) -> None:
        """The reply is out; what the engine still spends on it is known when it has stopped."""

        def count(finished: asyncio.Future[Done]) -> None:
            self._record(place, "", finished.result().cost, "superseded", reason)

        job.finished.add_done_callback(count)

    def _record(
        self,
        place: Place,
        text: str,
        cost: Cost,
        path: Path,
        reason: str,
        done: Done | None = None,
    ) -> Answer:
        trace = of_cost(cost, path, _since_ms(place.arrived_s), reason)
        self.totals.add(trace)
        self.journal.add(_stages(place, trace, done, len(text)))
        return Answer(text, trace)


def _as_if_taken(
    text: Text, cursor: Position, selected: Selected | None
) -> tuple[list[str], Position]:
    """The lines as they would be with the menu's item inserted, and the cursor after it."""
    if not selected:
        return text.lines, text.clamp(cursor)
    line = selected.start.line
    lines = list(text.lines)
    before = lines[line][: selected.start.col] + selected.text
    lines[line] = before + lines[line][selected.end.col :]
    return lines, Position(line, len(before))


def _stages(place: Place, trace: Trace, done: Done | None, n_shown: int) -> Stages:
    lines, excerpt = place.lines, place.excerpt
    n_prefix, n_suffix = len(excerpt.prefix), len(excerpt.suffix)
    return Stages(
        file=place.file,
        line=place.cursor.line + 1,
        col=place.cursor.col + 1,
        invoked=place.invoked,
        gate=place.refusal,
        window=Window(lines.first + 1, lines.end, n_prefix, n_suffix) if lines else None,
        trace=trace,
        stop=(done.error or done.reason) if done else trace.reason,
        n_chars_generated=len(done.text) if done else 0,
        n_chars_shown=n_shown,
    )


def _path(done: Done) -> Path:
    if done.reason == "failed":
        return "failed"
    if done.reason == "deadline":
        return "late"
    return "warm" if done.cost.n_cached >= WARM_MIN_CACHED else "cold"


def _since_ms(start_s: float) -> float:
    return 1e3 * (time.monotonic() - start_s)
