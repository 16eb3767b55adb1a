"""Shows progress and coloured code in a terminal. The only importer of rich."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.syntax import Syntax
from rich.text import Text

from llmd.models import resolve
from llmd.models.catalog import find_variant
from llmd.models.hub_reference import HUB_PREFIX, HubFile
from llmd.models.pull.build_builtin import pull_builtin
from llmd.models.pull.hub import pull_hub
from llmd.models.pull.local_file import pull_local_file


def pull_with_progress(name: str = resolve.BUILTIN) -> Path:
    """Pulls a model with the adapters of the catalog entry, and returns the path of the model.

    Shows progress on standard error: a bar in a terminal, else lines.

    Raises:
        BadInput: `name` is unknown or invalid.
        ModelError: the download fails, or the file is not a model.
    """
    source = resolve.pull_source(name)
    if source is None:
        return _pull_builtin()
    if isinstance(source, Path):
        path = pull_local_file(source)
    else:
        _announce(name, source)
        path = _pull_hub(source)
    for adapter in resolve.adapters_to_pull(name):
        _pull_hub(adapter)
    return path


def _announce(name: str, file: HubFile) -> None:
    """Prints what is about to be downloaded, or that another program has the model already."""
    line = ""
    if path := resolve.local_path(file):
        if path != resolve.pulled_path(file):
            line = "is already on this machine, and is used in place"
    elif not name.startswith(HUB_PREFIX) and (found := find_variant(name)):
        entry, variant = found
        about = "" if variant.is_exact else "about "
        size = f"{about}{variant.n_bytes / 1e9:.1f} GB, " if variant.n_bytes else ""
        line = f"{variant.quantisation}, {size}licence {entry.licence}"
    if line:
        print(f"{name}: {line}", file=sys.stderr, flush=True)


def _pull_builtin() -> Path:
    console = Console(stderr=True)
    if not console.is_terminal:
        return pull_builtin(_lines(resolve.BUILTIN))
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("built-in model", total=1.0)

        def report(stage: str, share: float) -> None:
            progress.update(task, description=stage, completed=share)

        return pull_builtin(report)


def _pull_hub(file: HubFile) -> Path:
    console = Console(stderr=True)
    if not console.is_terminal:
        line = _lines(file.name)
        return pull_hub(file, lambda stage, n, n_all: line(stage, n / n_all if n_all else 0.0))
    columns = (DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    text = TextColumn("{task.description}")
    with Progress(text, BarColumn(), *columns, console=console, transient=True) as progress:
        task = progress.add_task(shown := "asking the hub", total=None)

        def report(stage: str, n_done: int, n_total: int) -> None:
            nonlocal shown
            if stage != shown:  # Bytes of an earlier pull must not count for the speed.
                shown = stage
                total = n_total or None
                progress.reset(task, description=stage, completed=n_done, total=total)
            progress.update(task, completed=n_done)

        return pull_hub(file, report)


@contextmanager
def steps(n_steps: int, command: str = "eval") -> Iterator[Callable[[str], None]]:
    """Yields a function to call with the name of each finished step. Shows a bar, or lines if
    standard error is not a terminal."""
    console, n_done = Console(stderr=True), 0
    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    text, line = TextColumn("{task.description}"), _lines(command)
    with Progress(text, *columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("loading", total=n_steps)

        def advance(name: str) -> None:
            nonlocal n_done
            n_done += 1
            progress.update(task, description=name, completed=n_done)
            if not console.is_terminal:
                line(name, n_done / n_steps)

        yield advance


def _lines(name: str) -> Callable[[str, float], None]:
    """Returns a report function that prints a line for each stage, and at each tenth of a stage."""
    printed = ("", 0)

    def report(stage: str, share: float) -> None:
        nonlocal printed
        tenth = int(share * 10)
        if (stage, tenth) != printed:
            printed = (stage, tenth)
            percent = f" {tenth * 10} %" if tenth else ""
            print(f"{name}: {stage}{percent}", file=sys.stderr, flush=True)

    return report


def show_completion(before: str, ghost: str, after: str, n_lines: int = 6) -> None:
    """Prints the code around the cursor, with the ghost text in colour and a bar at the cursor."""
    console = Console(file=sys.stdout, force_terminal=True, highlight=False)
    code = Syntax("", "python", theme="ansi_dark", background_color="default")
    shown = code.highlight("\n".join(before.split("\n")[-n_lines:]))
    shown.rstrip()
    shown = Text.assemble(shown, " " * (len(before) - len(before.rstrip(" "))))
    rest = code.highlight("\n".join(after.split("\n")[:n_lines]))
    rest.rstrip()
    console.print(Text.assemble(shown, ("▏", "bold"), (ghost, "bright_magenta italic"), rest))
