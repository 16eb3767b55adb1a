"""Formats the daemon's answers for the command line: plain text that fits a screen. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from llmd.completion.trace import Quantiles, RequestStages, Trace
from llmd.completion.types import OutcomeCount, OutcomeRow
from llmd.errors import printable
from llmd.transport.status_types import Status

_MIB = 1 << 20


def status_text(status: Status) -> str:
    """Formats a status in at most 24 lines."""
    model, counts, latency, memory = status.model, status.counts, status.latency, status.memory
    is_known = model.name is not None
    prompt = f"family {model.family}, order {model.order}, {model.quantisation}"
    layers = f"{model.n_gpu_layers} of {model.n_layers} layers offloaded"
    kv_cache = f"n_ctx {model.n_ctx}, K {model.cache_type_k}, V {model.cache_type_v}"
    prefill, decode = status.speed.prefill_tokens_per_s, status.speed.decode_tokens_per_s
    slots = [f"{slot.id}: {slot.n_cells} of {slot.n_ctx} cells" for slot in status.slots]
    rows = {
        "state": _state(status),
        "daemon": f"llmd {status.version}, pid {status.pid}, up {span(status.uptime_s)}",
        "worker": f"pid {status.worker_pid}" if status.worker_pid else "none",
        "model": f"{model.name or '?'}, {model.path}",
        "prompt": prompt if is_known else "",
        "engine": f"{model.backend}, {layers}, {model.threads} threads" if is_known else "",
        "kv cache": f"{kv_cache}, {memory.kv_bytes // _MIB} MiB" if is_known else "",
        "slots": ", ".join(slots),
        "memory": f"daemon {memory.daemon_bytes // _MIB} MiB,"
        f" worker {memory.worker_bytes // _MIB} MiB",
        "pressure": status.pressure.doing,
        "clients": ", ".join(client.editor or client.name for client in status.clients) or "none",
        "requests": _counted(counts.by_path, counts.requests),
        "suppressed": _counted(status.suppressed, sum(status.suppressed.values())),
        "shown": _outcomes(status.outcomes),
        "ttft": _latency(latency.ttft_ms),
        "total": _latency(latency.total_ms),
        "speed": f"prefill {prefill:.0f}, decode {decode:.0f} tokens/s",
        "cached": f"{100 * counts.n_cached / max(1, counts.n_prompt):.0f} %"
        f" of {counts.n_prompt} prompt tokens",
        "config": status.config.problem or status.config.path,
        "notice": status.notice,
        "last error": f"{status.last_error.at} {status.last_error.text}".strip() or "none",
    }
    return table(list(rows.items()))


def plan_text(status: Status) -> str:
    """Explains how the model is laid out in memory, or why no model is loaded."""
    if not status.model.plan:
        return f"No model is loaded ({_state(status)}); a completion loads one"
    worker, planned = status.memory.worker_bytes, status.memory.planned_bytes
    total = f"The worker takes {worker // _MIB} MiB, {planned // _MIB} MiB were planned."
    return "\n".join(map(printable, [*status.model.plan, total]))


def table(rows: Sequence[tuple[str, str]]) -> str:
    """Aligns names and texts in two columns. Rows without a text are left out."""
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:{width}}  {printable(text)}" for name, text in rows if text)


def why_text(stages: RequestStages) -> str:
    """Formats the latest request of a file, a line per stage."""
    trace, window = stages.trace, stages.window
    n_generated, n_shown = stages.n_chars_generated, stages.n_chars_shown
    rows = [
        ("file", f"{stages.file}:{stages.line}:{stages.col}"),
        ("asked", "by hand" if stages.invoked else "while typing"),
        ("gate", f"refused: {stages.gate}" if stages.gate else "passed"),
    ]
    if window:
        lines = f"lines {window.first_line} to {window.end_line}"
        chars = f"{window.n_prefix_chars} characters before the cursor"
        rows.append(("window", f"{lines}, {chars}, {window.n_suffix_chars} after"))
    if not stages.gate:
        healed = f"{trace.n_healed} tokens healed, " if trace.n_healed else ""
        rows += [
            ("plan", f"{trace.n_cached} tokens cached, {trace.n_prefill} evaluated"),
            ("decode", f"{healed}{trace.n_decoded} tokens, stopped by: {stages.stop}"),
            ("confidence", _confidence(trace) if n_generated else ""),
            ("trim", f"{n_generated} characters, {n_shown} shown"),
        ]
    rows += [("answer", _answer(stages)), ("times", _times(trace))]
    return table(rows)


def span(seconds: float) -> str:
    """Formats a time span for people: 12 s, 5 min, 3 h 20 min, 2 d 4 h."""
    minutes, hours = int(seconds) // 60, int(seconds) // 3600
    if minutes < 1:
        return f"{int(seconds)} s"
    if hours < 1:
        return f"{minutes} min"
    if hours < 24:
        return f"{hours} h {minutes % 60} min"
    return f"{hours // 24} d {hours % 24} h"


def _state(status: Status) -> str:
    if status.state == "loading" and not status.reason:
        return f"loading, {100 * status.loaded_share:.0f} %"
    return f"{status.state}: {status.reason}".removesuffix(": ")


def _counted(counts: Mapping[str, int], total: int) -> str:
    parts = ", ".join(f"{n} {name}" for name, n in counts.items())
    return f"{total}: {parts}" if parts else "none"


def _outcomes(rows: Sequence[OutcomeRow]) -> str:
    """Sums the outcomes of all filetypes and models.

    The share of used characters is left out where an editor reports only accepted suggestions.
    """
    shown = _total([row.shown for row in rows])
    accepted = _total([row.accepted for row in rows])
    typed = _total([row.typed_through for row in rows])
    rejected = _total([row.rejected for row in rows])
    dismissed = _total([row.dismissed for row in rows])
    if not any(count.n for count in (shown, accepted, typed, rejected, dismissed)):
        return "none"
    used = 100 * (accepted.n_chars + typed.n_chars) / (shown.n_chars or 1)
    share = f"; {used:.0f} % of the characters used" if shown.n_chars else ""
    return (
        f"{shown.n}: {accepted.n} accepted, {typed.n} typed, {rejected.n} rejected,"
        f" {dismissed.n} dismissed{share}"
    )


def _total(counts: Sequence[OutcomeCount]) -> OutcomeCount:
    return OutcomeCount(sum(count.n for count in counts), sum(count.n_chars for count in counts))


def _latency(quantiles: Quantiles) -> str:
    return f"p50 {quantiles.p50:.0f} ms, p95 {quantiles.p95:.0f} ms"


def _confidence(trace: Trace) -> str:
    return (
        f"log-probability of the first token {trace.logprob_first:.2f},"
        f" mean of the first line {trace.logprob_line:.2f}"
    )


def _answer(stages: RequestStages) -> str:
    path, reason = stages.trace.path, stages.trace.reason
    shown = "a text" if stages.n_chars_shown else "nothing"
    return f"{shown}, {path}" + (f": {reason}" if path in ("failed", "suppressed") else "")


def _times(trace: Trace) -> str:
    return (
        f"queue {trace.queue_ms:.1f}, prefill {trace.prefill_ms:.1f},"
        f" first token {trace.ttft_ms:.1f}, decode {trace.decode_ms:.1f},"
        f" total {trace.total_ms:.1f} ms"
    )
