"""`llmd bench`: from options to a run, and from its results to tables and plots."""

from __future__ import annotations

import argparse
import asyncio
import importlib.metadata
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path

import msgspec

from llmd import machine
from llmd.cli.bench import measure, report
from llmd.cli.bench.llama_server import LlamaServerBackend
from llmd.cli.bench.lsp_client import LspBackend
from llmd.cli.bench.options import MODEL
from llmd.cli.bench.plan import ReplayPlan, replay_plan, setting_flags
from llmd.cli.bench.replay import Advance, ReplayResult, replay
from llmd.cli.progress import steps
from llmd.cli.temporary_daemon import temporary_daemon
from llmd.config.load import load_settings
from llmd.errors import BadInput
from llmd.models.resolve import model_path


def bench(args: argparse.Namespace) -> None:
    """
    Raises:
        LlmdError: an option, a file, a model, the daemon or the other server is at fault.
    """
    flags = setting_flags(args)
    config = load_settings(flags=flags).config
    if args.what == [MODEL]:
        from llmd.cli.bench.model import run

        files, told = run(args, config, describe_machine())
    else:
        files, told = _replay(args, model_path(config.model), flags)
    _save(Path(args.out), files)
    print(told)


def _replay(
    args: argparse.Namespace, model: Path, flags: tuple[str, ...]
) -> tuple[Mapping[str, str], str]:
    plan = replay_plan(args, flags)
    if plan.url:  # one that is not there is told before the long part
        asyncio.run(_introduced(plan))
    with steps((2 if plan.url else 1) * plan.n_edits, "bench") as advance:
        found = [_run_llmd(plan, advance)]
        found += [_run_llama_server(plan, advance)] if plan.url else []
    backends = tuple(measure.backend_figures(*each) for each in found)
    made = report.BenchReport(_setup(plan, model, backends), backends)
    text, told = report.as_text(made), report.as_json(made)
    rows = {name: replayed.rows for name, _, replayed in found}
    files = {
        "bench.md": text + "\n",
        "bench.json": told + "\n",
        "bench.svg": report.as_svg(made),
        "bench-rows.json": msgspec.json.encode(rows).decode() + "\n",
    }
    return files, told if args.json else text


Found = tuple[str, str, ReplayResult]  # a side's name, what it is, what it did


def _run_llmd(plan: ReplayPlan, advance: Advance) -> Found:
    async def run(env: Mapping[str, str]) -> Found:
        editor = await LspBackend.connect(env)
        try:
            found = await replay(editor, plan.scripts, plan.pace, advance)
        finally:
            await editor.close()
        return editor.name, editor.version, found

    with temporary_daemon(plan.flags) as daemon:
        return asyncio.run(run(daemon.env))


def _run_llama_server(plan: ReplayPlan, advance: Advance) -> Found:
    async def run() -> Found:
        peer = await _introduced(plan)
        try:
            return peer.name, peer.version, await replay(peer, plan.scripts, plan.pace, advance)
        finally:
            await peer.close()

    return asyncio.run(run())


async def _introduced(plan: ReplayPlan) -> LlamaServerBackend:
    peer = LlamaServerBackend(plan.url, plan.is_waiting)
    await peer.read_version()
    return peer


def _setup(
    plan: ReplayPlan, model: Path, backends: Sequence[measure.BackendFigures]
) -> dict[str, str]:
    settings = " ".join(flag for flag in plan.flags if not flag.startswith("model="))
    setup = {"trace": plan.title, "model": model.name, "settings": settings, **describe_machine()}
    setup |= {backend.name: backend.version for backend in backends}
    return {name: said for name, said in setup.items() if said}


def describe_machine() -> dict[str, str]:
    """The machine, the day, and the library."""
    return {
        "machine": f"{machine.cpu_name()}, {machine.n_cores()} cores",
        "date": date.today().isoformat(),
        "llama.cpp": f"llama-cpp-python {importlib.metadata.version('llama-cpp-python')}",
    }


def _save(folder: Path, files: Mapping[str, str]) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (folder / name).write_text(content, encoding="utf-8")
    except OSError as error:
        raise BadInput(f"Folder `{folder}` cannot be written: {error.strerror}") from None
