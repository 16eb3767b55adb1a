"""What is left of a request once the document has been looked at: a value, no document.

Also moves the document's window and its anchor, which stand still from request to request.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import PurePosixPath

from llmd.config import Config
from llmd.context import eligibility, window
from llmd.document import Document, Edit, LineRange, Position, Span

NO_TEXT = window.Excerpt("", "", "", "", "")

# Names and language of a file to why its workspace forbids it; empty: it does not.
WorkspaceCheck = Callable[[tuple[str, ...], str], str]

# Whoever asks by hand waits for the answer, also for the model to load.
INVOKED_DEADLINE_FACTOR = 20


@dataclass(frozen=True, slots=True)
class Selected:
    """The completion menu's chosen item: `text` would replace what lies between the positions."""

    start: Position
    end: Position
    text: str


@dataclass(frozen=True, slots=True)
class CompletionRequest:
    """`document` is its number, `slot` its part of the KV cache; `refusal`: why there is nothing
    to ask; `alternative`: which text other than the best one."""

    document: int
    slot: int
    file: str
    cursor: Position
    invoked: bool
    file_name: str
    deadline_ms: int
    arrived_s: float
    excerpt: window.Excerpt = NO_TEXT
    lines: LineRange | None = None
    skip_reason: str = ""
    alternative: int = 0

    def after_accepting(self, text: str) -> CompletionRequest:
        """Where the cursor is once `text` has been accepted."""
        excerpt = self.excerpt.after_accepting(text)
        return replace(self, excerpt=excerpt, arrived_s=time.monotonic(), alternative=0)


def build_request(
    document: Document,
    cursor: Position,
    config: Config,
    check_workspace: WorkspaceCheck,
    *,
    invoked: bool = False,
    selected: Selected | None = None,
) -> CompletionRequest:
    limits = config.completion
    view = partial(
        CompletionRequest,
        document=document.number,
        slot=document.slot,
        file=document.names[-1],
        cursor=cursor,
        invoked=invoked,
        file_name=PurePosixPath(document.names[0]).name.encode(errors="replace").decode(),
        deadline_ms=limits.deadline_ms * (INVOKED_DEADLINE_FACTOR if invoked else 1),
        arrived_s=time.monotonic(),
    )
    if refusal := (
        eligibility.check_document(document, config)
        or check_workspace(document.names, document.language)
    ):
        return view(skip_reason=refusal)
    lines, cursor, typed = _insert_selected(document, cursor, selected)
    budget = window.Budget(config.context.n_prefix, config.context.n_suffix)
    chosen = window.choose_window(document.window, lines, cursor, budget)
    document.window = chosen
    typed = window.update_anchor(typed, chosen, lines, cursor)
    if selected is None:
        document.typed = typed
    max_suffix = None if invoked else limits.max_line_suffix
    refusal = eligibility.check_position(lines, chosen.first, chosen.end, cursor, max_suffix)
    if refusal:
        return view(lines=chosen, skip_reason=refusal)
    return view(lines=chosen, excerpt=window.build_excerpt(chosen, lines, cursor, typed))


def _insert_selected(
    document: Document, cursor: Position, selected: Selected | None
) -> tuple[list[str], Position, Span | None]:
    """The lines as they would be with the menu's item inserted, the cursor after it, and what was
    typed."""
    text = document.text
    if not selected:
        return text.lines, text.clamp(cursor), document.typed
    line = selected.start.line
    lines = list(text.lines)
    before = lines[line][: selected.start.col] + selected.text
    lines[line] = before + lines[line][selected.end.col :]
    edit = Edit(selected.start, selected.end, selected.text)
    typed = document.typed.after_edit(edit) if document.typed else None
    return lines, Position(line, len(before)), typed
