"""The part of a document that the model sees: whole lines around the cursor, which stand still.

A window that slid with the cursor would change the prompt's first token on every new line, and
with it everything the KV cache holds. So both ends are line starts that move only when the text
between them and the cursor has grown or shrunk past a bound. Pure; no IO, no clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from llmd.document import LineRange, Position, Span

# Measured: the built-in's vocabulary takes 2.9 to 3.4 characters of code per token. Too few
# characters only cost context; too many are cut to tokens by the engine.
CHARS_PER_TOKEN = 3

# A side is laid anew when it holds more than GROWN or less than SHRUNK of its budget.
MAX_SHARE = 1.5
MIN_SHARE = 0.5

MAX_TYPED_CHARS = 256 * CHARS_PER_TOKEN
_CLOSERS = frozenset(")]}>\"'`;, \t\r\n")  # what editors put right of the cursor


@dataclass(frozen=True, slots=True)
class Budget:
    n_prefix: int  # tokens
    n_suffix: int


@dataclass(frozen=True, slots=True)
class Excerpt:
    """What the prompt is made of. `head` is the cursor's line before it, `tail` after it.

    `n_typed`: so many characters at the end of `prefix` stand after the anchor. `n_closers`: so
    many at the start of `suffix` came since it was set; the prompt leaves them out, so that its
    suffix stands still.
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
        """Of the suffix what the model sees."""
        return self.suffix[self.n_closers :]

    def after_accepting(self, text: str) -> Excerpt:
        """The same place once `text` has been inserted at the cursor."""
        prefix = self.prefix + text
        head = (self.head + text).rpartition("\n")[2]
        return replace(self, prefix=prefix, head=head, n_typed=self.n_typed + len(text))


def choose_window(
    previous: LineRange | None, lines: Sequence[str], cursor: Position, budget: Budget
) -> LineRange:
    """The previous window where it still serves, else one laid anew, side by side."""
    above = _Side(lines, cursor.line, -1, budget.n_prefix * CHARS_PER_TOKEN)
    below = _Side(lines, cursor.line + 1, 1, budget.n_suffix * CHARS_PER_TOKEN)
    kept = previous or LineRange(-1, -1)
    return LineRange(above.update_edge(kept.first), below.update_edge(kept.end))


@dataclass(frozen=True, slots=True)
class _Side:
    """One side of the cursor: lines from `origin`, going up (-1) or down (1)."""

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
        # A line that is not the last has a character at least, its end.
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
    """What was typed up to here. The anchor stands still while the cursor stays behind it, with
    nothing but closers between the cursor and the old text; else it is the cursor's line's start.
    """
    fresh = Span(Position(cursor.line, 0), cursor)
    if previous is None or not previous.start <= cursor <= previous.end:
        return fresh
    is_short = len(text_between(lines, previous.start, cursor)) <= MAX_TYPED_CHARS
    is_closed = _CLOSERS.issuperset(text_between(lines, cursor, previous.end))
    return previous if previous.start.line >= window.first and is_short and is_closed else fresh


def text_between(lines: Sequence[str], start: Position, end: Position) -> str:
    """The text from `start` to `end`, which is not before it."""
    if start.line == end.line:
        return lines[start.line][start.col : end.col]
    whole = lines[start.line + 1 : end.line]
    return "".join([lines[start.line][start.col :], *whole, lines[end.line][: end.col]])


def build_excerpt(
    window: LineRange, lines: Sequence[str], cursor: Position, typed: Span | None = None
) -> Excerpt:
    """`typed` is what `anchored` gave; None: the cursor's line before the cursor."""
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
