"""The engine's process: `python -m llmd.engine.worker SOCKET_FD FLAGS_FD`.

A reader thread queues frames with the time they came and ends the process when the daemon is
gone; the main thread loads the model and answers one request after the other.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import queue
import signal
import socket
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import NoReturn

from llmd.engine import frames, llama
from llmd.engine.cache import Cache
from llmd.engine.decode import infer
from llmd.engine.frames import FLAG_BYTES, N_FLAGS
from llmd.engine.heal import Table
from llmd.engine.layout import Engine
from llmd.errors import LlmdError, place_of
from llmd.machine import memory_bytes, n_cores
from llmd.models import fit
from llmd.models.header import check_model
from llmd.prompt.families import PLAIN, Match, recognise
from llmd.trace import Cost

_FLAGS_BYTES = N_FLAGS * FLAG_BYTES + 16  # strlen may read a word past its zero
_NO_FLAG = N_FLAGS * FLAG_BYTES  # a byte that nobody sets
_LOADING_STEP = 0.05  # of the whole: how often loading is told
_PR_SET_PDEATHSIG = 1  # linux/prctl.h

Arrival = tuple[float, frames.ToWorker]


class Flags:
    """The cancel flags, one for each request id modulo N_FLAGS, shared with the daemon."""

    def __init__(self, fd: int) -> None:
        self._bytes = mmap.mmap(fd, _FLAGS_BYTES)
        self._address = ctypes.addressof(ctypes.c_char.from_buffer(self._bytes))

    def is_set(self, id_: int) -> bool:
        return self._bytes[id_ % N_FLAGS * FLAG_BYTES] != 0

    def address(self, id_: int) -> int:
        return self._address + id_ % N_FLAGS * FLAG_BYTES

    @property
    def never(self) -> int:
        return self._address + _NO_FLAG


class Link:
    """The socket to the daemon. Without the daemon there is nothing to do: the process ends."""

    def __init__(self, fd: int) -> None:
        self._socket = socket.socket(fileno=fd)
        self._socket.setblocking(True)
        self.arrivals: queue.SimpleQueue[Arrival] = queue.SimpleQueue()
        threading.Thread(target=self._read, name="frames", daemon=True).start()

    def send(self, frame: frames.FromWorker) -> None:
        try:
            self._socket.sendall(frames.encode(frame))
        except OSError:
            _end()

    def _read(self) -> NoReturn:
        splitter = frames.Splitter()
        try:
            while data := self._socket.recv(1 << 16):
                for body in splitter.feed(data):
                    frame = frames.decode_to_worker(body)
                    self.arrivals.put((time.monotonic(), frame))
        except (OSError, ValueError) as error:  # msgspec's errors are ValueErrors
            print(f"Worker ends: {type(error).__name__} from the daemon's socket", file=sys.stderr)
        _end()


def _end() -> NoReturn:
    sys.stderr.flush()
    os._exit(0)


class Worker:
    def __init__(self, link: Link, flags: Flags) -> None:
        self._link = link
        self._flags = flags
        self._told = 0.0

    def run(self) -> None:
        _, frame = self._link.arrivals.get()
        if not isinstance(frame, frames.Load):
            raise SystemExit("Worker ends: the first frame is not Load")
        try:
            engine, loaded = self._load(frame)
        except LlmdError as error:
            self._link.send(frames.LoadFailed(str(error)))
            return
        except Exception as error:  # the daemon must be told, whatever it was
            traceback.print_exc()
            self._link.send(frames.LoadFailed(_kind(error, "loading")))
            return
        self._link.send(loaded)
        while True:
            arrived_s, frame = self._link.arrivals.get()
            if isinstance(frame, frames.Infer):
                self._link.send(self._answer(engine, frame, arrived_s))

    def _load(self, load: frames.Load) -> tuple[Engine, frames.Loaded]:
        path = Path(load.path)
        header = check_model(path)
        fit.check_memory(path.name, header.tensor_bytes, memory_bytes())
        model = llama.Model(
            path,
            n_gpu_layers=fit.n_gpu_layers(load.engine),
            use_mmap=load.engine.mmap,
            on_progress=self._tell,
        )
        machine = fit.Machine(llama.backend(), n_cores())
        plan = fit.plan_load(load.engine, machine, model.shape)
        context = llama.Context(model, plan)
        context.watch(self._flags.never)
        vocabulary = model.vocabulary
        match = recognise(model.name, vocabulary.declared, vocabulary.find, load.order)
        table = Table(vocabulary.text_pieces())
        engine = Engine(context, vocabulary, match, Cache(context), table)
        _warm_up(engine)
        return engine, _loaded(model, path, match, machine, plan, context.n_ctx)

    def _tell(self, share: float) -> None:
        if share - self._told >= _LOADING_STEP:
            self._told = share
            self._link.send(frames.Loading(round(share, 3)))

    def _answer(self, engine: Engine, request: frames.Infer, arrived_s: float) -> frames.Done:
        id_ = request.id
        if self._flags.is_set(id_):
            return frames.Done(id_, "", "cancelled", Cost())
        engine.context.watch(self._flags.address(id_))
        try:
            return infer(
                engine,
                request,
                arrived_s,
                is_cancelled=lambda: self._flags.is_set(id_),
                emit=lambda text: self._link.send(frames.Partial(id_, text)),
            )
        except Exception as error:  # one request must not take the others with it
            engine.cache.clear()
            said = str(error) if isinstance(error, LlmdError) else _kind(error, "a request")
            # No traceback: a foreign error's message may hold what the user wrote.
            print(f"{said} at {place_of(error)}", file=sys.stderr, flush=True)
            return frames.Done(id_, "", "failed", Cost(), said)
        finally:
            engine.context.watch(self._flags.never)


def _warm_up(engine: Engine) -> None:
    """One token through all layers reads in the weights, so that the first request need not."""
    engine.cache.decode([max(engine.vocabulary.bos, engine.vocabulary.eos, 0)])
    engine.cache.clear()


def _loaded(
    model: llama.Model,
    path: Path,
    match: Match,
    machine: fit.Machine,
    plan: fit.LoadPlan,
    n_ctx: int,
) -> frames.Loaded:
    name, shape = model.name or path.stem, model.shape
    n_gpu_layers = shape.n_layers if plan.n_gpu_layers < 0 else plan.n_gpu_layers
    return frames.Loaded(
        name=name,
        family=match.family.name,
        order=match.order,
        quantisation=model.quantisation,
        backend=machine.backend,
        n_ctx=n_ctx,
        n_layers=shape.n_layers,
        n_gpu_layers=0 if machine.backend == "cpu" else min(n_gpu_layers, shape.n_layers),
        cache_type_k=plan.cache_type_k,
        cache_type_v=plan.cache_type_v,
        flash_attn=plan.flash_attn,
        n_batch=plan.n_batch,
        threads=plan.threads,
        kv_bytes=fit.kv_bytes(shape, n_ctx, plan.cache_type_k, plan.cache_type_v),
        notice=_notice(name) if match.family is PLAIN else "",
    )


def _notice(name: str) -> str:
    return (
        f"Model `{name}` has no FIM tokens; it continues the text before the cursor and cannot see"
        " what follows. Choose a model trained for infilling"
    )


def _kind(error: Exception, doing: str) -> str:
    """Only the error's type: its message may hold what the user wrote."""
    return f"The engine failed while at {doing}: {type(error).__name__}"


def _settle_in() -> None:
    """Dies with the daemon, ignores the terminal's Ctrl-C, and keeps stdout clean."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def main() -> None:
    _settle_in()
    socket_fd, flags_fd = map(int, sys.argv[1:3])
    Worker(Link(socket_fd), Flags(flags_fd)).run()


if __name__ == "__main__":
    main()
