"""Defines the objects of `llmd/status` and `llmd/complete`, from the daemon to the command line.

docs/PROTOCOL.md's tables are made from these structs. Each key has a default, and unknown keys are
ignored, so that the status of an older or newer daemon can still be read. Imports nothing heavy:
`llmd status` starts with this module.
"""

from __future__ import annotations

from typing import Annotated, TypeVar

import msgspec

from llmd.completion.trace import EngineSpeed, Latency, RequestCounts, Totals, Trace
from llmd.completion.types import OutcomeRow
from llmd.engine.report import EngineState, SlotReport, SwitchView, describe
from llmd.errors import DaemonError

T = TypeVar("T")


class ModelStatus(msgspec.Struct, frozen=True):
    """Describes the loaded model. All keys but `path` are null while no model was loaded."""

    path: Annotated[str, describe("the GGUF file, or the config's `model` if no file is found")]
    name: Annotated[str | None, describe("the file's own name of the model")] = None
    family: Annotated[str | None, describe("family of the FIM format")] = None
    order: Annotated[str | None, describe("order of the FIM parts: `psm`, `spm` or `spm2`")] = None
    quantisation: Annotated[str | None, describe("for example `Q8_0`")] = None
    backend: Annotated[str | None, describe("llama.cpp's backend that computes")] = None
    n_ctx: Annotated[int | None, describe("size of the KV cache in tokens")] = None
    n_layers: Annotated[int | None, describe("layers of the model")] = None
    n_gpu_layers: Annotated[int | None, describe("layers offloaded to the GPU")] = None
    cache_type_k: Annotated[str | None, describe("type of the cached keys")] = None
    cache_type_v: Annotated[str | None, describe("type of the cached values")] = None
    flash_attn: Annotated[bool | None, describe("true: flash attention is on")] = None
    n_batch: Annotated[int | None, describe("tokens evaluated at once")] = None
    threads: Annotated[int | None, describe("threads of the worker")] = None
    plan: Annotated[
        tuple[str, ...] | None, describe("sentences: how the model is laid out in memory, and why")
    ] = None


class MemoryStatus(msgspec.Struct, frozen=True):
    daemon_bytes: Annotated[int, describe("resident memory of the daemon")] = 0
    worker_bytes: Annotated[int, describe("resident memory of the worker")] = 0
    kv_bytes: Annotated[int, describe("size of the KV cache")] = 0
    planned_bytes: Annotated[int, describe("the worker's memory as planned; 0: unknown")] = 0


class ProcessStatus(msgspec.Struct, frozen=True):
    n_tasks: Annotated[int, describe("asyncio tasks")] = 0
    n_fds: Annotated[int, describe("open file descriptors")] = 0
    n_documents: Annotated[int, describe("open documents of all clients")] = 0


class ClientStatus(msgspec.Struct, frozen=True):
    name: Annotated[str, describe("name that the client gave")] = ""
    editor: Annotated[str, describe("editor and version; may be empty")] = ""


class ErrorStatus(msgspec.Struct, frozen=True):
    text: Annotated[str, describe("the latest error in the log; empty: none")] = ""
    at: Annotated[str, describe("time of the error, ISO 8601; empty: none")] = ""


class ConfigStatus(msgspec.Struct, frozen=True):
    path: Annotated[str, describe("the config file")] = ""
    problem: Annotated[
        str, describe("why the latest version of the file is not in effect; empty: in effect")
    ] = ""


class PressureStatus(msgspec.Struct, frozen=True):
    step: Annotated[
        int,
        describe(
            "what llmd has given up because memory is short: 0 nothing, 1 background work, "
            "2 parked KV cells, 3 the model"
        ),
    ] = 0
    doing: Annotated[str, describe("sentence about the step; empty at step 0")] = ""


class Status(msgspec.Struct, frozen=True):
    """Describes a running daemon."""

    version: Annotated[str, describe("version of the daemon")] = ""
    state: Annotated[
        EngineState,
        describe("`loading`, `ready`, `unloaded` (idle for `engine.idle_unload_s`) or `failed`"),
    ] = "loading"
    reason: Annotated[str, describe("sentence about the state; may be empty")] = ""
    notice: Annotated[str, describe("sentence about the model; may be empty")] = ""
    loaded_share: Annotated[float, describe("share of the model that is loaded, 0 to 1")] = 0.0
    pid: Annotated[int, describe("process of the daemon")] = 0
    worker_pid: Annotated[int | None, describe("process of the worker; null: none runs")] = None
    uptime_s: Annotated[float, describe("seconds since the daemon started")] = 0.0
    model: Annotated[
        ModelStatus, describe("the loaded model; null in all keys but `path` without one")
    ] = ModelStatus("")
    switch: Annotated[SwitchView, describe("the latest change to another model")] = SwitchView()
    slots: Annotated[
        tuple[SlotReport, ...],
        describe("documents with cached KV cells after the latest request, the resident one first"),
    ] = ()
    counts: Annotated[
        RequestCounts, describe("sums over the requests of editors since the daemon started")
    ] = RequestCounts()
    background: Annotated[RequestCounts, describe("sums over work in the background")] = (
        RequestCounts()
    )
    suppressed: Annotated[dict[str, int], describe("number of suppressed requests by reason")] = (
        msgspec.field(default_factory=dict)
    )
    latency: Annotated[
        Latency, describe(f"of the latest {Totals.KEPT_LATENCIES} requests that the model answered")
    ] = Latency()
    speed: Annotated[EngineSpeed, describe("tokens per second of the engine's own time")] = (
        EngineSpeed()
    )
    memory: Annotated[MemoryStatus, describe("memory in bytes")] = MemoryStatus()
    process: Annotated[ProcessStatus, describe("the daemon's process")] = ProcessStatus()
    clients: Annotated[tuple[ClientStatus, ...], describe("connected editors")] = ()
    last_error: Annotated[ErrorStatus, describe("the latest error")] = ErrorStatus()
    config: Annotated[ConfigStatus, describe("the config file")] = ConfigStatus()
    debounce_ms: Annotated[int, describe("the debounce in effect")] = 0
    pressure: Annotated[PressureStatus, describe("response to memory pressure")] = PressureStatus()
    outcomes: Annotated[
        tuple[OutcomeRow, ...],
        describe("a row per filetype and model, see [Outcomes](#outcomes-of-suggestions)"),
    ] = ()


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
