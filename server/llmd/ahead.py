"""Work that nobody asked for yet: the prompt of a place where the cursor rests, what follows an
acceptance, an anchor that has been left far behind. Any request goes before it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from llmd.engine.frames import Done
from llmd.engine.job import Job
from llmd.trace import Path, Totals, of_cost

# Nobody accepts sooner, and whoever types on has asked again by then.
PAUSE_S = 0.1


class Ahead:
    """`is_allowed` may be set at any time. `totals` counts the work."""

    def __init__(self) -> None:
        self.is_allowed = True
        self.totals = Totals()
        self._timer: asyncio.TimerHandle | None = None

    def soon(self, work: Callable[[], None]) -> None:
        """Unless somebody asks before."""
        self.stand_down()
        if self.is_allowed:
            self._timer = asyncio.get_running_loop().call_later(PAUSE_S, work)

    def stand_down(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None

    def count(self, job: Job) -> None:
        job.finished.add_done_callback(self._add)

    def _add(self, finished: asyncio.Future[Done]) -> None:
        done = finished.result()
        path: Path = "superseded" if done.reason in ("cancelled", "failed") else "prefetched"
        self.totals.add(of_cost(done.cost, path, 0.0))
