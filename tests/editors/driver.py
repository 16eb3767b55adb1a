"""What a scenario does with an editor and sees of it, whichever editor it is."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

WAIT_S = 30.0


class Editor(Protocol):
    """A real editor with the plugin loaded. `keys` are typed as from a keyboard and nobody waits
    for what they do; whoever looks, waits for what should be seen."""

    def keys(self, keys: str) -> None:
        """In Vim's notation: `ifoo<Tab><Esc>`, `<lt>` for a `<`."""

    def command(self, command: str) -> str:
        """Runs an Ex command in whatever mode the editor is; what it printed."""

    def value(self, expression: str) -> object:
        """Of a Vim expression."""

    def open(self, path: Path) -> None: ...

    def lines(self) -> list[str]:
        """Of the current buffer."""

    def cursor(self) -> tuple[int, int]:
        """Row and byte column, from zero."""

    def ghost(self) -> str:
        """The ghost text on show, its lines joined by newlines; empty if there is none."""

    def screen(self) -> list[str]:
        """The terminal's rows, ghost text among them, without blanks at their ends."""

    def mode(self) -> str:
        """As Vim's mode() says."""

    def close(self) -> None: ...


def wait(is_true: Callable[[], bool], what: str, timeout_s: float = WAIT_S) -> None:
    """Raises:
    AssertionError: `what` has not come.
    """
    end = time.monotonic() + timeout_s
    while not is_true():
        assert time.monotonic() < end, f"{what} did not come within {timeout_s:g} s"
        time.sleep(0.005)
