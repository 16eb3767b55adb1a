"""Turns the options of `llmd bench` into settings, the scripts to replay, and a title."""

from __future__ import annotations

import argparse
from pathlib import Path

from llmd.cli.bench.edit_script import Script, build_script
from llmd.cli.eval import trace_pauses
from llmd.errors import BadInput


def setting_flags(args: argparse.Namespace) -> tuple[str, ...]:
    """Returns KEY=VALUE flags, with an absolute path: the daemon may run in another folder."""
    flags = list(args.set)
    if args.model:
        path = Path(args.model)
        flags.append(f"model={path.absolute() if path.is_file() else args.model}")
    if args.order:
        flags.append(f"fim.order={args.order}")
    return tuple(flags)


def read_scripts(args: argparse.Namespace) -> list[Script]:
    """
    Raises:
        BadInput: a trace cannot be read, or has too few edits.
    """
    if args.alternate < 1:
        raise BadInput("Option --alternate is 0; expected 1 file or more of each trace")
    return [script for path in args.what for script in _scripts(args, Path(path))]


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


def replay_title(args: argparse.Namespace, n_edits: int) -> str:
    names = ", ".join(trace_pauses.trace_stem(Path(what)) for what in args.what)
    parts = [f"{names}: {n_edits} edits from {args.first}"]
    parts.append(f"{args.pace} ms a key" if args.pace else "as fast as answers come")
    parts += [f"--alternate {args.alternate}"] if args.alternate > 1 else []
    switches = ("autopairs", "cursor", "warm_up", "wait")
    parts += [f"--{name.replace('_', '-')}" for name in switches if getattr(args, name)]
    return ", ".join(parts)
