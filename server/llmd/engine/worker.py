"""The engine's process: `python -m llmd.engine.worker SOCKET_FD FLAGS_FD`.

The main thread owns the model and works on one request at a time. A reader thread takes frames
off the socket; when the daemon's end closes it ends the process at once, also in a decode.
"""

from __future__ import annotations

import ctypes
import logging
import mmap
import os
import queue
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any

from llmd.engine import frames, llama
from llmd.engine.decode import Clock, Engine
from llmd.errors import LlmdError, ModelError
from llmd.models import fit
from llmd.prompt.families import Match, recognise
from llmd.trace import Cost

log = logging.getLogger("llmd.worker")

PROGRESS_STEP = 0.05
PR_SET_PDEATHSIG = 1

Inbox = queue.SimpleQueue[tuple[Any, float]]


def main(socket_fd: int, flags_fd: int) -> None:
    die_with_parent()
    os.dup2(2, 1)  # llama.cpp's own prints must not reach whatever our stdout is
    peer = socket.socket(fileno=socket_fd)
    flags = mmap.mmap(flags_fd, 0)
    inbox: Inbox = queue.SimpleQueue()
    threading.Thread(target=read_frames, args=(peer, inbox), daemon=True).start()
    worker = Worker(peer, flags)
    load, _ = inbox.get()
    if not worker.load(load):
        return
    while True:
        request, arrived_s = inbox.get()
        worker.serve(request, arrived_s)


def n_cores() -> int:
    """The cores that this process may use."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def die_with_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the daemon's Ctrl-C is the daemon's affair
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def read_frames(peer: socket.socket, inbox: Inbox) -> None:
    splitter = frames.Splitter()
    try:
        while data := peer.recv(1 << 16):
            for body in splitter.feed(data):
                inbox.put((frames.decode_to_worker(body), time.monotonic()))
    except (OSError, ValueError) as error:
        log.error("daemon's frames can't be read: %s", type(error).__name__)
    os._exit(0)


class Worker:
    def __init__(self, peer: socket.socket, flags: mmap.mmap) -> None:
        self._peer = peer
        self._flags = flags
        self._flags_address = ctypes.addressof(ctypes.c_char.from_buffer(flags))
        self._share = 0.0

    def send(self, frame: frames.FromWorker) -> None:
        self._peer.sendall(frames.encode(frame))

    def load(self, load: frames.Load) -> bool:
        try:
            self.send(self._load(load))
        except LlmdError as error:
            self.send(frames.LoadFailed(str(error)))
            return False
        return True

    def _progress(self, share: float) -> None:
        if share - self._share >= PROGRESS_STEP:
            self._share = share
            self.send(frames.Loading(share))

    def _load(self, load: frames.Load) -> frames.Loaded:
        check_file(Path(load.path))
        llama.start_backend()
        machine = fit.Machine(llama.backend(), n_cores())
        model = llama.Model(
            load.path,
            fit.n_gpu_layers(load.engine),
            load.engine.mmap,
            on_progress=self._progress,
        )
        plan = fit.plan_load(load.engine, machine, model.shape)
        self._context = llama.Context(model, plan)
        vocabulary = model.vocabulary
        match = recognise(model.name, vocabulary.declared, vocabulary.find, load.order)
        self._engine = Engine(self._context, vocabulary, match)
        self._model = model
        return describe(model, match, plan, machine)

    def serve(self, request: frames.Infer, arrived_s: float) -> None:
        """Answers a request once, whatever happens."""
        at = request.id % frames.N_FLAGS * frames.FLAG_BYTES

        def is_cancelled() -> bool:
            return self._flags[at] != 0

        def emit(text: str) -> None:
            self.send(frames.Partial(request.id, text))

        if is_cancelled():
            self.send(frames.Done(request.id, "", "cancelled", Cost()))
            return
        self._context.abort_when(self._flags_address + at)
        try:
            done = self._engine.infer(request, Clock(arrived_s), is_cancelled, emit)
        except Exception as error:  # the worker's one boundary: a request must be answered
            self._engine.cache.clear()
            said = str(error) if isinstance(error, LlmdError) else type(error).__name__
            log.exception("request failed") if not isinstance(error, LlmdError) else None
            done = frames.Done(request.id, "", "failed", Cost(), said)
        self.send(done)


def describe(
    model: llama.Model, match: Match, plan: fit.LoadPlan, machine: fit.Machine
) -> frames.Loaded:
    name = model.name or "unnamed"
    notice = ""
    if match.family.name == "plain":
        notice = (
            f"Model `{name}` has no FIM tokens; it continues the text before the cursor and "
            "cannot see what follows. Choose a model trained for infilling"
        )
    return frames.Loaded(
        name=name,
        family=match.family.name,
        order=match.order,
        quantisation=model.quantisation,
        backend=machine.backend,
        n_ctx=plan.n_ctx,
        n_layers=model.shape.n_layers,
        n_gpu_layers=plan.n_gpu_layers if machine.backend != "cpu" else 0,
        cache_type_k=plan.cache_type_k,
        cache_type_v=plan.cache_type_v,
        flash_attn=plan.flash_attn,
        n_batch=plan.n_batch,
        threads=plan.threads,
        kv_bytes=plan.kv_bytes,
        notice=notice,
    )


def check_file(path: Path) -> None:
    """
    Raises:
        ModelError: not a readable file that begins as a GGUF does.
    """
    try:
        if not path.is_file():
            raise ModelError(f"Model file `{path}` is not a file; set `model` to a GGUF file")
        with path.open("rb") as file:
            magic = file.read(4)
    except OSError as error:
        raise ModelError(f"Model file `{path}` can't be read: {error.strerror}") from None
    if magic != b"GGUF":
        raise ModelError(
            f"Model file `{path}` is no GGUF file: it begins with {magic!r}, expected b'GGUF'"
        )


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s worker %(levelname)s %(message)s")
    main(int(sys.argv[1]), int(sys.argv[2]))
