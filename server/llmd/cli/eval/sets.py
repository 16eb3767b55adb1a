"""Sets of holes: JSONL files with the keys of openai/human-eval-infilling, and what of a hole is
given before the model is asked. Reads files; the rest is pure."""

from __future__ import annotations

import gzip
import os
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import msgspec

from llmd.cli.eval.cases import EvalCase
from llmd.errors import BadInput

SEED = 3407
FOLDER_VARIABLE = "LLMD_EVAL_DATA"
# `multi-line` is made of the first file: several lines of each function's body.
NAMED = {
    "single-line": "HumanEval-SingleLineInfilling.jsonl.gz",
    "random-span": "HumanEval-RandomSpanInfillingLight.jsonl.gz",
    "multi-line": "HumanEval-SingleLineInfilling.jsonl.gz",
}
MULTI_LINES = (2, 8)  # the fewest and the most lines of a hole of `multi-line`

CutKind = Literal["none", "word", "border"]


class InfillingSample(msgspec.Struct, frozen=True):
    """One line of a file; `file_name` is ours, and tells the language by its ending."""

    task_id: str
    prompt: str
    suffix: str
    canonical_solution: str
    entry_point: str = ""
    test: str = ""
    file_name: str = "solution.py"


def read_set(name: str) -> list[EvalCase]:
    """The holes of a named set or of a file.

    Raises:
        BadInput: there is no such file, or it is not JSONL of these keys.
    """
    places = [case_from_sample(sample) for sample in read_samples(_set_path(name))]
    return multi_line_cases(places) if name == "multi-line" else places


def read_samples(path: Path) -> list[InfillingSample]:
    """
    Raises:
        BadInput: as `read`.
    """
    try:
        data = path.read_bytes()
        text = gzip.decompress(data) if path.suffix == ".gz" else data
    except (OSError, EOFError) as error:
        said = getattr(error, "strerror", None) or error
        raise BadInput(f"Set `{path}` cannot be read: {said}; name a JSONL file") from None
    decode = msgspec.json.Decoder(InfillingSample).decode
    samples = []
    for number, line in enumerate(text.splitlines(), 1):
        try:
            samples += [decode(line)] if line.strip() else []
        except (msgspec.MsgspecError, UnicodeDecodeError):
            keys = ", ".join(InfillingSample.__struct_fields__[:4])
            raise BadInput(
                f"Set `{path}`, line {number}, is no sample; expected a JSON object with {keys}"
            ) from None
    return samples


def _set_path(name: str) -> Path:
    file = NAMED.get(name)
    if file is None:
        if not Path(name).is_file():
            raise BadInput(
                f"Set `{name}` is no file and none of {', '.join(NAMED)}; name one of these"
                " or a JSONL file"
            )
        return Path(name)
    own = os.environ.get(FOLDER_VARIABLE)
    folders = [Path(own)] if own else []
    folders.append(Path(__file__).parents[4] / "tests" / "data")
    for path in (folder / file for folder in folders):
        if path.is_file():
            return path
    raise BadInput(
        f"Set `{name}` needs `{file}`, which is not here; download it from"
        f" https://github.com/openai/human-eval-infilling (data/) and name its folder in"
        f" {FOLDER_VARIABLE}"
    )


def case_from_sample(sample: InfillingSample) -> EvalCase:
    """As an editor has it: where whole lines are missing, the cursor is on an empty line."""
    truth, after = sample.canonical_solution, sample.suffix
    if truth.endswith("\n"):
        truth, after = truth[:-1], "\n" + after
    return EvalCase(
        id=sample.task_id,
        before=sample.prompt,
        after=after,
        truth=truth,
        file_name=sample.file_name,
        entry_point=sample.entry_point,
        test=sample.test,
    )


def multi_line_cases(places: Sequence[EvalCase]) -> list[EvalCase]:
    """One hole of several lines in each function whose first line has a hole in `places`."""
    firsts = [place for place in places if place.id.endswith("/L0")]
    made = (_multi_line_case(place) for place in firsts)
    return [place for place in made if place]


def _multi_line_case(place: EvalCase) -> EvalCase | None:
    body = (place.truth + place.after).splitlines(keepends=True)
    fewest, most = MULTI_LINES
    if len(body) < fewest + 1:
        return None
    rng = _rng(place, "lines")
    n_lines = rng.randint(fewest, min(most, len(body) - 1))
    first = rng.randint(0, len(body) - n_lines)
    before, truth, after = (
        "".join(part)
        for part in (body[:first], body[first : first + n_lines], body[first + n_lines :])
    )
    place_id = f"{place.id.rsplit('/', 1)[0]}/L{first}+{n_lines}"
    return replace(
        place,
        id=place_id,
        before=place.before + before,
        truth=truth.removesuffix("\n"),
        after="\n" + after,
    )


def cut_cases(places: Sequence[EvalCase], how: CutKind) -> list[EvalCase]:
    """The first line of each hole begun, up to one random place after its indentation: inside a
    word, or at a border of one. Holes without such a place are left out."""
    if how == "none":
        return list(places)
    return _begin_cases(places, lambda place: _cut_at(place, how))


def with_given_chars(places: Sequence[EvalCase], n_chars: int) -> list[EvalCase]:
    """The indentation and `n_chars` more stand there already, as if typed. Holes of which nothing
    would be left in that line are left out."""

    def end(place: EvalCase) -> int:
        line = place.truth.split("\n", 1)[0]
        n = _indent(line) + n_chars
        return n if line[n:].strip() else 0

    return _begin_cases(places, end) if n_chars else list(places)


def with_given_lines(places: Sequence[EvalCase], n_lines: int) -> list[EvalCase]:
    """The first `n_lines` whole lines stand there, as if typed, and the cursor below them."""

    def end(place: EvalCase) -> int:
        lines = place.truth.split("\n")
        n = sum(len(line) + 1 for line in lines[:n_lines])
        return n if "".join(lines[n_lines:]).strip() else 0

    return _begin_cases(places, end) if n_lines else list(places)


def _begin_cases(places: Sequence[EvalCase], end: Callable[[EvalCase], int]) -> list[EvalCase]:
    """Each hole begun up to `end`, where that is not 0."""
    found = []
    for place in places:
        if n := end(place):
            start, rest = place.truth[:n], place.truth[n:]
            n_given = place.n_given + n
            begun = replace(place, before=place.before + start, truth=rest, n_given=n_given)
            found.append(begun)
    return found


def _cut_at(place: EvalCase, how: CutKind) -> int:
    """0 where the line has no such place."""
    line = place.truth.split("\n", 1)[0]
    fits = [
        col
        for col in range(_indent(line) + 1, len(line))
        if line[col:].strip() and _is_inside(line, col) == (how == "word")
    ]
    return _rng(place, how).choice(fits) if fits else 0


def _is_inside(line: str, col: int) -> bool:
    return all(char.isalnum() or char == "_" for char in line[col - 1 : col + 1])


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _rng(place: EvalCase, purpose: str) -> random.Random:
    """Of the place alone, so that a limit on their number moves no cut."""
    return random.Random(f"{SEED} {purpose} {place.id}")  # noqa: S311
