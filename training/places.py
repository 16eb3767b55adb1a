"""Holes as an editor has them, from the files held out of the training: `python -m training.places
--cache FOLDER > places.jsonl`, for `llmd eval --set`.

A line after its indentation, the rest of a line from any point, or from a point between brackets;
with the closers of what is open there right of the cursor, as an editor that pairs brackets puts
them.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections import Counter
from pathlib import Path

import msgspec

from llmd.cli.eval.sets import InfillingSample
from llmd.postprocess.brackets import CLOSER_OF, count
from training.__main__ import corpus
from training.holes import code_lines
from training.sources import File

N_OF_LANGUAGE, N_OF_FILE = 60, 20
N_TRIES = 20  # to find brackets in a line
SEED = 6


def places(files: list[File]) -> list[InfillingSample]:
    """At most N_OF_LANGUAGE of each language, N_OF_FILE of a file."""
    n_of: Counter[str] = Counter()
    found = []
    for number, file in enumerate(files):
        rng = random.Random(f"{SEED}/{number}")  # noqa: S311
        lines = code_lines(file.text, 0, len(file.text))
        for start, end in rng.sample(lines, min(N_OF_FILE, len(lines))):
            place = _place(file, start, end, rng)
            if place and n_of[file.language] < N_OF_LANGUAGE:
                n_of[file.language] += 1
                found.append(place)
    return found


def _place(file: File, start: int, end: int, rng: random.Random) -> InfillingSample | None:
    line = file.text[start:end]
    at = start + _cut(line, rng)
    middle, closers = file.text[at:end], _closers(file.text[start:at])
    if closers and (ends := count(middle).unopened):
        middle = middle[: ends[0]]  # what is typed before going over the first of them
    if not middle.strip():
        return None
    name = f"{file.source}/{file.name}"
    suffix = closers + file.text[end:]
    return InfillingSample(
        f"{name}:{at}", file.text[:at], suffix, middle, file_name=Path(name).name
    )


def _cut(line: str, rng: random.Random) -> int:
    code = len(line) - len(line.lstrip())
    kind = rng.choice(("indentation", "any", "brackets"))
    if kind == "indentation" or len(line) < code + 4:
        return code
    ats = [rng.randrange(code + 1, len(line)) for _ in range(N_TRIES)]
    between = [at for at in ats if _closers(line[:at])]
    return between[0] if kind == "brackets" and between else ats[0]


def _closers(head: str) -> str:
    """What an editor has put right of the cursor by the time `head` is typed."""
    opened = [opener for opener, n in count(head).opened.items() for _ in range(n)]
    opened.sort(key=head.rfind)
    return "".join(CLOSER_OF[opener] for opener in reversed(opened))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m training.places", description=__doc__)
    parser.add_argument("--cache", type=Path, default=Path(".training-cache"))
    _, held_out = corpus(parser.parse_args().cache)
    for place in places(held_out):
        sys.stdout.write(msgspec.json.encode(place).decode() + "\n")


if __name__ == "__main__":
    main()
