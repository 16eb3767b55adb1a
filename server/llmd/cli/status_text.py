"""What the command line prints of the daemon's answers: plain text that fits a screen. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llmd.errors import printable

_OUTCOMES = ("shown", "accepted", "typed_through", "rejected", "dismissed")
_MIB = 1 << 20


def status_text(found: dict[str, Any]) -> str:
    """The object of `llmd/status` in at most 24 lines."""
    model, counts = found["model"], found["counts"]
    rows = {
        "state": _state(found),
        "daemon": f"llmd {found['version']}, pid {found['pid']}, up {span(found['uptime_s'])}",
        "worker": f"pid {found['worker_pid']}" if found["worker_pid"] else "none",
        "model": f"{model['name'] or '?'}, {model['path']}",
        "prompt": _known(model, "family {family}, order {order}, {quantisation}"),
        "engine": _known(
            model, "{backend}, {n_gpu_layers} of {n_layers} layers offloaded, {threads} threads"
        ),
        "kv cache": _kv_cache(found),
        "slots": ", ".join(
            f"{slot['id']}: {slot['n_cells']} of {slot['n_ctx']} cells" for slot in found["slots"]
        ),
        "memory": "daemon {daemon_bytes} MiB, worker {worker_bytes} MiB".format(
            **{key: value // _MIB for key, value in found["memory"].items()}
        ),
        "pressure": found.get("pressure", {}).get("doing", ""),
        "clients": ", ".join(client["editor"] or client["name"] for client in found["clients"])
        or "none",
        "requests": _counted(counts["by_path"], counts["requests"]),
        "suppressed": _counted(found["suppressed"], sum(found["suppressed"].values())),
        "shown": _outcomes(found["outcomes"]),
        "ttft": _latency(found["latency"]["ttft_ms"]),
        "total": _latency(found["latency"]["total_ms"]),
        "speed": "prefill {prefill_tokens_per_s:.0f}, decode {decode_tokens_per_s:.0f} tokens/s".format(  # noqa: E501
            **found["speed"]
        ),
        "cached": _share(counts),
        "config": found["config"]["problem"] or found["config"]["path"],
        "notice": found["notice"],
        "last error": "{at} {text}".format(**found["last_error"]).strip() or "none",
    }
    return table(list(rows.items()))


def plan_text(found: dict[str, Any]) -> str:
    """How the model is laid out and why; or why there is none."""
    plan = found["model"]["plan"]
    if not plan:
        return f"No model is loaded ({_state(found)}); a completion loads one"
    worker, planned = found["memory"]["worker_bytes"], found["memory"]["planned_bytes"]
    taken = f"The worker takes {worker // _MIB} MiB, {planned // _MIB} MiB were planned."
    return "\n".join(map(printable, [*plan, taken]))


def table(rows: Sequence[tuple[str, str]]) -> str:
    """Names and texts in two columns; empty texts are left out."""
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:{width}}  {printable(text)}" for name, text in rows if text)


def why_text(found: dict[str, Any]) -> str:
    """The object of `llmd/why`."""
    trace, window = found["trace"], found["window"]
    rows = [
        ("file", f"{found['file']}:{found['line']}:{found['col']}"),
        ("asked", "by hand" if found["invoked"] else "while typing"),
        ("gate", f"refused: {found['gate']}" if found["gate"] else "passed"),
    ]
    if window:
        rows.append(("window", _window(window)))
    if not found["gate"]:
        rows += [
            ("plan", "{n_cached} tokens cached, {n_prefill} evaluated".format(**trace)),
            ("decode", _decode(trace, found["stop"])),
            ("confidence", _confidence(trace) if found["n_chars_generated"] else ""),
            ("trim", "{n_chars_generated} characters, {n_chars_shown} shown".format(**found)),
        ]
    rows.append(("answer", _answer(found)))
    rows.append(("times", _times(trace)))
    return table(rows)


def span(seconds: float) -> str:
    """As a person says it: 12 s, 5 min, 3 h 20 min, 2 d 4 h."""
    minutes, hours = int(seconds) // 60, int(seconds) // 3600
    if minutes < 1:
        return f"{int(seconds)} s"
    if hours < 1:
        return f"{minutes} min"
    if hours < 24:
        return f"{hours} h {minutes % 60} min"
    return f"{hours // 24} d {hours % 24} h"


def _state(found: dict[str, Any]) -> str:
    if found["state"] == "loading" and not found["reason"]:
        return f"loading, {100 * found['loaded_share']:.0f} %"
    return f"{found['state']}: {found['reason']}".removesuffix(": ")


def _known(model: dict[str, Any], text: str) -> str:
    return text.format_map(model) if model["name"] else ""


def _kv_cache(found: dict[str, Any]) -> str:
    text = _known(found["model"], "n_ctx {n_ctx}, K {cache_type_k}, V {cache_type_v}")
    return text and f"{text}, {found['memory']['kv_bytes'] // _MIB} MiB"


def _counted(counts: dict[str, int], total: int) -> str:
    parts = ", ".join(f"{n} {name}" for name, n in counts.items())
    return f"{total}: {parts}" if parts else "none"


def _outcomes(rows: list[dict[str, Any]]) -> str:
    """Of all filetypes and models."""
    n = {kind: sum(row[kind]["n"] for row in rows) for kind in _OUTCOMES}
    if not any(n.values()):
        return "none"
    said = "{shown}: {accepted} accepted, {typed_through} typed, {rejected} rejected, {dismissed} "
    return said.format(**n) + f"dismissed{_used(rows)}"


def _used(rows: list[dict[str, Any]]) -> str:
    """The share of what was shown that stands in a file; nothing where an editor tells only of
    what was taken."""
    kinds = ("shown", "accepted", "typed_through")
    shown, *used = (sum(row[kind]["n_chars"] for row in rows) for kind in kinds)
    return f"; {100 * sum(used) / shown:.0f} % of the characters used" if shown else ""


def _latency(quantiles: dict[str, float]) -> str:
    return "p50 {p50:.0f} ms, p95 {p95:.0f} ms".format(**quantiles)


def _share(counts: dict[str, Any]) -> str:
    share = 100 * counts["n_cached"] / max(1, counts["n_prompt"])
    return f"{share:.0f} % of {counts['n_prompt']} prompt tokens"


def _window(window: dict[str, int]) -> str:
    text = "lines {first_line} to {end_line}, {n_prefix_chars} characters before the cursor, "
    return (text + "{n_suffix_chars} after").format(**window)


def _decode(trace: dict[str, Any], stop: str) -> str:
    healed = "{n_healed} tokens healed, ".format(**trace) if trace["n_healed"] else ""
    return f"{healed}{trace['n_decoded']} tokens, stopped by: {stop}"


def _confidence(trace: dict[str, Any]) -> str:
    text = "log-probability of the first token {logprob_first:.2f}, mean of the first line "
    return (text + "{logprob_line:.2f}").format(**trace)


def _answer(found: dict[str, Any]) -> str:
    path, reason = found["trace"]["path"], found["trace"]["reason"]
    shown = "a text" if found["n_chars_shown"] else "nothing"
    return f"{shown}, {path}" + (f": {reason}" if path in ("failed", "suppressed") else "")


def _times(trace: dict[str, Any]) -> str:
    text = "queue {queue_ms:.1f}, prefill {prefill_ms:.1f}, first token {ttft_ms:.1f}, "
    return (text + "decode {decode_ms:.1f}, total {total_ms:.1f} ms").format(**trace)
