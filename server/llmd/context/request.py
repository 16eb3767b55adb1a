"""Builds an immutable request from a document and a cursor.

Also updates the document's window and anchor, which stay the same from key to key if possible, so
that the KV cache stays valid.
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
# Chosen: a user who invokes completion by hand waits for the answer, even while the model loads.
INVOKED_DEADLINE_FACTOR = 20

# Takes a file's paths and language. Returns why the workspace skips the file; empty: it does not.
WorkspaceCheck = Callable[[tuple[str, ...], str], str]


@dataclass(frozen=True, slots=True)
class Selected:
    """Describes the selected item of a completion menu: `text` would replace `start` to `end`."""

    start: Position
    end: Position
    text: str


@dataclass(frozen=True, slots=True)
class CompletionRequest:
    """Describes one request. `document`: the document's number. `slot`: its slot in the KV cache.
    `skip_reason`: why the model is not called; empty: it is. `alternative`: 0 for the best text, k
    for the k-th alternative."""

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
        """Returns the request for the position after accepting `text`."""
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
    alternative: int = 0,
) -> CompletionRequest:
    """Builds the request for a cursor. Updates the document's window, and its anchor unless a menu
    item is `selected`."""
    limits = config.completion
    make_request = partial(
        CompletionRequest,
        document=document.number,
        slot=document.slot,
        file=document.names[-1],
        cursor=cursor,
        invoked=invoked,
        file_name=PurePosixPath(document.names[0]).name.encode(errors="replace").decode(),
        deadline_ms=limits.deadline_ms * (INVOKED_DEADLINE_FACTOR if invoked else 1),
        arrived_s=time.monotonic(),
        alternative=alternative,
    )
    reason = eligibility.check_document(document, config)
    reason = reason or check_workspace(document.names, document.language)
    if reason:
        return make_request(skip_reason=reason)
    lines, cursor, typed = _insert_selected(document, cursor, selected)
    budget = window.Budget(config.context.n_prefix, config.context.n_suffix)
    chosen = window.choose_window(document.window, lines, cursor, budget)
    document.window = chosen
    typed = window.update_anchor(typed, chosen, lines, cursor)
    if selected is None:
        document.typed = typed
    max_suffix = None if invoked else limits.max_line_suffix
    if reason := eligibility.check_position(lines, chosen.first, chosen.end, cursor, max_suffix):
        return make_request(lines=chosen, skip_reason=reason)
    return make_request(lines=chosen, excerpt=window.build_excerpt(chosen, lines, cursor, typed))


def _insert_selected(
    document: Document, cursor: Position, selected: Selected | None
) -> tuple[list[str], Position, Span | None]:
    """Returns the lines with the selected menu item inserted, the cursor after the item, and the
    span of typed text."""
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
