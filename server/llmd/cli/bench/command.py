"""Runs `llmd bench`: from options to a replay, and from its results to tables and charts."""

from __future__ import annotations

import argparse
import asyncio
import importlib.metadata
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from datetime import date
from functools import partial
from pathlib import Path

import msgspec

from llmd import machine
from llmd.cli.bench import metrics, report
from llmd.cli.bench.backend import Backend
from llmd.cli.bench.llama_server import LlamaServerBackend
from llmd.cli.bench.lsp_client import LspBackend
from llmd.cli.bench.options import MODEL
from llmd.cli.bench.plan import read_scripts, replay_title, setting_flags
from llmd.cli.bench.replay import Pace, ReplayResult, replay
from llmd.cli.progress import steps
from llmd.cli.report_files import write_files, write_report
from llmd.cli.temporary_daemon import temporary_daemon
from llmd.config.load import load_settings
from llmd.models.resolve import model_path

NamedResult = tuple[str, str, ReplayResult]  # the backend's name and version first
ReplayJob = Callable[[Backend], Awaitable[ReplayResult]]


def bench(args: argparse.Namespace) -> None:
    """
    Raises:
        LlmdError: an option, a file, a model, the daemon or the other server is at fault.
    """
    flags = setting_flags(args)
    config = load_settings(flags=flags).config
    if args.what == [MODEL]:
        from llmd.cli.bench.model_speed import run

        run(args, config, describe_machine())
    else:
        _replay(args, model_path(config.model), flags)


def _replay(args: argparse.Namespace, model: Path, flags: tuple[str, ...]) -> None:
    scripts = read_scripts(args)
    n_edits = sum(len(script.actions) for script in scripts)
    pace = Pace(args.pace, has_cursor_rests=args.cursor, has_warm_up=args.warm_up)
    if args.against:  # a server that is missing is reported before the long part
        asyncio.run(_check_llama_server(args.against))
    with steps((2 if args.against else 1) * n_edits, "bench") as advance:
        job = partial(replay, scripts=scripts, pace=pace, advance=advance)
        results = [_run_llmd(flags, job)]
        results += [asyncio.run(_run_llama_server(args, job))] if args.against else []
    settings = " ".join(flag for flag in flags if not flag.startswith("model="))
    setup = {"trace": replay_title(args, n_edits), "model": model.name, "settings": settings}
    setup |= describe_machine() | {name: version for name, version, _ in results}
    setup = {name: value for name, value in setup.items() if value}
    figures = tuple(metrics.backend_figures(*result) for result in results)
    bench_report = report.BenchReport(setup, figures)
    text, charts = report.as_text(bench_report), report.as_charts(bench_report)
    rows = msgspec.json.encode({name: result.rows for name, _, result in results}).decode()
    write_files(Path(args.out), {"bench-rows.json": rows + "\n"})
    write_report(args, "bench", text, bench_report, charts)


def _run_llmd(flags: Sequence[str], job: ReplayJob) -> NamedResult:
    async def run(env: Mapping[str, str]) -> NamedResult:
        async with aclosing(await LspBackend.connect(env)) as backend:
            return backend.name, backend.version, await job(backend)

    with temporary_daemon(flags) as daemon:
        return asyncio.run(run(daemon.env))


async def _run_llama_server(args: argparse.Namespace, job: ReplayJob) -> NamedResult:
    async with aclosing(LlamaServerBackend(args.against, args.wait)) as backend:
        await backend.read_version()
        return backend.name, backend.version, await job(backend)


async def _check_llama_server(url: str) -> None:
    async with aclosing(LlamaServerBackend(url)) as backend:
        await backend.read_version()


def describe_machine() -> dict[str, str]:
    """Returns the machine, the date, and the library's version."""
    return {
        "machine": f"{machine.cpu_name()}, {machine.n_cores()} cores",
        "date": date.today().isoformat(),
        "llama.cpp": f"llama-cpp-python {importlib.metadata.version('llama-cpp-python')}",
    }
