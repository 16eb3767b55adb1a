"""Chooses the lines around the cursor that the model sees. Pure; no IO, no clock.

A window that slides with the cursor would change the prompt's first token on every new line, and so
invalidate the whole KV cache. Therefore each edge of the window is a line start that moves only
when the text between the edge and the cursor is outside of its bounds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from llmd.document import LineRange, Position, Span, text_between

# Measured: the built-in model's vocabulary has 2.9 to 3.4 characters of code per token. A value too
# low only shows the model less context; a value too high is corrected by the worker's truncation.
CHARS_PER_TOKEN = 3
# An edge is chosen again when its side holds more or less than these shares of its budget.
MAX_SHARE = 1.5
MIN_SHARE = 0.5
MAX_TYPED_CHARS = 256 * CHARS_PER_TOKEN
_CLOSERS = frozenset(")]}>\"'`;, \t\r\n")  # characters that editors insert after the cursor


@dataclass(frozen=True, slots=True)
class Budget:
    n_prefix: int  # tokens
    n_suffix: int


@dataclass(frozen=True, slots=True)
class Excerpt:
    """Holds the text around the cursor that the prompt is made of.

    `head`, `tail`: the cursor's line before and after the cursor. `n_typed`: number of characters
    at the end of `prefix` that were typed since the anchor. `n_closers`: number of characters at
    the start of `suffix` that an editor inserted since the anchor; the prompt omits these so that
    its suffix stays the same.
    """

    prefix: str
    suffix: str
    head: str
    tail: str
    next_line: str  # the first line after the cursor's that is not blank, else empty
    n_typed: int = 0
    n_closers: int = 0

    @property
    def prompt_suffix(self) -> str:
        """Returns the part of `suffix` that the model sees."""
        return self.suffix[self.n_closers :]

    def after_accepting(self, text: str) -> Excerpt:
        """Returns the excerpt after inserting `text` at the cursor."""
        prefix = self.prefix + text
        head = (self.head + text).rpartition("\n")[2]
        return replace(self, prefix=prefix, head=head, n_typed=self.n_typed + len(text))


def choose_window(
    previous: LineRange | None, lines: Sequence[str], cursor: Position, budget: Budget
) -> LineRange:
    """Returns the window for a cursor. Keeps each edge of the previous window if possible."""
    above = _Side(lines, cursor.line, -1, budget.n_prefix * CHARS_PER_TOKEN)
    below = _Side(lines, cursor.line + 1, 1, budget.n_suffix * CHARS_PER_TOKEN)
    edges = previous or LineRange(-1, -1)
    return LineRange(above.update_edge(edges.first), below.update_edge(edges.end))


@dataclass(frozen=True, slots=True)
class _Side:
    """Describes one side of the cursor: the lines from `origin` going up (-1) or down (1)."""

    lines: Sequence[str]
    origin: int
    step: int
    n_chars_budget: int

    @property
    def _last(self) -> int:
        return 0 if self.step < 0 else len(self.lines)

    def update_edge(self, edge: int) -> int:
        return edge if self._can_keep(edge) else self._choose_edge()

    def _can_keep(self, edge: int) -> bool:
        n_lines, n_most = (edge - self.origin) * self.step, self.n_chars_budget * MAX_SHARE
        # Every line but the last has at least one character, its line end.
        if edge < 0 or n_lines < 0 or edge > len(self.lines) or n_lines > n_most + 1:
            return False
        n_chars = sum(map(len, self.lines[min(edge, self.origin) : max(edge, self.origin)]))
        is_enough = edge == self._last or n_chars >= self.n_chars_budget * MIN_SHARE
        return is_enough and n_chars <= n_most

    def _choose_edge(self) -> int:
        edge, n_chars = self.origin, 0
        while edge != self._last:
            line = self.lines[edge - 1 if self.step < 0 else edge]
            if n_chars + len(line) > self.n_chars_budget:
                break
            n_chars += len(line)
            edge += self.step
        return edge


def update_anchor(
    previous: Span | None, window: LineRange, lines: Sequence[str], cursor: Position
) -> Span:
    """Returns the span of typed text: from the anchor to the end of the inserted closers.

    The anchor stays while the cursor is after it and only closers separate the cursor from the old
    text. Otherwise the anchor moves to the start of the cursor's line.
    """
    fresh = Span(Position(cursor.line, 0), cursor)
    if previous is None or not previous.start <= cursor <= previous.end:
        return fresh
    is_short = len(text_between(lines, previous.start, cursor)) <= MAX_TYPED_CHARS
    is_closed = _CLOSERS.issuperset(text_between(lines, cursor, previous.end))
    return previous if previous.start.line >= window.first and is_short and is_closed else fresh


def build_excerpt(
    window: LineRange, lines: Sequence[str], cursor: Position, typed: Span | None = None
) -> Excerpt:
    """Builds the excerpt of a window. `typed`: the span from `update_anchor`; None: the cursor's
    line up to the cursor."""
    line = lines[cursor.line]
    head, tail = line[: cursor.col], line[cursor.col :]
    below = lines[cursor.line + 1 : window.end]
    return Excerpt(
        prefix="".join(lines[window.first : cursor.line]) + head,
        suffix=tail + "".join(below),
        head=head,
        tail=tail.rstrip("\r\n"),
        next_line=next((text.strip() for text in below if not text.isspace()), ""),
        n_typed=len(text_between(lines, typed.start, cursor)) if typed else cursor.col,
        n_closers=len(text_between(lines, cursor, typed.end)) if typed else 0,
    )
