"""What a text says again and again. Pure, and cheap enough for every token."""

from __future__ import annotations

from collections.abc import Sequence

_MAX_BLOCK = 4  # lines
N_LINES = 2 * _MAX_BLOCK  # so many tell whether a block is said again
_PERIODS = range(3, 33)  # characters
_SHORT, _N_SHORT, _N_LONG = 10, 6, 4  # a phrase shorter than 10 characters is said six times
_N_ROW = 160  # characters without a letter


def n_copied(lines: Sequence[str]) -> int:
    """Of the last `N_LINES`: how many at the end are, so far, copies of those right before them."""
    return max((_n_same(lines, n) for n in range(1, _MAX_BLOCK + 1)), default=0)


def n_repeated(lines: Sequence[str]) -> int:
    """The same where they are too many: a line said three times, a block said twice."""
    runs = ((n, _n_same(lines, n)) for n in range(1, _MAX_BLOCK + 1))
    n_same = max((n_same for n, n_same in runs if n_same >= max(n, 2)), default=0)
    return n_same if any(map(has_letter, lines[len(lines) - n_same :])) else 0


def has_letter(text: str) -> bool:
    return any(map(str.isalpha, text))


def _n_same(lines: Sequence[str], distance: int) -> int:
    n_same = 0
    for at in range(len(lines) - 1, distance - 1, -1):
        if lines[at] != lines[at - distance]:
            break
        n_same += 1
    return n_same


def n_echoed(line: str) -> int:
    """How many characters at the end are, so far, a phrase said more than twice."""
    periods = (n for n in _PERIODS if line.endswith(line[-n:] * 2))
    return max((_n_run(line, n) - n for n in periods), default=0)


def n_looped(line: str) -> int:
    """The same where it is said too often. Rows of digits or dashes may be as long as a line.

    Counts as in tabby (postprocess/removeLineEndsWithRepetition.ts).
    """
    for period in _PERIODS:
        phrase = line[-period:]
        if len(line) < period * _N_LONG or not line.endswith(phrase * _N_LONG):
            continue
        n_times = _N_SHORT if period < _SHORT else _N_LONG
        n_times = n_times if has_letter(phrase) else _N_ROW // period
        if line.endswith(phrase * n_times):
            return _n_run(line, period) - period
    return 0


def _n_run(line: str, period: int) -> int:
    """How many characters at the end are those that stand `period` before them."""
    at = len(line) - 1
    while at >= period and line[at] == line[at - period]:
        at -= 1
    return len(line) - 1 - at
