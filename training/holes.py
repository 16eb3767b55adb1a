"""Makes samples from files: chooses a part of a file, and the part's middle. Pure. A sample depends
on its number alone, so that an interrupted run continues with the same samples.

Cuts are at characters, as a cursor is: a middle may begin inside a word.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from typing import Literal

from training.sources import File

Order = Literal["psm", "spm"]

# Weight of each kind of middle.
KINDS = {
    "line": 38,  # a whole line at an empty line: the most frequent request
    "line_end": 8,  # the same with the newline, as infilling sets cut lines
    "rest": 22,  # the rest of a line from any point
    "indented": 10,  # a line after its indentation
    "lines": 11,  # several lines
    "part": 4,  # within a line
    "span": 4,  # any characters
    "none": 2,  # nothing is missing
}
HEALED_SHARE = 0.4  # the middle includes the last word or blanks before the cursor: token healing
FUNCTION_SHARE = 0.75  # of the samples whose text is one function
PSM_SHARE = 0.6  # the others are SPM, which the model learns faster
HEADER_SHARE = 0.15  # begin with llama-server's header
MAX_PREFIX_CHARS, MAX_SUFFIX_CHARS = 700, 320  # upper bounds; each sample draws a length

_FUNCTION = re.compile(r"^([ \t]*)(?:async )?(?:def|fn|pub fn|func|function|export const) ", re.M)
# As llmd/worker/token_healing.py: blanks, or a word with the one sign that joins its token.
_LAST_PRE_TOKEN = re.compile(r"(?:\s+|[ ._(]?[^\W_]+)\Z")


@dataclass(frozen=True, slots=True)
class Sample:
    order: Order
    header: tuple[str, ...]  # () or the repository's and the file's part
    prefix: str
    suffix: str
    middle: str


def sample(files: list[File], seed: int, number: int) -> Sample:
    """Returns the `number`-th sample of a seed."""
    rng = random.Random(f"{seed}/{number}")  # noqa: S311
    while True:
        file = rng.choice(files)
        start, end = _region(file.text, rng)
        kind = rng.choices(list(KINDS), list(KINDS.values()))[0]
        cut = _cut(kind, file.text, start, end, rng)
        if cut is not None:
            return _sample(file, cut, start, end, rng)


def _region(text: str, rng: random.Random) -> tuple[int, int]:
    """Returns the offsets of a function, or of the whole file."""
    heads = list(_FUNCTION.finditer(text)) if rng.random() < FUNCTION_SHARE else []
    if not heads:
        return 0, len(text)
    head = rng.choice(heads)
    return head.start(), _block_end(text, head.start(), len(head[1].expandtabs()))


def _block_end(text: str, start: int, n_indent: int) -> int:
    """Returns the end of the lines that are indented deeper than the first line, including the line
    of a closing bracket."""
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
    """Returns the middle's offsets, or None if the text has no middle of this kind."""
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
    """Returns (start, end) of each line that is not blank, without the newline. Most lines of
    docstrings and comments are left out."""
    lines, offset, in_doc = [], start, False
    for line in text[start:end].splitlines(keepends=True):
        code = line.strip()
        quotes = code.count('"""') + code.count("'''")
        is_prose = in_doc or quotes > 0 or code.startswith(("#", "//", "/*", "*"))
        in_doc ^= quotes % 2 == 1
        if code and offset > start and (not is_prose or hash_share(offset) < 0.08):
            lines.append((offset, offset + len(line.rstrip("\r\n"))))
        offset += len(line)
    return lines


def hash_share(number: int) -> float:
    """Returns a number in [0, 1) that depends on the argument alone."""
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
    if rng.random() < HEALED_SHARE and (healed := _LAST_PRE_TOKEN.search(prefix)):
        prefix, middle = prefix[: healed.start()], healed[0] + middle
    header = ("myproject\n", "filename\n") if rng.random() < HEADER_SHARE else ()
    order: Order = "psm" if rng.random() < PSM_SHARE else "spm"
    return Sample(order, header, prefix, file.text[stop:last], middle)
