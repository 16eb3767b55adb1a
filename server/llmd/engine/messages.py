"""Defines the messages between daemon and worker: length-prefixed msgpack over a socketpair.

Text goes to the worker and text comes back; token ids never leave the worker. Cancelling uses
shared memory instead (engine/cancel_flags), so that the worker sees it in the middle of a decode.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Literal

import msgspec

from llmd.config import EngineConfig, KvConfig, SamplingConfig
from llmd.engine.report import Cost as Cost
from llmd.engine.report import EngineState as EngineState
from llmd.postprocess.stop import StopRule
from llmd.prompt.build import Piece
from llmd.prompt.families import Order

MAX_FRAME_BYTES = 64 << 20
LOST_DEVICE = 70  # exit code of a worker whose GPU evaluates nothing any more
_LENGTH = struct.Struct("<I")

StopReason = Literal[
    "eog", "lines", "indent", "suffix", "repeat", "brackets",  # postprocess/stop's
    "tokens", "deadline", "cancelled", "context", "failed",
    "alternative",  # there are not so many
]  # fmt: skip


class Load(msgspec.Struct, frozen=True, tag=True):
    """Loads a model: the first message to a worker."""

    path: str
    order: Order | Literal["auto"]
    engine: EngineConfig
    kv: KvConfig = KvConfig()
    adapters: tuple[tuple[str, float], ...] = ()  # paths of LoRAs, and their scales
    n_shrunk: int = 0  # how often the automatic settings are reduced, since a load was killed


class Generate(msgspec.Struct, frozen=True, tag=True):
    """Generates a completion.

    `slot`: whose KV cells the prompt continues; 0 belongs to no document. `background`: no caller
    waits for the text, and any other message ends the request. `is_prefill`: the prompt is
    evaluated and nothing generated; its layout leaves room for `max_tokens`. `alternative` k: the
    text begins with the k-th best token other than the best text's own.
    """

    id: int
    pieces: tuple[Piece, ...]
    stop: StopRule
    sampling: SamplingConfig
    slot: int = 0
    background: bool = False
    is_prefill: bool = False
    alternative: int = 0
    wants_tokens: bool = False  # report each token's log-probability


class Forget(msgspec.Struct, frozen=True, tag=True):
    """Drops the KV cells of a slot, parked ones too: its document was closed."""

    slot: int


class DropParked(msgspec.Struct, frozen=True, tag=True):
    """Drops all parked slots when memory is short. While `keep` is false, none is parked again."""

    keep: bool = False


class Loading(msgspec.Struct, frozen=True, tag=True):
    share: float  # 0 to 1


class Loaded(msgspec.Struct, frozen=True, tag=True):
    """Describes the loaded model and its layout. `notice`: one sentence for the user, or empty."""

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
    plan: tuple[str, ...] = ()  # what was decided and why, in sentences
    planned_bytes: int = 0  # of the worker, without a GPU's own memory; 0: not known


class LoadFailed(msgspec.Struct, frozen=True, tag=True):
    reason: str


class TokenLogprob(msgspec.Struct, frozen=True, array_like=True):
    """Describes one generated token: where its text ends, in characters of the generated text, and
    its log-probability at temperature 1 among the tokens that were allowed."""

    end: int
    logprob: float


class Partial(msgspec.Struct, frozen=True, tag=True):
    """Streams the text so far that no later token takes back; whole, not a difference. `tokens`:
    all that were generated so far, which may reach beyond `text`; empty unless they were asked
    for."""

    id: int
    text: str
    tokens: tuple[TokenLogprob, ...] = ()


class SlotView(msgspec.Struct, frozen=True):
    """Describes one slot. `parked_bytes` is 0 for the slot in the KV cache."""

    id: int
    n_cells: int
    resident: bool
    parked_bytes: int = 0


class Done(msgspec.Struct, frozen=True, tag=True):
    """Ends a request. `slots`: all slots after the request, the resident one first."""

    id: int
    text: str
    reason: StopReason
    cost: Cost
    error: str = ""
    slots: tuple[SlotView, ...] = ()
    tokens: tuple[TokenLogprob, ...] = ()


def empty_done(id_: int, reason: StopReason, error: str = "") -> Done:
    """Ends a request that cost nothing."""
    return Done(id_, "", reason, Cost(), error)


ToWorker = Load | Generate | Forget | DropParked
FromWorker = Loading | Loaded | LoadFailed | Partial | Done

decode_to_worker = msgspec.msgpack.Decoder(ToWorker).decode
decode_from_worker = msgspec.msgpack.Decoder(FromWorker).decode


def encode(frame: ToWorker | FromWorker) -> bytes:
    body = msgspec.msgpack.encode(frame)
    return _LENGTH.pack(len(body)) + body


class FrameDecoder:
    """Splits a byte stream into message bodies."""

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
