"""An engine worker without an engine, and with a fault: `python -m tests.support.fault_worker
MODE SOCKET_FD FLAGS_FD`. Speaks llmd.engine.frames. Each start adds a line to the file that
FAULT_WORKER_STARTS names."""

from __future__ import annotations

import ctypes
import os
import random
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from llmd.engine import messages
from llmd.engine.cancel_flags import CancelFlagReader
from llmd.engine.messages import Cost, Done, FromWorker, Generate, Load, Loaded, LoadFailed, Loading

STARTS = "FAULT_WORKER_STARTS"
TEXT = "answered"
HARD, GENTLE = "by the hard flag", "by the gentle flag"
LAST_WORDS = "GGML_ASSERT: n_ctx is odd"
LOAD_FAILED = "Model file is of clay"
SLOW_LOAD_S = 0.5
NEEDS_LESS, ENOUGH_LESS = "needs_less", 2  # killed in the load until asked for less so often
# As ggml's CUDA backend ends where memory runs out; Metal's worker ends by itself.
OUT_OF_MEMORY = {
    "cuda_memory": "CUDA error: out of memory\n  current device: 0, in function alloc at x.cu:384\n"
    "  cuMemCreate(&handle, reserve_size, &prop, 0)\n/x/ggml-cuda.cu:110: CUDA error",
    "metal_memory": "ggml_metal_synchronize: error: command buffer 0 failed with status 5\n"
    "error: Insufficient Memory (00000008:kIOGPUCommandBufferCallbackErrorOutOfMemory)",
}
LOADS = "FAULT_WORKER_LOADS"  # names the file that gets `n_shrunk` of each load
BY_NAME = "by_name"  # as the mode: that of the model's file
ABORT_EXIT_CODE = 3

LOADED = Loaded(
    "fault", "plain", "psm", "F16", "cpu", 512, 1, 0, "f16", "f16", False, 64, 1, 1 << 20, ""
)


class Link:
    def __init__(self, descriptor: int) -> None:
        self._socket = socket.socket(fileno=descriptor)
        self._socket.setblocking(True)

    def send(self, frame: FromWorker) -> None:
        self.write(messages.encode(frame))

    def write(self, data: bytes) -> None:
        self._socket.sendall(data)

    def arrivals(self) -> Iterator[messages.ToWorker]:
        """Until the daemon has gone."""
        splitter = messages.FrameDecoder()
        while data := self._socket.recv(1 << 16):
            yield from map(messages.decode_to_worker, splitter.feed(data))


def garbage(seed: int) -> bytes:
    """Bytes of four kinds: noise, a true length with noise, a broken frame, a wrong value."""
    made = random.Random(seed)
    noise = made.randbytes(made.randint(8, 400))
    done = bytearray(messages.encode(Done(1, TEXT, "eog", Cost(n_prompt=9))))
    kind = seed % 4
    if kind == 0:
        return b"\xff\xff\xff\xff" + noise
    if kind == 1:
        return len(noise).to_bytes(4, "little") + noise
    if kind == 2:
        place = made.randrange(4, len(done))
        done[place] ^= 1 << made.randrange(8)
        return bytes(done)
    body = made.choice([b"", b"\xc1", b"\x80", b"\x81\xa4type\xa4Nope", b"\xdd" + b"\xff" * 4])
    return len(body).to_bytes(4, "little") + body


def load(mode: str, link: Link) -> None:
    if mode == "die_in_load":
        link.send(Loading(0.5))
        _die()
    if mode == "load_failed":
        link.send(LoadFailed(LOAD_FAILED))
        sys.exit()
    if mode == "slow_load":
        for step in range(5):
            link.send(Loading(step / 5))
            time.sleep(SLOW_LOAD_S / 5)
    if mode == "memory_before":
        print(OUT_OF_MEMORY["metal_memory"], file=sys.stderr, flush=True)
        time.sleep(0.2)
    link.send(LOADED)
    if mode == "memory_before" and Path(os.environ[LOADS]).read_text().count("\n") == 1:
        time.sleep(0.2)
        print("error: Caused GPU Timeout Error", file=sys.stderr, flush=True)
        os._exit(messages.LOST_DEVICE)


def wait_for_flag(flags: CancelFlagReader, id_: int, link: Link) -> None:
    """Says by which flag the request was ended: 1 is the hard one's byte."""
    while not flags.is_set(id_):
        time.sleep(0.001)
    is_hard = ctypes.string_at(flags.address(id_), 1) != b"\0"
    link.send(Done(id_, HARD if is_hard else GENTLE, "cancelled", Cost()))


def answer(mode: str, seed: int, id_: int, link: Link) -> None:
    if mode == "crash_at_infer":
        _die()
    if mode == "garbage_frame":
        link.write(garbage(seed))
    if mode in OUT_OF_MEMORY:
        print(OUT_OF_MEMORY[mode], file=sys.stderr, flush=True)
        if mode == "cuda_memory":
            os.abort()
        link.send(messages.empty_done(id_, "failed", "code -3"))
        os._exit(messages.LOST_DEVICE)
    if mode in ("ok", "slow_load"):
        link.send(Done(id_, TEXT, "eog", Cost()))


def _die() -> NoReturn:
    print(LAST_WORDS, file=sys.stderr, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
    raise SystemExit


def main() -> None:
    """MODE may have a seed: `garbage_frame:7`."""
    mode, _, seed = sys.argv[1].partition(":")
    with open(os.environ[STARTS], "a") as starts:
        starts.write(f"{os.getpid()}\n")
    link, flags = Link(int(sys.argv[2])), CancelFlagReader(int(sys.argv[3]))
    if mode in ("crash_at_start", "exit_at_start"):
        print("loading the library\n" + LAST_WORDS, file=sys.stderr, flush=True)
        if mode == "crash_at_start":
            os._exit(ABORT_EXIT_CODE)
        sys.exit(ABORT_EXIT_CODE)  # Python's own end: the socket closes some time before
    for frame in link.arrivals():
        match frame:
            case Load(n_shrunk=n_shrunk) if mode == NEEDS_LESS and n_shrunk < ENOUGH_LESS:
                _die()
            case Load(path=path, n_shrunk=n_shrunk):
                if LOADS in os.environ:
                    with open(os.environ[LOADS], "a") as loads:
                        loads.write(f"{n_shrunk}\n")
                mode = "ok" if mode in OUT_OF_MEMORY and n_shrunk else mode
                mode = Path(path).stem if mode == BY_NAME else mode
                load(mode, link)
            case Generate(id=id_, background=True):
                wait_for_flag(flags, id_, link)
            case Generate(id=id_):
                answer(mode, int(seed or 0), id_, link)


if __name__ == "__main__":
    main()
