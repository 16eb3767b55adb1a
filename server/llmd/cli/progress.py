"""What is shown in a terminal with colour or progress. The only importer of rich."""

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
from llmd.models.pull.builtin import pull_builtin
from llmd.models.pull.hub import pull_hub
from llmd.models.pull.local_file import pull_local_file
from llmd.models.references import HUB_PREFIX, HubFile


def pull_with_progress(name: str = resolve.BUILTIN) -> Path:
    """Brings the model with its progress on standard error: a bar, or lines if it is no terminal.
    What its entry puts upon it comes too.

    Raises:
        BadInput: `name` is nothing that can be pulled.
        ModelError: it cannot be had.
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
            line = "is on this machine already, and used where it lies"
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
            if stage != shown:  # What an earlier pull has brought already is no speed of this one.
                shown = stage
                total = n_total or None
                progress.reset(task, description=stage, completed=n_done, total=total)
            progress.update(task, completed=n_done)

        return pull_hub(file, report)


@contextmanager
def steps(n_steps: int, command: str = "eval") -> Iterator[Callable[[str], None]]:
    """Yields what is called, with a name, for each step done. A bar, or lines in no terminal."""
    console, n_done = Console(stderr=True), 0
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    line = _lines(command)
    with Progress(
        *columns, TimeRemainingColumn(), console=console, disable=not console.is_terminal
    ) as progress:
        task = progress.add_task("loading", total=n_steps)

        def advance(name: str) -> None:
            nonlocal n_done
            n_done += 1
            progress.update(task, description=name, completed=n_done)
            if not console.is_terminal:
                line(name, n_done / n_steps)

        yield advance


def _lines(name: str) -> Callable[[str, float], None]:
    """A report that prints a line where a stage begins, and at each tenth of it."""
    said = ("", 0)

    def report(stage: str, share: float) -> None:
        nonlocal said
        now = (stage, int(share * 10))
        if now != said:
            said = now
            percent = f" {now[1] * 10} %" if now[1] else ""
            print(f"{name}: {stage}{percent}", file=sys.stderr, flush=True)

    return report


def show_completion(before: str, ghost: str, after: str, n_lines: int = 6) -> None:
    """Code around the cursor, the ghost text in colour, a bar where the cursor is."""
    console = Console(file=sys.stdout, force_terminal=True, highlight=False)
    code = Syntax("", "python", theme="ansi_dark", background_color="default")
    shown = code.highlight("\n".join(before.split("\n")[-n_lines:]))
    shown.rstrip()
    shown = Text.assemble(shown, " " * (len(before) - len(before.rstrip(" "))))
    rest = code.highlight("\n".join(after.split("\n")[:n_lines]))
    rest.rstrip()
    console.print(Text.assemble(shown, ("▏", "bold"), (ghost, "bright_magenta italic"), rest))
