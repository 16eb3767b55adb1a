"""Makes cases for `llmd eval --set` from the files held out of the training, as an editor has them:
`python -m training.places --cache FOLDER > places.jsonl`.

The missing text is a line after its indentation, the rest of a line from any point, or the rest
from a point between brackets. Right of the cursor are the closers of the open brackets, as in an
editor that pairs brackets.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections import Counter
from pathlib import Path

import msgspec

from llmd.cli.eval.case_files import InfillingSample
from llmd.postprocess.bracket_count import CLOSER_OF, count_brackets
from training.__main__ import corpus
from training.holes import code_lines
from training.sources import File

N_OF_LANGUAGE, N_OF_FILE = 60, 20
N_TRIES = 20  # to find brackets in a line
SEED = 6


def places(files: list[File]) -> list[InfillingSample]:
    """Returns at most N_OF_LANGUAGE samples of each language, N_OF_FILE of a file."""
    n_of: Counter[str] = Counter()
    samples = []
    for number, file in enumerate(files):
        rng = random.Random(f"{SEED}/{number}")  # noqa: S311
        lines = code_lines(file.text, 0, len(file.text))
        for start, end in rng.sample(lines, min(N_OF_FILE, len(lines))):
            place = _place(file, start, end, rng)
            if place and n_of[file.language] < N_OF_LANGUAGE:
                n_of[file.language] += 1
                samples.append(place)
    return samples


def _place(file: File, start: int, end: int, rng: random.Random) -> InfillingSample | None:
    line = file.text[start:end]
    cursor = start + _cut(line, rng)
    middle, closers = file.text[cursor:end], _closers(file.text[start:cursor])
    if closers and (ends := count_brackets(middle).unopened):
        middle = middle[: ends[0]]  # the text that is typed before the first closer
    if not middle.strip():
        return None
    name = f"{file.source}/{file.name}"
    suffix = closers + file.text[end:]
    return InfillingSample(
        f"{name}:{cursor}", file.text[:cursor], suffix, middle, file_name=Path(name).name
    )


def _cut(line: str, rng: random.Random) -> int:
    code = len(line) - len(line.lstrip())
    kind = rng.choice(("indentation", "any", "brackets"))
    if kind == "indentation" or len(line) < code + 4:
        return code
    columns = [rng.randrange(code + 1, len(line)) for _ in range(N_TRIES)]
    between = [column for column in columns if _closers(line[:column])]
    return between[0] if kind == "brackets" and between else columns[0]


def _closers(head: str) -> str:
    """Returns the closers that an editor has inserted once `head` is typed."""
    opened = [opener for opener, n in count_brackets(head).opened.items() for _ in range(n)]
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
