"""Closers as editors insert them, in a trace that has none: typed over, deleted with their opener,
taken away once the cursor has left. Pure.

A closer that nobody has typed yet stands in the document and not in the trace. `at` says where in
the trace's text, which is the document's without those closers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from llmd.cli.eval.trace_pauses import PAIRS, Patch

_CLOSER_OF = {pair[0]: pair[1] for pair in PAIRS if pair != "<>"}
_QUOTES = tuple(opener for opener, closer in _CLOSER_OF.items() if opener == closer)


@dataclass(frozen=True, slots=True)
class Closer:
    opener: int
    position: int
    char: str

    def shifted(self, position: int, n_chars: int) -> Closer:
        """After so many characters more (or less) at the position; it stays right of them."""
        opener = self.opener + (n_chars if self.opener >= position else 0)
        return Closer(
            opener, self.position + (n_chars if self.position >= position else 0), self.char
        )


Closers = tuple[Closer, ...]  # as they stand in the document
NO_CLOSERS: Closers = ()
PairedEdit = tuple[
    tuple[Patch, ...], int, Closers
]  # patches of the document, its cursor, what waits


def pair_edit(
    text: str, patches: tuple[Patch, ...], caret: int, closers: Closers, has_left: bool
) -> PairedEdit:
    """One edit of the trace, whose cursor comes to be at `caret`, in the document `text`."""
    position, n_deleted, inserted = patches[0]
    if has_left or _deletes_closer(closers, position, n_deleted, inserted):
        text = _remove_all(text, closers)
        left = _removals(closers)
        if len(patches) > 1:
            return left + patches, caret, NO_CLOSERS
        more, caret, closers = _apply_edit(text, patches[0], caret, NO_CLOSERS)
        return left + more, caret, closers
    return _apply_edit(text, patches[0], caret, closers)


def _apply_edit(text: str, patch: Patch, caret: int, closers: Closers) -> PairedEdit:
    position, n_deleted, inserted = patch
    n_before = sum(closer.position < position for closer in closers)
    here = position + n_before  # in the document
    following = closers[n_before : n_before + 1]
    if not n_deleted and following and _is_typed_over(following[0], position, inserted):
        left = closers[:n_before] + closers[n_before + 1 :]
        return (), here + 1, _shift_after(left, n_before, position, 1)
    if _is_emptied(following, position, n_deleted, inserted):
        left = closers[:n_before] + closers[n_before + 1 :]
        return ((here, 2, ""),), here, _shift_after(left, n_before, position, -1)
    closers = _shift_after(closers, n_before, position, len(inserted) - n_deleted)
    if n_deleted or not _opens(text, here, inserted):
        return ((here, n_deleted, inserted),), caret + n_before, closers
    closer = Closer(position, position + 1, _CLOSER_OF[inserted])
    both = ((here, 0, inserted + closer.char),)
    return both, caret + n_before, (*closers[:n_before], closer, *closers[n_before:])


def _shift_after(closers: Closers, n_before: int, position: int, n_chars: int) -> Closers:
    before, behind = closers[:n_before], closers[n_before:]
    return before + tuple(closer.shifted(position, n_chars) for closer in behind)


def _is_typed_over(closer: Closer, position: int, inserted: str) -> bool:
    return closer.position == position and closer.char == inserted


def _is_emptied(following: Closers, position: int, n_deleted: int, inserted: str) -> bool:
    """Whether the opener goes from an empty pair; the closer goes with it."""
    is_one = n_deleted == 1 and not inserted and bool(following)
    return is_one and (following[0].opener, following[0].position) == (position, position + 1)


def _opens(text: str, here: int, inserted: str) -> bool:
    """Editors add no closer before a word, and no second quote behind one."""
    if inserted not in _CLOSER_OF:
        return False
    before, behind = text[here - 1 : here] if here else "", text[here : here + 1]
    if inserted in _QUOTES and (before.isalnum() or before == inserted):
        return False
    return not behind or behind.isspace() or behind in ")]}>,;:" or behind in _QUOTES


def _deletes_closer(closers: Closers, position: int, n_deleted: int, inserted: str) -> bool:
    """Whether a deletion goes over a closer, or takes its opener from a pair that is not empty."""
    gone = range(position, position + n_deleted)
    touched = tuple(each for each in closers if each.position in gone or each.opener in gone)
    return bool(touched) and not _is_emptied(touched, position, n_deleted, inserted)


def _removals(closers: Sequence[Closer]) -> tuple[Patch, ...]:
    return tuple(
        (each.position + index, 1, "") for index, each in reversed(list(enumerate(closers)))
    )


def _remove_all(text: str, closers: Sequence[Closer]) -> str:
    for position, n_deleted, _ in _removals(closers):
        text = text[:position] + text[position + n_deleted :]
    return text
