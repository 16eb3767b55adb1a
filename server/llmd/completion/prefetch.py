"""Work that nobody asked for yet: the prompt of a place where the cursor rests, what follows an
acceptance, an anchor that has been left far behind. Any request goes before it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from llmd.completion.engine_request import Asker
from llmd.completion.results import Answers
from llmd.completion.trace import Path, Totals, of_cost
from llmd.completion.types import Answer
from llmd.context.request import Place
from llmd.context.window import MAX_TYPED_CHARS
from llmd.document import Document, Position
from llmd.engine.messages import Done
from llmd.engine.requests import Job

# Nobody accepts sooner, and whoever types on has asked again by then.
PAUSE_S = 0.1
# A longer typed text gets an anchor nearer by once nobody asks.
MAX_IDLE_TYPED_CHARS = MAX_TYPED_CHARS // 2


class Spot:
    """A place of a document that may have changed since."""

    def __init__(self, document: Document, cursor: Position) -> None:
        self.document = document
        self.cursor = cursor
        self._version = document.version

    def is_current(self) -> bool:
        return self.document.version == self._version


class Ahead:
    """`is_allowed` may be set at any time. `totals` counts the work."""

    def __init__(
        self, asker: Asker, answers: Answers, look: Callable[[Document, Position], Place]
    ) -> None:
        self.is_allowed = True
        self.totals = Totals()
        self._asker = asker
        self._answers = answers
        self._look = look
        self._timer: asyncio.TimerHandle | None = None

    def rest(self, spot: Spot) -> None:
        """The cursor has come to rest there."""
        if self.is_allowed:
            self._prefill(self._look(spot.document, spot.cursor))

    def follow(self, place: Place, answer: Answer, spot: Spot) -> None:
        """What may be asked after that answer."""
        if answer.trace.path == "late":
            self._prefill(place)
        elif answer.text and self._answers.config.completion.recall:
            self._soon(lambda: self._prefetch(place.accepted(answer.text), spot))
        else:
            self._soon(lambda: self._anchor_anew(spot))

    def stand_down(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None

    def _soon(self, work: Callable[[], None]) -> None:
        """Unless somebody asks before."""
        self.stand_down()
        if self.is_allowed:
            self._timer = asyncio.get_running_loop().call_later(PAUSE_S, work)

    def _prefill(self, place: Place) -> None:
        if self.is_allowed and not place.refusal:
            self._count(self._asker.ask(place, background=True, is_prefill=True))

    def _prefetch(self, place: Place, spot: Spot) -> None:
        """What follows an acceptance."""
        job = self._asker.ask(place, background=True)
        self._count(job)

        def keep(finished: asyncio.Future[Done]) -> None:
            done = finished.result()
            self._answers.keep_ahead(place, done)
            if done.reason != "cancelled":
                self._soon(lambda: self._anchor_anew(spot))

        job.finished.add_done_callback(keep)

    def _anchor_anew(self, spot: Spot) -> None:
        bears_lines = self._asker.bears_far_anchor()
        if bears_lines is None or not spot.is_current():
            return
        document, typed = spot.document, spot.document.typed
        is_far = self._look(document, spot.cursor).excerpt.n_typed > MAX_IDLE_TYPED_CHARS
        has_lines = typed is not None and typed.start.line < spot.cursor.line
        if is_far or (has_lines and not bears_lines):
            document.typed = None
            self._prefill(self._look(document, spot.cursor))

    def _count(self, job: Job) -> None:
        job.finished.add_done_callback(self._add)

    def _add(self, finished: asyncio.Future[Done]) -> None:
        done = finished.result()
        path: Path = "superseded" if done.reason in ("cancelled", "failed") else "prefetched"
        self.totals.add(of_cost(done.cost, path, 0.0))
