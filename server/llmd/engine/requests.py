"""The requests that are not finished: those at the worker, those that wait for it, and the one
that nobody asked for. Owned by the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from llmd.engine import messages
from llmd.engine.cancel_flags import CancelFlags
from llmd.engine.messages import Done, Loaded


class Job:
    """One request to the engine.

    `answered` is done when the asker may go on, `finished` when the engine has stopped working.
    """

    def __init__(
        self,
        id_: int,
        flags: CancelFlags,
        make: Callable[[Loaded], messages.Generate],
        on_partial: Callable[[str], None] | None,
        slot: int = 0,
        background: bool = False,
    ) -> None:
        loop = asyncio.get_running_loop()
        self.id = id_
        self.make = make
        self.slot = slot
        self.background = background
        self.answered: asyncio.Future[Done] = loop.create_future()
        self.finished: asyncio.Future[Done] = loop.create_future()
        self._flags = flags
        self._on_partial = on_partial
        flags.clear(id_)

    def cancel(self, reason: messages.StopReason = "cancelled", gently: bool = False) -> None:
        """Answers now. The engine stops within one decode step, or, gently, after the batch that
        it is at, whose cells are kept."""
        if not self.finished.done():
            self._flags.set(self.id, gently)
        if not self.answered.done():
            self.answered.set_result(messages.empty_done(self.id, reason))

    def show(self, text: str) -> None:
        if self._on_partial and not self.answered.done():
            self._on_partial(text)

    def finish(self, done: Done) -> None:
        for future in (self.answered, self.finished):
            if not future.done():
                future.set_result(done)


class Jobs:
    def __init__(self) -> None:
        self._open: dict[int, Job] = {}
        self._unsent: list[Job] = []

    def __bool__(self) -> bool:
        return bool(self._open)

    def add(self, job: Job) -> None:
        """It is forgotten when it has finished."""
        self._open[job.id] = job
        job.finished.add_done_callback(lambda _: self._open.pop(job.id, None))

    def is_free(self) -> bool:
        """Whether there is nothing but work that nobody asked for."""
        return all(job.background or job.finished.done() for job in self._open.values())

    def make_way(self, slot: int) -> None:
        """Ends the work that nobody asked for. What it evaluates just now is kept where the next
        request is of the same slot."""
        for job in self._open.values():
            if job.background:
                job.cancel(gently=job.slot == slot)

    def end_background(self, slot: int) -> None:
        for job in self._open.values():
            if job.background and job.slot == slot:
                job.cancel()

    def is_overdue(self) -> bool:
        """Whether one was answered without the worker, which still owes its end."""
        return any(job.answered.done() and not job.finished.done() for job in self._open.values())

    def keep(self, job: Job) -> None:
        """Until a worker is ready, or the job has been answered without one."""
        self._unsent.append(job)
        job.answered.add_done_callback(lambda _: self._forget_unsent(job))

    def take_unsent(self) -> list[Job]:
        unsent, self._unsent = self._unsent, []
        return unsent

    def all(self) -> list[Job]:
        return list(self._open.values())

    def show(self, partial: messages.Partial) -> None:
        if job := self._open.get(partial.id):
            job.show(partial.text)

    def finish(self, done: messages.Done) -> None:
        if job := self._open.get(done.id):
            job.finish(done)

    def fail_sent(self, reason: str) -> None:
        """Those that wait for a worker go on to wait."""
        for job in [job for job in self._open.values() if job not in self._unsent]:
            job.finish(messages.empty_done(job.id, "failed", reason))

    def fail_all(self, reason: str) -> None:
        self._unsent = []
        for job in self.all():
            job.finish(messages.empty_done(job.id, "failed", reason))

    def _forget_unsent(self, job: Job) -> None:
        if job in self._unsent:
            self._unsent.remove(job)
            job.finish(job.answered.result())
