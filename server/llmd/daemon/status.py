"""What `llmd status` says."""

from __future__ import annotations

import asyncio
import os
import time
from datetime import UTC, datetime
from typing import Any

import msgspec

from llmd import __version__, machine
from llmd.completion.trace import Totals
from llmd.daemon.logs import LastError
from llmd.engine.client import EngineClient
from llmd.errors import LlmdError
from llmd.models.resolve import model_path
from llmd.transport.service import Client

_STARTED_S = time.monotonic()


def snapshot(
    engine: EngineClient,
    totals: Totals,
    background: Totals,
    clients: list[Client],
    model: str,
    last: LastError,
) -> dict[str, Any]:
    """The object of `llmd status --json` and of `llmd/status`; docs/PROTOCOL.md has its keys."""
    info, counts = engine.info, totals.counts()
    return {
        "version": __version__,
        "state": engine.state,
        "reason": engine.reason,
        "notice": engine.notice,
        "loaded_share": round(engine.loaded_share, 2),
        "pid": os.getpid(),
        "worker_pid": engine.worker_pid,
        "uptime_s": round(time.monotonic() - _STARTED_S, 1),
        "model": _model(engine, model),
        "switch": msgspec.to_builtins(engine.switch),
        "slots": engine.slots(),
        "counts": counts,
        "background": background.counts(),
        "suppressed": totals.suppressed(),
        "latency": totals.latency(),
        "speed": totals.speed(),
        "memory": {
            "daemon_bytes": machine.rss_bytes(os.getpid()),
            "worker_bytes": machine.rss_bytes(engine.worker_pid),
            "kv_bytes": info.kv_bytes if info else 0,
            "planned_bytes": info.planned_bytes if info else 0,
        },
        "process": {
            "n_tasks": len(asyncio.all_tasks()),
            "n_fds": machine.n_open_files(),
            "n_documents": sum(client.n_documents() for client in clients),
        },
        "clients": [{"name": client.name, "editor": client.editor} for client in clients],
        "last_error": {"text": last.text, "at": _clock(last.at_s)},
    }


def _clock(at_s: float) -> str:
    """ISO 8601 with the machine's offset; empty for never."""
    return datetime.fromtimestamp(at_s, UTC).astimezone().isoformat("T", "seconds") if at_s else ""


def _model(engine: EngineClient, model: str) -> dict[str, Any]:
    try:
        path = str(model_path(model))
    except LlmdError:
        path = model
    keys = (
        "name", "family", "order", "quantisation", "backend", "n_ctx", "n_layers", "n_gpu_layers",
        "cache_type_k", "cache_type_v", "flash_attn", "n_batch", "threads", "plan",
    )  # fmt: skip
    return {"path": path, **{key: getattr(engine.info, key, None) for key in keys}}
