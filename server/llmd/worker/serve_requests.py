"""Serves the daemon's messages: loads the model, then runs one request at a time."""

from __future__ import annotations

import sys
import traceback

import msgspec

from llmd.engine import messages
from llmd.engine.cancel_flags import CancelFlagReader
from llmd.errors import DeviceError, LlmdError, error_location
from llmd.worker.daemon_link import DaemonLink
from llmd.worker.generate import generate
from llmd.worker.loader import load_engine
from llmd.worker.parked_slots import Slots
from llmd.worker.prompt_tokens import LoadedModel

_PROGRESS_STEP = 0.05  # share of the model loaded between two progress messages


class Worker:
    def __init__(self, link: DaemonLink, flags: CancelFlagReader) -> None:
        self._link = link
        self._flags = flags
        self._reported_share = 0.0
        self._has_lost_device = False

    def run(self) -> bool:
        """Returns whether a GPU evaluates nothing any more; else the model cannot be loaded."""
        _, frame = self._link.arrivals.get()
        if not isinstance(frame, messages.Load):
            raise SystemExit(
                f"Worker exits: the first message is {type(frame).__name__}, expected Load"
            )
        try:
            engine, loaded = load_engine(frame, self._flags.never, self._report_progress)
        except DeviceError as error:  # it may have been busy for a moment
            print(error, file=sys.stderr, flush=True)
            return True
        except LlmdError as error:
            self._link.send(messages.LoadFailed(str(error)))
            return False
        except Exception as error:  # the daemon must get an answer whatever happened
            traceback.print_exc()
            self._link.send(messages.LoadFailed(_describe(error, "loading")))
            return False
        self._link.send(loaded)
        self._serve(engine, Slots(engine.cache, frame.kv.ram_bytes))
        return True

    def _serve(self, engine: LoadedModel, slots: Slots) -> None:
        while True:
            arrived_s, frame = self._link.arrivals.get()
            match frame:
                case messages.Generate():
                    done = self._generate(engine, slots, frame, arrived_s)
                    self._link.send(msgspec.structs.replace(done, slots=slots.views()))
                    if self._has_lost_device:  # the next worker's will work
                        return
                case messages.Forget(slot=slot):
                    slots.forget(slot)
                case messages.DropParked(keep=keep):
                    slots.drop_parked(keep)

    def _report_progress(self, share: float) -> None:
        if share - self._reported_share >= _PROGRESS_STEP:
            self._reported_share = share
            self._link.send(messages.Loading(round(share, 3)))

    def _generate(
        self, engine: LoadedModel, slots: Slots, request: messages.Generate, arrived_s: float
    ) -> messages.Done:
        id_ = request.id

        def is_cancelled() -> bool:
            is_preempted = request.background and not self._link.arrivals.empty()
            return is_preempted or self._flags.is_set(id_)

        if is_cancelled():
            return messages.empty_done(id_, "cancelled")
        try:
            slots.switch(request.slot)
            engine.context.set_abort_flag(self._flags.address(id_))
            return generate(engine, request, arrived_s, is_cancelled, emit=self._link.send)
        except Exception as error:  # one failed request must not end the worker
            engine.cache.clear()
            self._has_lost_device = isinstance(error, DeviceError)
            message = str(error) if isinstance(error, LlmdError) else _describe(error, "completing")
            # No traceback: the message of a foreign error may hold the user's text.
            print(f"{message} at {error_location(error)}", file=sys.stderr, flush=True)
            return messages.empty_done(id_, "failed", message)
        finally:
            engine.context.set_abort_flag(self._flags.never)


def _describe(error: Exception, doing: str) -> str:
    """Describes an error by its type alone: the error's message may hold the user's text."""
    return f"The engine failed while {doing}: {type(error).__name__}"
