"""Finds repeated lines and phrases in a text. Pure, and cheap enough to run for every token."""

from __future__ import annotations

from collections.abc import Sequence

_MAX_BLOCK = 4  # lines
N_LINES = 2 * _MAX_BLOCK  # number of lines that show whether a block is repeated
_PERIODS = range(3, 33)  # phrase lengths in characters
_SHORT, _N_SHORT, _N_LONG = 10, 6, 4  # phrases shorter than 10 characters may repeat 6 times
_N_ROW = 160  # allowed length in characters of a repetition without letters


def n_copied(lines: Sequence[str]) -> int:
    """Returns how many lines at the end copy, so far, the lines right before them.

    `lines`: the last `N_LINES` lines of the text.
    """
    return max((_n_same(lines, n) for n in range(1, _MAX_BLOCK + 1)), default=0)


def n_repeated(lines: Sequence[str]) -> int:
    """Returns how many lines at the end to remove as repetitions: a line that occurs three times in
    a row, or a block that occurs twice."""
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
    """Returns how many characters at the end follow, so far, the second of two equal phrases."""
    periods = (n for n in _PERIODS if line.endswith(line[-n:] * 2))
    return max((_n_run(line, n) - n for n in periods), default=0)


def n_looped(line: str) -> int:
    """Returns how many characters at the end to remove as a phrase that repeats too often.

    Rows of digits or dashes may be as long as a line. Thresholds as in tabby
    (postprocess/removeLineEndsWithRepetition.ts).
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
    """Returns how many characters at the end equal the character `period` before them."""
    at = len(line) - 1
    while at >= period and line[at] == line[at - period]:
        at -= 1
    return len(line) - 1 - at
