"""Defines a case of an evaluation: a document, a cursor, and the true text at the cursor. Pure."""

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
    """Holds the document as `before` + `after`, with the cursor between.

    `n_given`: how many characters at the end of `before` count as typed. `test` is Python that
    defines `check`, or empty. `is_invoked`: requested by hand, which also completes in the middle
    of a line, where nothing is suggested while typing.
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
        """Identifies the case by its content, independent of `id`."""
        fields: list[str | int] = [self.before, self.after, self.truth]
        fields += [self.file_name, self.n_given, self.is_invoked]
        return hashlib.sha256(json.dumps(fields).encode()).hexdigest()[:16]

    @property
    def cursor(self) -> Position:
        return end_of(self.before)

    @property
    def head(self) -> str:
        """Returns the cursor's line before the cursor."""
        return split_lines(self.before)[-1]

    @property
    def tail(self) -> str:
        """Returns the cursor's line after the cursor."""
        return split_lines(self.after)[0].rstrip("\r\n")

    @property
    def next_line(self) -> str:
        """Returns the first line below the cursor that is not blank, without indentation."""
        below = (line.strip() for line in split_lines(self.after)[1:])
        return next((line for line in below if line), "")


def end_of(text: str) -> Position:
    lines = split_lines(text)
    return Position(len(lines) - 1, len(lines[-1]))


def evenly_spaced(items: Sequence[T], limit: int | None) -> list[T]:
    """Returns all items, or `limit` items at even distances."""
    if limit is None or limit >= len(items):
        return list(items)
    return [items[index * len(items) // limit] for index in range(limit)]
