"""Turns the options of `llmd bench` into the scripts to replay, their pace, and the backends."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from llmd.cli.bench.replay import Pace
from llmd.cli.bench.trace import Script, build_script
from llmd.cli.eval import trace_pauses
from llmd.errors import BadInput


@dataclass(frozen=True, slots=True)
class ReplayPlan:
    title: str
    scripts: tuple[Script, ...]
    pace: Pace
    flags: tuple[str, ...]  # KEY=VALUE, over the config
    url: str  # of a llama-server; empty: llmd alone
    is_waiting: bool  # the llama-server gets no request while one runs

    @property
    def n_edits(self) -> int:
        return sum(len(script.actions) for script in self.scripts)


def setting_flags(args: argparse.Namespace) -> tuple[str, ...]:
    """Returns KEY=VALUE flags, with an absolute path: the daemon may run in another folder."""
    flags = list(args.set)
    if args.model:
        path = Path(args.model)
        flags.append(f"model={path.absolute() if path.is_file() else args.model}")
    if args.order:
        flags.append(f"fim.order={args.order}")
    return tuple(flags)


def replay_plan(args: argparse.Namespace, flags: tuple[str, ...]) -> ReplayPlan:
    """
    Raises:
        BadInput: a trace cannot be read, or has too few edits.
    """
    if args.alternate < 1:
        raise BadInput("Option --alternate is 0; expected 1 file or more of each trace")
    scripts = [script for path in args.what for script in _scripts(args, Path(path))]
    return ReplayPlan(
        title=_title(args, sum(len(script.actions) for script in scripts)),
        scripts=tuple(scripts),
        pace=Pace(args.pace, has_cursor_rests=args.cursor, has_warm_up=args.warm_up),
        flags=flags,
        url=args.against or "",
        is_waiting=args.wait,
    )


def _scripts(args: argparse.Namespace, path: Path) -> list[Script]:
    """Returns a script for each file of a trace; each file has its own part of the edits."""
    trace = trace_pauses.read_trace(path)
    n_left = len(trace.txns) - args.first
    n_edits = n_left if args.limit is None else min(args.limit, n_left)
    n_each = n_edits // (args.alternate * len(args.what))
    if n_each < 1:
        raise BadInput(
            f"Trace `{path}` has {len(trace.txns)} edits, which leaves none for each file;"
            " choose a smaller --from or --alternate, or a larger --limit"
        )
    inserted = (text for edit in trace.txns for _, _, text in edit.patches)
    if any("\r" in text for text in (trace.start_content, *inserted)):
        raise BadInput(f"Trace `{path}` has carriage returns; expected newlines alone")
    return [
        build_script(
            trace_pauses.file_name(path), trace.start_content, trace.txns,
            args.first + number * n_each, n_each, args.autopairs,
        )
        for number in range(args.alternate)
    ]  # fmt: skip


def _title(args: argparse.Namespace, n_edits: int) -> str:
    names = ", ".join(trace_pauses.trace_stem(Path(what)) for what in args.what)
    parts = [f"{names}: {n_edits} edits from {args.first}"]
    parts.append(f"{args.pace} ms a key" if args.pace else "as fast as answers come")
    parts += [f"--alternate {args.alternate}"] if args.alternate > 1 else []
    switches = ("autopairs", "cursor", "warm_up", "wait")
    parts += [f"--{name.replace('_', '-')}" for name in switches if getattr(args, name)]
    return ", ".join(parts)
