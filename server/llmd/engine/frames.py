"""What crosses between daemon and worker: length-prefixed msgpack over a socketpair.

Text goes to the worker and text comes back; token ids never leave it. Cancelling does not cross
here but through shared memory, so that it is seen in the middle of a decode: two bytes for each
request id modulo N_FLAGS, the flag and a zero after it, so that libc's `strlen` at the flag's
address is the abort callback.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Literal

import msgspec

from llmd.config import Engine, Sampling
from llmd.postprocess.stop import StopRule
from llmd.prompt.build import Piece
from llmd.prompt.families import Order
from llmd.trace import Cost

N_FLAGS = 4096
FLAG_BYTES = 2
MAX_FRAME_BYTES = 64 << 20
_LENGTH = struct.Struct("<I")

StopReason = Literal[
    "eog", "lines", "indent", "suffix", "repeat", "brackets",  # postprocess/stop's
    "tokens", "deadline", "cancelled", "context", "failed",
]  # fmt: skip


class Load(msgspec.Struct, frozen=True, tag=True):
    """The first frame to a worker."""

    path: str
    order: Order | Literal["auto"]
    engine: Engine


class Infer(msgspec.Struct, frozen=True, tag=True):
    id: int
    pieces: tuple[Piece, ...]
    stop: StopRule
    sampling: Sampling


class Loading(msgspec.Struct, frozen=True, tag=True):
    share: float  # 0 to 1


class Loaded(msgspec.Struct, frozen=True, tag=True):
    """What the model is and how it was laid out. `notice`: one sentence for the user, or empty."""

    name: str
    family: str
    order: Order
    quantisation: str
    backend: str
    n_ctx: int
    n_layers: int
    n_gpu_layers: int
    cache_type_k: str
    cache_type_v: str
    flash_attn: bool
    n_batch: int
    threads: int
    kv_bytes: int
    notice: str


class LoadFailed(msgspec.Struct, frozen=True, tag=True):
    reason: str


class Partial(msgspec.Struct, frozen=True, tag=True):
    """The text so far that no later token takes back; whole, not a difference."""

    id: int
    text: str


class Done(msgspec.Struct, frozen=True, tag=True):
    id: int
    text: str
    reason: StopReason
    cost: Cost
    error: str = ""


ToWorker = Load | Infer
FromWorker = Loading | Loaded | LoadFailed | Partial | Done

decode_to_worker = msgspec.msgpack.Decoder(ToWorker).decode
decode_from_worker = msgspec.msgpack.Decoder(FromWorker).decode


def encode(frame: ToWorker | FromWorker) -> bytes:
    body = msgspec.msgpack.encode(frame)
    return _LENGTH.pack(len(body)) + body


class Splitter:
    """Bytes in, frame bodies out."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """
        Raises:
            ValueError: a length over MAX_FRAME_BYTES; the stream cannot be read on.
        """
        self._buffer += data
        while len(self._buffer) >= _LENGTH.size:
            (n_bytes,) = _LENGTH.unpack_from(self._buffer)
            if n_bytes > MAX_FRAME_BYTES:
                raise ValueError(f"frame of {n_bytes} bytes, at most {MAX_FRAME_BYTES} expected")
            end = _LENGTH.size + n_bytes
            if len(self._buffer) < end:
                return
            body = bytes(self._buffer[_LENGTH.size : end])
            del self._buffer[:end]
            yield body
