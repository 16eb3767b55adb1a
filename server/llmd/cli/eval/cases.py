"""One place to complete: a document, a cursor, and what stands or was typed there. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from llmd.document import Position, split_lines

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class EvalCase:
    """`before` + `after` is the document, the cursor between them.

    `n_given`: so many characters at the end of `before` count as typed. `test` is Python that
    defines `check`, empty where there is none. `is_asked`: asked for by hand, as in the middle of
    a line, where nothing is suggested while one types.
    """

    id: str
    before: str
    after: str
    truth: str
    file_name: str = "solution.py"
    n_given: int = 0
    entry_point: str = ""
    test: str = ""
    is_invoked: bool = True

    @property
    def digest(self) -> str:
        """The same place by its content, whatever it is called."""
        told = [self.before, self.after, self.truth, self.file_name, self.n_given, self.is_invoked]
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]

    @property
    def cursor(self) -> Position:
        return end_of(self.before)

    @property
    def head(self) -> str:
        """The cursor's line before it."""
        return split_lines(self.before)[-1]

    @property
    def tail(self) -> str:
        """The cursor's line after it."""
        return split_lines(self.after)[0].rstrip("\r\n")

    @property
    def next_line(self) -> str:
        """The first line below the cursor's that is not blank, without its indentation."""
        below = (line.strip() for line in split_lines(self.after)[1:])
        return next((line for line in below if line), "")


def end_of(text: str) -> Position:
    lines = split_lines(text)
    return Position(len(lines) - 1, len(lines[-1]))


def evenly_spaced(found: Sequence[T], limit: int | None) -> list[T]:
    """All of them, or `limit` at even distances."""
    if limit is None or limit >= len(found):
        return list(found)
    return [found[index * len(found) // limit] for index in range(limit)]
