"""Defines the objects of `llmd/status` and `llmd/complete`, from the daemon to the command line.

docs/PROTOCOL.md's tables are made from these structs. Each key has a default, and unknown keys are
ignored, so that the status of an older or newer daemon can still be read. Imports nothing heavy:
`llmd status` starts with this module.
"""

from __future__ import annotations

from typing import TypeVar

import msgspec

from llmd.completion.trace import EngineSpeed, Latency, RequestCounts, Trace
from llmd.completion.types import OutcomeRow
from llmd.engine.report import EngineState, SlotReport, SwitchView
from llmd.errors import DaemonError

T = TypeVar("T")


class ModelStatus(msgspec.Struct, frozen=True):
    """Describes the loaded model. All keys but `path` are null while no model was loaded.

    path: the GGUF file, or the config's `model` if no file is found
    name: the file's own name of the model
    family: family of the FIM format
    order: order of the FIM parts: `psm`, `spm` or `spm2`
    quantisation: for example `Q8_0`
    backend: llama.cpp's backend that computes
    n_ctx: size of the KV cache in tokens
    n_layers: layers of the model
    n_gpu_layers: layers offloaded to the GPU
    cache_type_k: type of the cached keys
    cache_type_v: type of the cached values
    flash_attn: true: flash attention is on
    n_batch: tokens evaluated at once
    threads: threads of the worker
    plan: sentences: how the model is laid out in memory, and why
    """

    path: str
    name: str | None = None
    family: str | None = None
    order: str | None = None
    quantisation: str | None = None
    backend: str | None = None
    n_ctx: int | None = None
    n_layers: int | None = None
    n_gpu_layers: int | None = None
    cache_type_k: str | None = None
    cache_type_v: str | None = None
    flash_attn: bool | None = None
    n_batch: int | None = None
    threads: int | None = None
    plan: tuple[str, ...] | None = None


class MemoryStatus(msgspec.Struct, frozen=True):
    """Reports memory in bytes.

    daemon_bytes: resident memory of the daemon
    worker_bytes: resident memory of the worker
    kv_bytes: size of the KV cache
    planned_bytes: the worker's memory as planned; 0: unknown
    """

    daemon_bytes: int = 0
    worker_bytes: int = 0
    kv_bytes: int = 0
    planned_bytes: int = 0


class ProcessStatus(msgspec.Struct, frozen=True):
    """Counts what the daemon's process holds.

    n_tasks: asyncio tasks
    n_fds: open file descriptors
    n_documents: open documents of all clients
    """

    n_tasks: int = 0
    n_fds: int = 0
    n_documents: int = 0


class ClientStatus(msgspec.Struct, frozen=True):
    """Describes a connected client.

    name: name that the client gave
    editor: editor and version; may be empty
    """

    name: str = ""
    editor: str = ""


class ErrorStatus(msgspec.Struct, frozen=True):
    """Holds the latest error.

    text: the latest error in the log; empty: none
    at: time of the error, ISO 8601; empty: none
    """

    text: str = ""
    at: str = ""


class ConfigStatus(msgspec.Struct, frozen=True):
    """Tells whether the config file is in effect.

    path: the config file
    problem: why the latest version of the file is not in effect; empty: in effect
    """

    path: str = ""
    problem: str = ""


class PressureStatus(msgspec.Struct, frozen=True):
    """Tells what memory pressure has stopped.

    step: what llmd has given up because memory is short: 0 nothing, 1 background work, 2 parked KV
        cells, 3 the model
    doing: sentence about the step; empty at step 0
    """

    step: int = 0
    doing: str = ""


class Status(msgspec.Struct, frozen=True):
    """Describes a running daemon.

    version: version of the daemon
    state: `loading`, `ready`, `unloaded` (idle for `engine.idle_unload_s`) or `failed`
    reason: sentence about the state; may be empty
    notice: sentence about the model; may be empty
    loaded_share: share of the model that is loaded, 0 to 1
    pid: process of the daemon
    worker_pid: process of the worker; null: none runs
    uptime_s: seconds since the daemon started
    model: the loaded model; null in all keys but `path` without one
    switch: the latest change to another model
    slots: documents with cached KV cells after the latest request, the resident one first
    counts: sums over the requests of editors since the daemon started
    background: sums over work in the background
    suppressed: number of suppressed requests by reason
    latency: of the latest 512 requests that the model answered
    speed: tokens per second of the engine's own time
    memory: memory in bytes
    process: the daemon's process
    clients: connected editors
    last_error: the latest error
    config: the config file
    debounce_ms: the debounce in effect
    pressure: response to memory pressure
    outcomes: a row per filetype and model, see [Outcomes](#outcomes-of-suggestions)
    """

    version: str = ""
    state: EngineState = "loading"
    reason: str = ""
    notice: str = ""
    loaded_share: float = 0.0
    pid: int = 0
    worker_pid: int | None = None
    uptime_s: float = 0.0
    model: ModelStatus = ModelStatus("")
    switch: SwitchView = SwitchView()
    slots: tuple[SlotReport, ...] = ()
    counts: RequestCounts = RequestCounts()
    background: RequestCounts = RequestCounts()
    suppressed: dict[str, int] = msgspec.field(default_factory=dict)
    latency: Latency = Latency()
    speed: EngineSpeed = EngineSpeed()
    memory: MemoryStatus = MemoryStatus()
    process: ProcessStatus = ProcessStatus()
    clients: tuple[ClientStatus, ...] = ()
    last_error: ErrorStatus = ErrorStatus()
    config: ConfigStatus = ConfigStatus()
    debounce_ms: int = 0
    pressure: PressureStatus = PressureStatus()
    outcomes: tuple[OutcomeRow, ...] = ()


class CompleteParams(msgspec.Struct, frozen=True):
    """Parameters of `llmd/complete`: a document that is not open, and a zero-based cursor."""

    uri: str
    text: str
    line: int
    col: int  # in characters
    languageId: str = ""  # noqa: N815 - a name on the wire


class Completion(msgspec.Struct, frozen=True):
    """Answer to `llmd/complete`."""

    text: str
    trace: Trace


def decode_answer(answer: object, kind: type[T]) -> T:
    """Converts an answer of the daemon to its struct.

    Raises:
        DaemonError: the answer has another form, since the daemon has another version.
    """
    try:
        return msgspec.convert(answer, kind)
    except msgspec.ValidationError as error:
        raise DaemonError(
            f"The daemon's answer cannot be read: {error};"
            " `llmd restart --daemon` starts a daemon of this version"
        ) from None
