"""Adds the closers that editors insert to a trace that has none. Pure.

An editor types over a closer, deletes it with its opener, and removes it when the cursor has left.
Until the user types a closer, it is in the document but not in the trace. `Closer.position` is a
position in the trace's text, which is the document's text without those closers.
"""

from __future__ import annotations

from typing import NamedTuple

from llmd.cli.eval.trace_pauses import PAIRS, Patch, apply_patches

_CLOSER_OF = {pair[0]: pair[1] for pair in PAIRS if pair != "<>"}
_QUOTES = tuple(opener for opener, closer in _CLOSER_OF.items() if opener == closer)


class Closer(NamedTuple):
    opener: int
    position: int
    char: str


Closers = tuple[Closer, ...]  # in the order of the document
NO_CLOSERS: Closers = ()
PairedEdit = tuple[tuple[Patch, ...], int, Closers]  # the document's patches and cursor, closers


def pair_edit(
    text: str, patches: tuple[Patch, ...], caret: int, closers: Closers, has_left: bool
) -> PairedEdit:
    """Applies one edit of the trace, which leaves the cursor at `caret`, to the document `text`."""
    removals: tuple[Patch, ...] = ()
    if has_left or _deletes_closer(closers, *patches[0]):
        numbered = reversed(list(enumerate(closers)))
        removals = tuple((closer.position + index, 1, "") for index, closer in numbered)
        text = apply_patches(text, removals)
        closers = NO_CLOSERS
    if len(patches) > 1:
        return removals + patches, caret, closers
    edited, caret, closers = _apply_edit(text, patches[0], caret, closers)
    return removals + edited, caret, closers


def _apply_edit(text: str, patch: Patch, caret: int, closers: Closers) -> PairedEdit:
    position, n_deleted, inserted = patch
    n_before = sum(closer.position < position for closer in closers)
    offset = position + n_before  # in the document
    following = closers[n_before : n_before + 1]
    remaining = closers[:n_before] + closers[n_before + 1 :]
    is_typed_over = following and (following[0].position, following[0].char) == (position, inserted)
    if is_typed_over and not n_deleted:
        return (), offset + 1, _shift_after(remaining, n_before, position, 1)
    if _is_emptied(following, position, n_deleted, inserted):
        return ((offset, 2, ""),), offset, _shift_after(remaining, n_before, position, -1)
    closers = _shift_after(closers, n_before, position, len(inserted) - n_deleted)
    if n_deleted or not _opens(text, offset, inserted):
        return ((offset, n_deleted, inserted),), caret + n_before, closers
    closer = Closer(position, position + 1, _CLOSER_OF[inserted])
    both = ((offset, 0, inserted + closer.char),)
    return both, caret + n_before, (*closers[:n_before], closer, *closers[n_before:])


def _shift_after(closers: Closers, n_before: int, position: int, n_chars: int) -> Closers:
    """Moves the closers behind `position`, and their openers if also behind, by `n_chars`."""
    shifted = (
        Closer(opener + n_chars if opener >= position else opener, at + n_chars, char)
        for opener, at, char in closers[n_before:]
    )
    return closers[:n_before] + tuple(shifted)


def _is_emptied(following: Closers, position: int, n_deleted: int, inserted: str) -> bool:
    """Returns whether the opener of an empty pair is deleted; the closer goes with it."""
    is_one = n_deleted == 1 and not inserted and bool(following)
    return is_one and (following[0].opener, following[0].position) == (position, position + 1)


def _opens(text: str, offset: int, inserted: str) -> bool:
    """Returns whether an editor adds a closer: not before a word, and no second quote after one."""
    if inserted not in _CLOSER_OF:
        return False
    before, after = text[offset - 1 : offset] if offset else "", text[offset : offset + 1]
    if inserted in _QUOTES and (before.isalnum() or before == inserted):
        return False
    return not after or after.isspace() or after in ")]}>,;:" or after in _QUOTES


def _deletes_closer(closers: Closers, position: int, n_deleted: int, inserted: str) -> bool:
    """Returns whether a deletion covers a closer, or the opener of a pair that is not empty."""
    deleted = range(position, position + n_deleted)
    touched = tuple(c for c in closers if c.position in deleted or c.opener in deleted)
    return bool(touched) and not _is_emptied(touched, position, n_deleted, inserted)
