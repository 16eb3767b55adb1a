"""Checks on a machine with a GPU what no other machine can show, within ten minutes.

    make demo CMAKE_ARGS=-DGGML_CUDA=on       # or -DGGML_HIP=on, -DGGML_VULKAN=on; a Mac needs none
    .venv/bin/python -m tools.gpu_check MODEL.gguf --out DIR [--llama-server BINARY --trace TRACE]

Prints one line of JSON for each check and writes them to DIR/gpu_check.json. Without a GPU the same
checks run on the CPU, where they show only that the script works.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import msgspec

from llmd import machine
from llmd.bridge.daemon_client import DaemonClient
from llmd.cli.temporary_daemon import temporary_daemon
from llmd.config import CacheType, EngineConfig
from llmd.engine import messages
from llmd.errors import LlmdError
from llmd.transport.status_types import CompleteParams
from llmd.worker import llama
from llmd.worker.llama import Context
from llmd.worker.loader import OpenModel, open_model

N_PROMPT = 1022  # tokens, the default window
CANCEL_AFTER_S = 0.02
TYPES: tuple[tuple[CacheType, CacheType], ...] = (
    ("q4_0", "q4_0"), ("f16", "f16"), ("q8_0", "q8_0"), ("q8_0", "q4_0"),
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description="Checks llmd on this machine's GPU.")
    parser.add_argument("model", type=Path)
    parser.add_argument("--out", type=Path, default=Path("gpu_check"))
    parser.add_argument("--llama-server", type=Path, help="a build for the same GPU")
    parser.add_argument("--trace", type=Path, help="an edit trace for `llmd bench`")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    checks: dict[str, Callable[[], Any]] = {
        "machine": describe,
        "load": lambda: time_load(args.model),
        "types": lambda: time_types(args.model),
        "cancel": lambda: time_cancel(args.model),
        "memory taken": lambda: take_memory(args.model),
        "memory after the end": lambda: free_bytes(args.model),
        "bench": lambda: bench(args),
    }
    found = {}
    for name, check in checks.items():
        start_s = time.monotonic()
        try:
            found[name] = check()
        except (LlmdError, OSError, subprocess.SubprocessError) as error:
            found[name] = f"failed: {error}"
        print(json.dumps({name: found[name], "seconds": round(time.monotonic() - start_s, 1)}))
        (args.out / "gpu_check.json").write_text(json.dumps(found, indent=1))


def describe() -> dict[str, Any]:
    gpus, is_unified = llama.gpus()
    return {"gpus": [[gpu.name, gpu.api, gpu.free_bytes, gpu.total_bytes] for gpu in gpus],
            "unified": is_unified, "backend": llama.backend(), "problem": llama.gpu_problem(),
            "driver": machine.nvidia_driver(), "cpu": machine.cpu_name()}  # fmt: skip


@contextmanager
def opened(model: Path, **engine: Any) -> Iterator[OpenModel]:
    load = messages.Load(str(model), "auto", EngineConfig(**engine))
    with closing(open_model(load, lambda _: None)) as made:
        yield made


def evaluate(context: Context, n_tokens: int, n_batch: int) -> float:
    """Evaluates arbitrary tokens in batches. Returns milliseconds until the logits are there."""
    start_s = time.perf_counter()
    context.clear()
    for start in range(0, n_tokens, n_batch):
        size = min(n_batch, n_tokens - start)
        if code := context.decode([1 + (start + n) % 900 for n in range(size)], start, 1):
            raise OSError(f"code {code}")
    context.logits()
    return round(1e3 * (time.perf_counter() - start_s), 1)


def time_load(model: Path) -> dict[str, Any]:
    """Times the load, and the first and second request: the warm-up shall leave no difference."""
    start_s = time.perf_counter()
    with opened(model) as made:
        load_s = round(time.perf_counter() - start_s, 2)
        n_batch, plan = made.context.n_batch, made.setup.plan
        times_ms = {n: [evaluate(made.context, n, n_batch) for _ in range(3)]
                    for n in (N_PROMPT, 64, 4, 1)}  # fmt: skip
    return {"load_s": load_s, "n_batch": n_batch, "prefill_per_s": plan.prefill_per_s,
            "n_gpu_layers": plan.n_gpu_layers, "types": [plan.cache_type_k, plan.cache_type_v],
            "ms by tokens, in a row": times_ms}  # fmt: skip


def time_types(model: Path) -> dict[str, Any]:
    """Times prefill and decode for pairs of cache types; one that falls to the CPU shows."""
    found = {}
    for type_k, type_v in TYPES:
        with opened(model, cache_type_k=type_k, cache_type_v=type_v, flash_attn=True) as made:
            n_batch = made.context.n_batch
            evaluate(made.context, N_PROMPT, n_batch)
            found[f"{type_k} {type_v}"] = [
                evaluate(made.context, N_PROMPT, n_batch), evaluate(made.context, 1, 1)
            ]  # fmt: skip
    return found


def time_cancel(model: Path) -> dict[str, Any]:
    """Sets the abort flag in a batch of the whole prompt, by micro-batch: the code of
    llama_decode, and milliseconds from the flag to the end."""
    found = {}
    for n_ubatch in (64, 128, 512):
        with opened(model, n_batch=1024, n_ubatch=n_ubatch) as made:
            evaluate(made.context, N_PROMPT, 1024)
            flag = ctypes.create_string_buffer(2)
            made.context.set_abort_flag(ctypes.addressof(flag))
            made.context.clear()
            set_s: list[float] = []

            def cancel(flag: Any = flag, set_s: list[float] = set_s) -> None:
                time.sleep(CANCEL_AFTER_S)
                set_s.append(time.perf_counter())
                flag[0] = b"\1"

            thread = threading.Thread(target=cancel)
            thread.start()
            code = made.context.decode([1 + n % 900 for n in range(N_PROMPT)], 0, 1)
            if not code:
                made.context.logits()
            end_s = time.perf_counter()
            thread.join()
            found[n_ubatch] = [code, round(1e3 * (end_s - set_s[0]), 1)]
    return found


def take_memory(model: Path) -> Any:
    """Fills the GPU's memory beside a daemon, then completes: the daemon has to say "memory", and
    to answer again with a smaller plan."""
    if not any(gpu.api == "CUDA" for gpu in llama.gpus()[0]):
        return "only with CUDA"
    found: list[Any] = []
    with temporary_daemon([f"model={model}"], has_users_config=False) as daemon:
        found.append(complete(daemon.client, 0))
        with subprocess.Popen(  # noqa: S603
            [sys.executable, "-c", FILL], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as filler:
            found.append(filler.stdout.readline().strip() if filler.stdout else "")
            found += [complete(daemon.client, number) for number in range(1, 4)]
            filler.communicate()
        found.append(complete(daemon.client, 4))
    return found


# Takes all but 32 MiB of the first GPU by the driver's own functions, until its input ends.
FILL = """
import ctypes, sys
cuda = ctypes.CDLL("libcuda.so.1")
device, context = ctypes.c_int(), ctypes.c_void_p()
free, total, pointer = ctypes.c_size_t(), ctypes.c_size_t(), ctypes.c_uint64()
codes = [cuda.cuInit(0), cuda.cuDeviceGet(ctypes.byref(device), 0),
         cuda.cuCtxCreate_v2(ctypes.byref(context), 0, device),
         cuda.cuMemGetInfo_v2(ctypes.byref(free), ctypes.byref(total))]
codes.append(cuda.cuMemAlloc_v2(ctypes.byref(pointer), ctypes.c_size_t(free.value - (32 << 20))))
print(f"taken {free.value - (32 << 20)} of {total.value}, codes {codes}", flush=True)
sys.stdin.read()
"""


def complete(client: DaemonClient, number: int) -> list[Any]:
    """Asks for a completion in a new document. Returns its length, and the engine's state."""
    text = (
        f"# {number}\n" + "def add(a, b):\n    return a + b\n\n\n" * 60 + "def sub(a, b):\n    ret"
    )
    line = text.count("\n")
    params = CompleteParams(
        f"file:///gpu/{number}.py", text, line, len(text.split("\n")[-1]), "python"
    )
    answer = client.request("llmd/complete", msgspec.to_builtins(params), timeout_s=120)
    status = client.request("llmd/status", {}, timeout_s=30)
    return [len(answer["text"]), status["state"], status["reason"], status["last_error"]["text"]]


def free_bytes(model: Path) -> Any:
    """Returns the GPU's free memory before a worker, with it, and after its end."""
    ask = [sys.executable, "-m", "llmd.worker.loader"]

    def free() -> list[int]:
        done = subprocess.run(ask, capture_output=True, check=True)  # noqa: S603
        return [gpu["free_bytes"] for gpu in json.loads(done.stdout)["gpus"]]

    before = free()
    with temporary_daemon([f"model={model}"], has_users_config=False):
        during = free()
    return [before, during, free()]


def bench(args: argparse.Namespace) -> Any:
    """Replays a trace with llmd and with llama-server on the same GPU."""
    if not args.trace or not args.llama_server:
        return "needs --trace and --llama-server"
    server = subprocess.Popen(  # noqa: S603
        [args.llama_server, "-m", args.model, "--port", "8012", "-c", "2048", "-b", "1024",
         "-ngl", "99", "--cache-reuse", "256", "-np", "1"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    command = [
        sys.executable, "-m", "llmd", "bench", args.trace, "--from", "3000", "--limit", "200",
        "--warm-up", "--set", f"model={args.model}", "--set", "completion.recall=false",
        "--against", "http://127.0.0.1:8012", "--out", args.out / "bench",
    ]  # fmt: skip
    try:
        done = subprocess.run(  # noqa: S603
            command, capture_output=True, text=True, timeout=200, check=True
        )
    finally:
        server.terminate()
    return done.stdout.splitlines()


if __name__ == "__main__":
    main()
