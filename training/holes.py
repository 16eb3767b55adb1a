"""Files to samples: which part of a file is shown, and which of it is the middle. Pure; every
sample depends on its number alone, so that an interrupted run goes on with the same ones.

Cuts are made in characters, as a cursor stands: a middle may begin inside a word.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from typing import Literal

from training.sources import File

Order = Literal["psm", "spm"]

# Share of each kind of hole, in the order of `_CUTS`.
KINDS = {
    "line": 38,  # a whole line at an empty line: what one asks for most
    "line_end": 8,  # the same with its newline, as infilling sets cut it
    "rest": 22,  # the rest of a line from any point
    "indented": 10,  # a line after its indentation
    "lines": 11,  # several lines
    "part": 4,  # within a line
    "span": 4,  # any characters
    "none": 2,  # nothing is missing
}
HEALED_SHARE = 0.4  # the last word or blanks before the hole are in the middle: token healing
FUNCTION_SHARE = 0.75  # of the samples whose text is one function
PSM_SHARE = 0.6  # the rest is SPM, which the model learns sooner
HEADER_SHARE = 0.15  # with llama-server's header before them
MAX_PREFIX_CHARS, MAX_SUFFIX_CHARS = 700, 320  # at most; a sample draws less

_FUNCTION = re.compile(r"^([ \t]*)(?:async )?(?:def|fn|pub fn|func|function|export const) ", re.M)
# As llmd/engine/heal.py finds it: blanks, or a word with the one sign that a token joins to it.
_LAST_PRE_TOKEN = re.compile(r"(?:\s+|[ ._(]?[^\W_]+)\Z")


@dataclass(frozen=True, slots=True)
class Sample:
    order: Order
    header: tuple[str, ...]  # () or the repository's and the file's part
    prefix: str
    suffix: str
    middle: str


def sample(files: list[File], seed: int, number: int) -> Sample:
    """The `number`-th sample of a seed."""
    rng = random.Random(f"{seed}/{number}")  # noqa: S311
    while True:
        file = rng.choice(files)
        start, end = _region(file.text, rng)
        kind = rng.choices(list(KINDS), list(KINDS.values()))[0]
        cut = _cut(kind, file.text, start, end, rng)
        if cut is not None:
            return _sample(file, cut, start, end, rng)


def _region(text: str, rng: random.Random) -> tuple[int, int]:
    """A function with a little of what stands before it, or any lines."""
    heads = list(_FUNCTION.finditer(text)) if rng.random() < FUNCTION_SHARE else []
    if not heads:
        return 0, len(text)
    head = rng.choice(heads)
    return head.start(), _block_end(text, head.start(), len(head[1].expandtabs()))


def _block_end(text: str, start: int, n_indent: int) -> int:
    """Where the lines indented deeper than the first one end, with a closing bracket's line."""
    end = text.find("\n", start) + 1 or len(text)
    for line in text[end:].splitlines(keepends=True):
        body = line.expandtabs().lstrip(" ")
        depth = len(line.expandtabs()) - len(body)
        if body.strip() and depth <= n_indent and body[0] not in ")]}":
            break
        end += len(line)
        if body[:1] in ("}",) and depth == n_indent:
            break
    return end


def _cut(kind: str, text: str, start: int, end: int, rng: random.Random) -> tuple[int, int] | None:
    """The middle as offsets, or None where this kind finds no place."""
    lines = code_lines(text, start, end)
    if not lines:
        return None
    first = rng.randrange(len(lines))
    left, right = lines[first]
    code = left + len(text[left:right]) - len(text[left:right].lstrip())
    if kind == "line":
        return left, right
    if kind == "line_end":
        return left, min(right + 1, len(text))
    if kind == "indented":
        return code, right
    if kind == "rest":
        return rng.randrange(code, right), right
    if kind == "none":
        return right, right
    if kind == "lines":
        last = min(first + rng.randint(1, 5), len(lines) - 1)
        begin = rng.choice((left, code, rng.randrange(code, right)))
        return begin, lines[last][1]
    if kind == "part":
        begin = rng.randrange(code, right)
        return begin, rng.randint(begin + 1, right)
    begin = rng.randrange(code, right)
    return begin, min(begin + rng.randint(8, 160), end)


def code_lines(text: str, start: int, end: int) -> list[tuple[int, int]]:
    """Lines that hold something, those of docstrings and comments seldom: (start, end) without
    their newline."""
    found, at, in_doc = [], start, False
    for line in text[start:end].splitlines(keepends=True):
        said = line.strip()
        quotes = said.count('"""') + said.count("'''")
        is_prose = in_doc or quotes > 0 or said.startswith(("#", "//", "/*", "*"))
        in_doc ^= quotes % 2 == 1
        if said and at > start and (not is_prose or hash_share(at) < 0.08):
            found.append((at, at + len(line.rstrip("\r\n"))))
        at += len(line)
    return found


def hash_share(number: int) -> float:
    """A number in [0, 1) that only the argument decides."""
    return (number * 2654435761 % (1 << 32)) / (1 << 32)


def _sample(file: File, cut: tuple[int, int], start: int, end: int, rng: random.Random) -> Sample:
    begin, stop = cut
    first = max(start, begin - rng.randint(120, MAX_PREFIX_CHARS))
    last = min(end, stop + rng.randint(30, MAX_SUFFIX_CHARS))
    if first > start:  # windows begin and end with whole lines
        first = file.text.find("\n", first, begin) + 1 or begin
    if last < end:
        last = file.text.find("\n", last) + 1 or len(file.text)
    prefix, middle = file.text[first:begin], file.text[begin:stop]
    if rng.random() < HEALED_SHARE and (owed := _LAST_PRE_TOKEN.search(prefix)):
        prefix, middle = prefix[: owed.start()], owed[0] + middle
    header = ("myproject\n", "filename\n") if rng.random() < HEADER_SHARE else ()
    order: Order = "psm" if rng.random() < PSM_SHARE else "spm"
    return Sample(order, header, prefix, file.text[stop:last], middle)
