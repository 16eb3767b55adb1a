"""Runs `llmd bench`: from options to a replay, and from its results to tables and charts."""

from __future__ import annotations

import argparse
import asyncio
import importlib.metadata
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from pathlib import Path

import msgspec

from llmd import machine
from llmd.cli.bench import measure, report
from llmd.cli.bench.llama_server import LlamaServerBackend
from llmd.cli.bench.lsp_client import LspBackend
from llmd.cli.bench.options import MODEL
from llmd.cli.bench.plan import ReplayPlan, replay_plan, setting_flags
from llmd.cli.bench.replay import ReplayResult, replay
from llmd.cli.chart import Chart, write_files
from llmd.cli.progress import steps
from llmd.cli.temporary_daemon import temporary_daemon
from llmd.config.load import load_settings
from llmd.models.resolve import model_path

NamedResult = tuple[str, str, ReplayResult]  # the backend's name and version first


def bench(args: argparse.Namespace) -> None:
    """
    Raises:
        LlmdError: an option, a file, a model, the daemon or the other server is at fault.
    """
    flags = setting_flags(args)
    config = load_settings(flags=flags).config
    if args.what == [MODEL]:
        from llmd.cli.bench.model import run

        files, text = run(args, config, describe_machine())
    else:
        files, text = _replay(args, model_path(config.model), flags)
    write_files(Path(args.out), files)
    print(text)


def _replay(
    args: argparse.Namespace, model: Path, flags: tuple[str, ...]
) -> tuple[Mapping[str, str | Sequence[Chart]], str]:
    plan = replay_plan(args, flags)
    if plan.url:  # a server that is missing is reported before the long part
        asyncio.run(_check_llama_server(plan))
    with steps((2 if plan.url else 1) * plan.n_edits, "bench") as advance:
        results = [_run_llmd(plan, advance)]
        results += [asyncio.run(_run_llama_server(plan, advance))] if plan.url else []
    backends = tuple(measure.backend_figures(*result) for result in results)
    settings = " ".join(flag for flag in flags if not flag.startswith("model="))
    setup = {"trace": plan.title, "model": model.name, "settings": settings, **describe_machine()}
    setup |= {name: version for name, version, _ in results}
    bench_report = report.BenchReport(
        {name: value for name, value in setup.items() if value}, backends
    )
    text, json = report.as_text(bench_report), report.as_json(bench_report)
    rows = {name: result.rows for name, _, result in results}
    files: dict[str, str | Sequence[Chart]] = {
        "bench.md": text + "\n",
        "bench.json": json + "\n",
        "bench.svg": report.as_charts(bench_report),
        "bench-rows.json": msgspec.json.encode(rows).decode() + "\n",
    }
    return files, json if args.json else text


def _run_llmd(plan: ReplayPlan, advance: Callable[[str], None]) -> NamedResult:
    async def run(env: Mapping[str, str]) -> NamedResult:
        backend = await LspBackend.connect(env)
        try:
            result = await replay(backend, plan.scripts, plan.pace, advance)
        finally:
            await backend.close()
        return backend.name, backend.version, result

    with temporary_daemon(plan.flags) as daemon:
        return asyncio.run(run(daemon.env))


async def _run_llama_server(plan: ReplayPlan, advance: Callable[[str], None]) -> NamedResult:
    backend = LlamaServerBackend(plan.url, plan.is_waiting)
    try:
        await backend.read_version()
        result = await replay(backend, plan.scripts, plan.pace, advance)
    finally:
        await backend.close()
    return backend.name, backend.version, result


async def _check_llama_server(plan: ReplayPlan) -> None:
    backend = LlamaServerBackend(plan.url)
    try:
        await backend.read_version()
    finally:
        await backend.close()


def describe_machine() -> dict[str, str]:
    """Returns the machine, the date, and the library's version."""
    return {
        "machine": f"{machine.cpu_name()}, {machine.n_cores()} cores",
        "date": date.today().isoformat(),
        "llama.cpp": f"llama-cpp-python {importlib.metadata.version('llama-cpp-python')}",
    }
