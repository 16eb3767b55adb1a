"""What is shown in a terminal with colour or progress. The only importer of rich."""

from __future__ import annotations

import sys
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.syntax import Syntax
from rich.text import Text

from llmd.models.builtin import pull_builtin


def pull_with_progress() -> Path:
    """`pull_builtin` with a bar on standard error."""
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("built-in model", total=1.0)

        def report(stage: str, share: float) -> None:
            progress.update(task, description=stage, completed=share)

        return pull_builtin(report)


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
