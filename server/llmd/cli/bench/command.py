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
from llmd.cli.bench.llama_server import Peer
from llmd.cli.bench.lsp_client import Editor
from llmd.cli.bench.options import MODEL
from llmd.cli.bench.plan import Plan, flags_of, plan_of
from llmd.cli.bench.replay import Advance, Replayed, replay
from llmd.cli.progress import steps
from llmd.cli.temporary_daemon import own_daemon
from llmd.config.load import load_settings
from llmd.errors import BadInput
from llmd.models.resolve import model_path


def bench(args: argparse.Namespace) -> None:
    """
    Raises:
        LlmdError: an option, a file, a model, the daemon or the other server is at fault.
    """
    flags = flags_of(args)
    config = load_settings(flags=flags).config
    if args.what == [MODEL]:
        from llmd.cli.bench.model import run

        files, told = run(args, config, about())
    else:
        files, told = _replay(args, model_path(config.model), flags)
    _save(Path(args.out), files)
    print(told)


def _replay(
    args: argparse.Namespace, model: Path, flags: tuple[str, ...]
) -> tuple[Mapping[str, str], str]:
    plan = plan_of(args, flags)
    if plan.url:  # one that is not there is told before the long part
        asyncio.run(_introduced(plan))
    with steps((2 if plan.url else 1) * plan.n_edits, "bench") as advance:
        found = [_ours(plan, advance)]
        found += [_theirs(plan, advance)] if plan.url else []
    sides = tuple(measure.side(*each) for each in found)
    made = report.Report(_setup(plan, model, sides), sides)
    text, told = report.as_text(made), report.as_json(made)
    rows = {name: replayed.rows for name, _, replayed in found}
    files = {
        "bench.md": text + "\n",
        "bench.json": told + "\n",
        "bench.svg": report.as_svg(made),
        "bench-rows.json": msgspec.json.encode(rows).decode() + "\n",
    }
    return files, told if args.json else text


Found = tuple[str, str, Replayed]  # a side's name, what it is, what it did


def _ours(plan: Plan, advance: Advance) -> Found:
    async def run(env: Mapping[str, str]) -> Found:
        editor = await Editor.connect(env)
        try:
            found = await replay(editor, plan.scripts, plan.pace, advance)
        finally:
            await editor.close()
        return editor.name, editor.version, found

    with own_daemon(plan.flags) as daemon:
        return asyncio.run(run(daemon.env))


def _theirs(plan: Plan, advance: Advance) -> Found:
    async def run() -> Found:
        peer = await _introduced(plan)
        try:
            return peer.name, peer.version, await replay(peer, plan.scripts, plan.pace, advance)
        finally:
            peer.close()

    return asyncio.run(run())


async def _introduced(plan: Plan) -> Peer:
    peer = Peer(plan.url, plan.waits)
    await peer.introduce()
    return peer


def _setup(plan: Plan, model: Path, sides: Sequence[measure.Side]) -> dict[str, str]:
    settings = " ".join(flag for flag in plan.flags if not flag.startswith("model="))
    setup = {"trace": plan.title, "model": model.name, "settings": settings, **about()}
    setup |= {side.name: side.version for side in sides}
    return {name: said for name, said in setup.items() if said}


def about() -> dict[str, str]:
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
