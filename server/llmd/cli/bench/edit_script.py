"""Turns an editing trace into an editor's actions: each edit with its kind and its cursor. Pure.

Positions count characters (code points), as in the traces.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

from llmd.cli.bench.autopairs import NO_CLOSERS, pair_edit
from llmd.cli.eval.trace_pauses import PAIRS, Patch, TraceEdit, apply_patches, typed_after

EditKind = Literal["key", "newline", "jump", "delete", "paste"]
KINDS: tuple[EditKind, ...] = get_args(EditKind)

# An edit this near to the cursor is not a jump: editors step over closers themselves.
NEAR_CHARS = 1


@dataclass(frozen=True, slots=True)
class EditAction:
    """Holds `patches`, which apply in order; the cursor is at `start` before and at `caret` after
    them. `typed` is the text that is inserted there next, up to a jump or a deletion."""

    kind: EditKind
    patches: tuple[Patch, ...]
    start: int
    caret: int
    typed: str = ""


@dataclass(frozen=True, slots=True)
class Script:
    """Holds a file's name, its text, and the actions on the text, at least one."""

    name: str
    text: str
    actions: tuple[EditAction, ...]


def build_script(
    name: str, text: str, edits: Sequence[TraceEdit], n_skipped: int, limit: int, autopairs: bool
) -> Script:
    """Begins with the text after `n_skipped` edits, and has up to `limit` edits after those."""
    for edit in edits[:n_skipped]:
        text = apply_patches(text, edit.patches)
    actions = edit_actions(edits[n_skipped:], limit)
    return Script(name, text, tuple(insert_closers(text, actions) if autopairs else actions))


def edit_actions(edits: Sequence[TraceEdit], limit: int) -> Iterator[EditAction]:
    cursor: int | None = None
    for index, edit in enumerate(edits[:limit]):
        caret = _after(edit.patches[-1])
        yield EditAction(
            kind=edit_kind(edit.patches, cursor),
            patches=edit.patches,
            start=_before(edit.patches[0]),
            caret=caret,
            typed=typed_after(edits, index + 1, caret),
        )
        cursor = caret


def edit_kind(patches: Sequence[Patch], cursor: int | None) -> EditKind:
    """Returns the kind of an edit. `cursor` is where the last edit left the cursor; None: unknown.
    Deletions do not count in an edit that inserts: editors remove the blanks of a line that is
    left empty."""
    written = [patch for patch in patches if patch[2]]
    if cursor is not None and not any(_is_near(patch, cursor) for patch in written or patches):
        return "jump"
    texts = [text for _, _, text in written]
    if not texts:
        return "delete"
    if all("\n" in text and not text.strip() for text in texts):
        return "newline"
    return "key" if all(len(text) == 1 or text in PAIRS for text in texts) else "paste"


def insert_closers(text: str, edits: Iterator[EditAction]) -> Iterator[EditAction]:
    """Changes the actions to those of an editor that adds a closer to each bracket and quote."""
    closers = NO_CLOSERS
    for action in edits:
        has_left = action.kind == "jump" or len(action.patches) > 1
        patches, caret, closers = pair_edit(text, action.patches, action.caret, closers, has_left)
        start = _before(patches[-1]) if patches else caret - 1
        yield replace(action, patches=patches, caret=caret, start=start)
        text = apply_patches(text, patches)


def _before(patch: Patch) -> int:
    """Returns the cursor before a patch that deletes backwards."""
    return patch[0] + patch[1]


def _after(patch: Patch) -> int:
    position, _, text = patch
    return position + (1 if text in PAIRS else len(text))


def _is_near(patch: Patch, cursor: int) -> bool:
    position, n_deleted, _ = patch
    return position - NEAR_CHARS <= cursor <= position + n_deleted + NEAR_CHARS
