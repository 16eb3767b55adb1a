"""Tracks the requests in flight: waiting for a worker, being worked on, or cancelled and not yet
given up by the worker. Owned by the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Literal

from llmd.engine import messages
from llmd.engine.cancel_flags import CancelFlags
from llmd.engine.messages import Done, Loaded, Partial, TokenLogprob

RequestState = Literal["queued", "running", "cancelled", "finished"]


class EngineRequest:
    """Represents one request to the engine, from its submission until the worker no longer works on
    it.

    Several callers may follow the same request: each adds a listener for the text so far and
    awaits `finished`. A caller that stops waiting does not end the request; `cancel` does.

    Invariant: `finished` is resolved exactly once, when `state` becomes `finished`.
    """

    def __init__(
        self,
        id_: int,
        flags: CancelFlags,
        build_message: Callable[[Loaded], messages.Generate],
        on_cancel: Callable[[], None],
        slot: int = 0,
        background: bool = False,
    ) -> None:
        self.id = id_
        self.build_message = build_message
        self.slot = slot
        self.background = background
        self.state: RequestState = "queued"
        self.text = ""  # generated so far; no later token takes any of it back
        self.tokens: tuple[TokenLogprob, ...] = ()  # of `text` and what follows, where asked for
        self.finished: asyncio.Future[Done] = asyncio.get_running_loop().create_future()
        self._flags = flags
        self._on_cancel = on_cancel
        # Each gets all the text so far whenever the text has grown.
        self.listeners: list[Callable[[str], None]] = []
        flags.clear(id_)

    def cancel(self, *, after_batch: bool = False) -> None:
        """Ends the request: within one decode step, or, `after_batch`, once the batch that is
        being evaluated is complete, so that its KV cells are kept. A request that no worker has
        received finishes at once."""
        if self.state == "finished":
            return
        self._flags.set(self.id, after_batch)
        if self.state == "queued":
            self.finish(messages.empty_done(self.id, "cancelled"))
        else:
            self.state = "cancelled"
            self._on_cancel()

    def receive(self, partial: Partial) -> None:
        """Takes the text so far from the worker; a cancelled request ignores it."""
        if self.state != "running":
            return
        self.text, self.tokens = partial.text, partial.tokens
        for on_partial in self.listeners:
            on_partial(partial.text)

    def finish(self, done: Done) -> None:
        if self.state != "finished":
            self.state = "finished"
            self.finished.set_result(done)


class RequestTable:
    """Holds every request that has not finished, by id."""

    def __init__(self) -> None:
        self._open: dict[int, EngineRequest] = {}

    def __bool__(self) -> bool:
        return any(request.state != "finished" for request in self._open.values())

    def add(self, request: EngineRequest) -> None:
        """Keeps `request` until it has finished."""
        self._open[request.id] = request
        request.finished.add_done_callback(lambda _: self._open.pop(request.id, None))

    def is_idle(self) -> bool:
        """Returns whether only background requests are left."""
        return all(
            request.background or request.state == "finished" for request in self._open.values()
        )

    def has_cancelled(self) -> bool:
        """Returns whether the worker has yet to end a request that was cancelled."""
        return any(request.state == "cancelled" for request in self._open.values())

    def cancel_background(self, slot: int) -> None:
        """Cancels background requests in favour of a new one of `slot`; those of the same slot
        finish their batch, since its KV cells serve the new request."""
        for request in list(self._open.values()):
            if request.background:
                request.cancel(after_batch=request.slot == slot)

    def end_background(self, slot: int) -> None:
        """Cancels the background requests of a document that was closed."""
        for request in list(self._open.values()):
            if request.background and request.slot == slot:
                request.cancel()

    def queued(self) -> list[EngineRequest]:
        """Returns the requests that wait for a worker, oldest first."""
        return [request for request in self._open.values() if request.state == "queued"]

    def receive(self, partial: Partial) -> None:
        if request := self._open.get(partial.id):
            request.receive(partial)

    def finish(self, done: Done) -> None:
        if request := self._open.get(done.id):
            request.finish(done)

    def fail_sent(self, reason: str) -> None:
        """Fails what the worker had received; queued requests wait for the next worker."""
        for request in list(self._open.values()):
            if request.state != "queued":
                request.finish(messages.empty_done(request.id, "failed", reason))

    def fail_all(self, reason: str) -> None:
        for request in list(self._open.values()):
            request.finish(messages.empty_done(request.id, "failed", reason))
