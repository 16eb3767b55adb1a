"""What became of each document's last request, stage by stage, for `llmd why`. Counts and names
only: no text of the user's, and none of the model's."""

from __future__ import annotations

import time
from collections import OrderedDict
from typing import Any

import msgspec

from llmd.completion.trace import Trace

MAX_DOCUMENTS = 256


class Window(msgspec.Struct, frozen=True):
    """Lines count from 1; `end_line` is the last one in the window."""

    first_line: int
    end_line: int
    n_prefix_chars: int
    n_suffix_chars: int


class Stages(msgspec.Struct, frozen=True):
    file: str  # its path, links followed
    line: int  # from 1
    col: int  # from 1, in characters
    invoked: bool
    gate: str  # the reason it was refused; empty: passed
    window: Window | None
    trace: Trace
    stop: str  # why the engine stopped
    n_chars_generated: int
    n_chars_shown: int


class Journal:
    """The latest request of each of the latest documents. Owned by the event loop."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, tuple[float, Stages]] = OrderedDict()

    def add(self, stages: Stages) -> None:
        self._kept[stages.file] = (time.time(), stages)
        self._kept.move_to_end(stages.file)
        if len(self._kept) > MAX_DOCUMENTS:
            self._kept.popitem(last=False)

    def last(self, file: str = "") -> dict[str, Any] | None:
        """Of that file, or of any where `file` is empty; None where there was none."""
        found = self._kept.get(file) if file else next(reversed(self._kept.values()), None)
        if found is None:
            return None
        at_s, stages = found
        return {"at_s": round(at_s, 3), **msgspec.to_builtins(stages)}
