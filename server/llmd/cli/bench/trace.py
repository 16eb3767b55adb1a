"""An editing trace as what an editor does: each edit with its kind and its cursor. Pure.

Positions count characters (code points), as traces do.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

from llmd.cli.bench.autopairs import NO_CLOSERS, pair_edit
from llmd.cli.eval.trace_pauses import PAIRS, Patch, TraceEdit, typed_after

EditKind = Literal["key", "newline", "jump", "delete", "paste"]
KINDS: tuple[EditKind, ...] = get_args(EditKind)

# An edit so near to the cursor is none that was jumped to: editors step over closers themselves.
NEAR_CHARS = 1


@dataclass(frozen=True, slots=True)
class EditAction:
    """`patches` are made in turn; the cursor is at `start` before them and at `caret` after.
    `typed` is what is inserted there next, up to a jump or a deletion."""

    kind: EditKind
    patches: tuple[Patch, ...]
    start: int
    caret: int
    typed: str = ""


@dataclass(frozen=True, slots=True)
class Script:
    """A document's text and what becomes of it. `name` is a file's; `start` is where its first
    action begins."""

    name: str
    text: str
    actions: tuple[EditAction, ...]

    @property
    def start(self) -> int:
        return self.actions[0].start if self.actions else 0


def build_script(
    name: str,
    text: str,
    edits: Sequence[TraceEdit],
    n_skipped: int,
    limit: int | None,
    autopairs: bool,
) -> Script:
    """The text as it is after `n_skipped` edits, and up to `limit` of those that follow."""
    for edit in edits[:n_skipped]:
        text = apply_patches(text, edit.patches)
    ahead = edits[n_skipped:]
    found = edit_actions(ahead, len(ahead) if limit is None else limit)
    return Script(name, text, tuple(insert_closers(text, found) if autopairs else found))


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
    """`cursor` is where the last edit left it; None: nobody knows. Where an edit inserts, its
    deletions say nothing: an editor takes the blanks off a line that is left empty."""
    written = [patch for patch in patches if patch[2]]
    if cursor is not None and not any(_is_near(patch, cursor) for patch in written or patches):
        return "jump"
    texts = [text for _, _, text in written]
    if not texts:
        return "delete"
    if all("\n" in text and not text.strip() for text in texts):
        return "newline"
    return "key" if all(len(text) == 1 or text in PAIRS for text in texts) else "paste"


def insert_closers(text: str, found: Iterator[EditAction]) -> Iterator[EditAction]:
    """The same as in an editor that puts a closer behind each bracket and quote."""
    closers = NO_CLOSERS
    for action in found:
        has_left = action.kind == "jump" or len(action.patches) > 1
        patches, caret, closers = pair_edit(text, action.patches, action.caret, closers, has_left)
        yield replace(action, patches=patches, caret=caret, start=_start(patches, caret))
        text = apply_patches(text, patches)


def _start(patches: Sequence[Patch], caret: int) -> int:
    return _before(patches[-1]) if patches else caret - 1


def apply_patches(text: str, patches: Sequence[Patch]) -> str:
    for position, n_deleted, inserted in patches:
        text = text[:position] + inserted + text[position + n_deleted :]
    return text


def _before(patch: Patch) -> int:
    """Where the cursor of somebody who deletes backwards stands."""
    return patch[0] + patch[1]


def _after(patch: Patch) -> int:
    position, _, text = patch
    return position + (1 if text in PAIRS else len(text))


def _is_near(patch: Patch, cursor: int) -> bool:
    position, n_deleted, _ = patch
    return position - NEAR_CHARS <= cursor <= position + n_deleted + NEAR_CHARS
