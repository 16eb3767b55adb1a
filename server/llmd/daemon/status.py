"""Builds the object of `llmd/status`; transport.status_types defines its keys."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec

from llmd import __version__, machine
from llmd.completion.trace import Totals
from llmd.completion.types import OutcomeRow
from llmd.daemon.logs import LastError
from llmd.engine.client import EngineClient
from llmd.errors import LlmdError
from llmd.models.resolve import model_path
from llmd.transport.service import Client
from llmd.transport.status_types import (
    ClientStatus,
    ConfigStatus,
    ErrorStatus,
    MemoryStatus,
    ModelStatus,
    PressureStatus,
    ProcessStatus,
    Status,
)

_STARTED_S = time.monotonic()


def build_status(
    engine: EngineClient,
    totals: Totals,
    background: Totals,
    clients: Sequence[Client],
    last: LastError,
    config: ConfigStatus,
    debounce_ms: int,
    pressure: PressureStatus,
    outcomes: tuple[OutcomeRow, ...],
) -> Status:
    return Status(
        version=__version__,
        state=engine.state,
        reason=engine.reason,
        notice=engine.notice,
        loaded_share=round(engine.loaded_share, 2),
        pid=os.getpid(),
        worker_pid=engine.worker_pid,
        uptime_s=round(time.monotonic() - _STARTED_S, 1),
        model=_model_status(engine),
        switch=engine.switch,
        slots=engine.slots(),
        counts=totals.counts(),
        background=background.counts(),
        suppressed=totals.suppressed(),
        latency=totals.latency(),
        speed=totals.speed(),
        memory=_memory_status(engine),
        process=ProcessStatus(
            n_tasks=len(asyncio.all_tasks()),
            n_fds=machine.n_open_files(),
            n_documents=sum(client.n_documents() for client in clients),
        ),
        clients=tuple(ClientStatus(client.name, client.editor) for client in clients),
        last_error=ErrorStatus(last.text, _iso_time(last.at_s)),
        config=config,
        debounce_ms=debounce_ms,
        pressure=pressure,
        outcomes=outcomes,
    )


def _iso_time(at_s: float) -> str:
    """Returns ISO 8601 with the machine's offset; empty for never."""
    return datetime.fromtimestamp(at_s, UTC).astimezone().isoformat("T", "seconds") if at_s else ""


def _model_status(engine: EngineClient) -> ModelStatus:
    try:
        path = str(model_path(engine.config.model))
    except LlmdError:
        path = engine.config.model
    loaded = msgspec.structs.asdict(engine.info) if engine.info else {}
    return ModelStatus(path, **{key: loaded.get(key) for key in ModelStatus.__struct_fields__[1:]})


def _memory_status(engine: EngineClient) -> MemoryStatus:
    return MemoryStatus(
        daemon_bytes=machine.rss_bytes(os.getpid()),
        worker_bytes=machine.rss_bytes(engine.worker_pid),
        kv_bytes=engine.info.kv_bytes if engine.info else 0,
        planned_bytes=engine.info.planned_bytes if engine.info else 0,
    )
