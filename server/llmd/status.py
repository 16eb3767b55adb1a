"""What `llmd status` says."""

from __future__ import annotations

import os
import time
from typing import Any

from llmd import __version__
from llmd.engine.service import EngineService
from llmd.errors import LlmdError
from llmd.machine import rss_bytes
from llmd.models.store import model_path
from llmd.trace import Totals
from llmd.transport.service import Client

_STARTED_S = time.monotonic()


def snapshot(
    engine: EngineService, totals: Totals, clients: list[Client], model: str
) -> dict[str, Any]:
    """The object of `llmd status --json` and of `llmd/status`; docs/PROTOCOL.md has its keys."""
    info = engine.info
    return {
        "version": __version__,
        "state": engine.state,
        "reason": engine.reason,
        "notice": info.notice if info else "",
        "loaded_share": round(engine.loaded_share, 2),
        "pid": os.getpid(),
        "worker_pid": engine.worker_pid,
        "uptime_s": round(time.monotonic() - _STARTED_S, 1),
        "model": _model(engine, model),
        "counts": totals.counts(),
        "background": Totals().counts(),
        "suppressed": totals.suppressed(),
        "latency": totals.latency(),
        "memory": {
            "daemon_bytes": rss_bytes(os.getpid()),
            "worker_bytes": rss_bytes(engine.worker_pid),
            "kv_bytes": info.kv_bytes if info else 0,
        },
        "clients": [{"name": client.name, "editor": client.editor} for client in clients],
    }


def _model(engine: EngineService, model: str) -> dict[str, Any]:
    try:
        path = str(model_path(model))
    except LlmdError:
        path = model
    keys = (
        "name", "family", "order", "quantisation", "backend", "n_ctx", "n_layers", "n_gpu_layers",
        "cache_type_k", "cache_type_v", "flash_attn", "n_batch", "threads",
    )  # fmt: skip
    return {"path": path, **{key: getattr(engine.info, key, None) for key in keys}}
