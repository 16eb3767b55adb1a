"""Simulates a KV cache whose cells record the tokens before them, and an editor."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from llmd.errors import EngineError
from llmd.worker.llama import StateBytes

PRE, SUF, MID = 1, 2, 3  # not the code of a character in the texts
N_PREFIX, N_SUFFIX, STEP = 12, 6, 4  # characters, one token each


@dataclass(frozen=True, slots=True)
class Cell:
    position: int
    token: int
    after: tuple[int, ...]


class Memory:
    """Replaces llama.cpp. `codes` are the results of the next decodes; an aborted decode leaves
    some of the cells. `can_restore` is False if restoring a state fails."""

    n_ctx, n_batch = 64, 4
    is_on_gpu = False

    def __init__(self, codes: Sequence[int] = (), can_cut: bool = True) -> None:
        self.held: list[Cell] = []
        self.codes = list(codes)
        self.can_cut = can_cut
        self.can_restore = True
        self.n_evaluated = 0

    @property
    def tokens(self) -> list[int]:
        return [cell.token for cell in self.held]

    def decode(self, tokens: Sequence[int], start: int, n_logits: int) -> int:
        assert start == len(self.held), "llama_decode refuses a gap or an overlap"
        assert 0 < len(tokens) <= self.n_batch
        assert n_logits <= len(tokens)
        code = self.codes.pop(0) if self.codes else 0
        self.n_evaluated += len(tokens)
        for token in tokens if code == 0 else tokens[:1]:
            self.held.append(Cell(len(self.held), token, tuple(self.tokens)))
        return code

    def failure(self, what: str) -> EngineError:
        return EngineError(f"llama.cpp failed to {what}")

    def seq_rm(self, start: int) -> bool:
        """Removes the cells from `start`. A whole sequence can always be removed."""
        if start and not self.can_cut:
            return False
        del self.held[start:]
        return True

    def clear(self) -> None:
        self.held.clear()

    def state(self) -> StateBytes:
        return np.frombuffer(pickle.dumps(self.held), np.uint8)

    def restore(self, state: StateBytes) -> bool:
        assert not self.held, "the old cells are freed first"
        held: list[Cell] = pickle.loads(state.tobytes())  # noqa: S301 - our own
        self.held = held if self.can_restore else held[:1]
        return self.can_restore

    def check(self) -> None:
        """Asserts that positions have no gap, and that each cell follows the tokens before."""
        tokens = self.tokens
        for position, cell in enumerate(self.held):
            assert cell.position == position
            assert cell.after == tuple(tokens[:position])


@dataclass(frozen=True, slots=True)
class Edit:
    """Describes an edit: the cursor moves to `jump`, `text` replaces `n_deleted` characters before
    the cursor, and the cursor ends `n_back` characters before the end of `text`."""

    text: str = ""
    n_deleted: int = 0
    n_back: int = 0
    jump: int | None = None
    is_undo: bool = False


class Buffer:
    """Holds a document and a cursor. The prompt has an anchor, and windows that move in steps."""

    def __init__(self) -> None:
        self._text, self._cursor, self._anchor, self._first = "", 0, 0, 0
        self._undone: list[tuple[str, int]] = []

    def apply(self, edit: Edit) -> None:
        if edit.is_undo:
            if self._undone:
                self._text, self._cursor = self._undone.pop()
            self._anchor = min(self._anchor, self._cursor)
            return
        if edit.jump is not None:
            self._cursor = self._anchor = edit.jump % (len(self._text) + 1)
        self._undone.append((self._text, self._cursor))
        start = max(self._cursor - edit.n_deleted, 0)
        self._text = self._text[:start] + edit.text + self._text[self._cursor :]
        self._cursor = start + len(edit.text) - min(edit.n_back, len(edit.text))
        self._anchor = min(self._anchor, start)

    def prompt(self) -> list[int]:
        n_typed = self._cursor - self._anchor
        if n_typed > N_PREFIX or self._anchor < self._first:
            self._anchor = self._cursor
        if not 0 <= self._anchor - self._first <= N_PREFIX:
            self._first = max(self._anchor - N_PREFIX // 2, 0) // STEP * STEP
        text, cursor = [ord(character) for character in self._text], self._cursor
        return [
            PRE, *text[self._first : self._anchor],
            SUF, *text[cursor : cursor + N_SUFFIX],
            MID, *text[self._anchor : cursor],
        ]  # fmt: skip
