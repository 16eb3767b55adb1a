"""Reads sets of cases (JSONL files with the keys of openai/human-eval-infilling), and moves the
start of a case's missing text into the prefix. Reads files; the rest is pure."""

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
# `multi-line` is made from the first file: several lines of each function's body.
NAMED = {
    "single-line": "HumanEval-SingleLineInfilling.jsonl.gz",
    "random-span": "HumanEval-RandomSpanInfillingLight.jsonl.gz",
    "multi-line": "HumanEval-SingleLineInfilling.jsonl.gz",
}
MULTI_LINES = (2, 8)  # the fewest and the most missing lines in `multi-line`

CutKind = Literal["none", "word", "border"]


class InfillingSample(msgspec.Struct, frozen=True):
    """Holds one line of a set. `file_name` is llmd's own key; its ending gives the language."""

    task_id: str
    prompt: str
    suffix: str
    canonical_solution: str
    entry_point: str = ""
    test: str = ""
    file_name: str = "solution.py"


def read_set(name: str) -> list[EvalCase]:
    """Returns the cases of a named set or of a file.

    Raises:
        BadInput: the file is missing, or is not JSONL with these keys.
    """
    cases = [case_from_sample(sample) for sample in read_samples(_set_path(name))]
    return multi_line_cases(cases) if name == "multi-line" else cases


def read_samples(path: Path) -> list[InfillingSample]:
    """
    Raises:
        BadInput: the file cannot be read, or is not JSONL with these keys.
    """
    try:
        data = path.read_bytes()
        text = gzip.decompress(data) if path.suffix == ".gz" else data
    except (OSError, EOFError) as error:
        reason = getattr(error, "strerror", None) or error
        raise BadInput(f"Set `{path}` cannot be read: {reason}; name a JSONL file") from None
    decode = msgspec.json.Decoder(InfillingSample).decode
    samples = []
    for number, line in enumerate(text.splitlines(), 1):
        try:
            samples += [decode(line)] if line.strip() else []
        except (msgspec.MsgspecError, UnicodeDecodeError):
            keys = ", ".join(InfillingSample.__struct_fields__[:4])
            raise BadInput(
                f"Set `{path}`, line {number}, is not a sample; expected a JSON object with {keys}"
            ) from None
    return samples


def _set_path(name: str) -> Path:
    file = NAMED.get(name)
    if file is None:
        if not Path(name).is_file():
            raise BadInput(
                f"Set `{name}` is not a file and none of {', '.join(NAMED)}; name one of these"
                " or a JSONL file"
            )
        return Path(name)
    for folder in (os.environ.get(FOLDER_VARIABLE), Path(__file__).parents[4] / "tests" / "data"):
        if folder and (path := Path(folder, file)).is_file():
            return path
    raise BadInput(
        f"Set `{name}` needs `{file}`, which is missing; download it from"
        f" https://github.com/openai/human-eval-infilling (data/) and name its folder in"
        f" {FOLDER_VARIABLE}"
    )


def case_from_sample(sample: InfillingSample) -> EvalCase:
    """Returns the case as an editor has it: if whole lines are missing, the cursor is on an empty
    line."""
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


def multi_line_cases(cases: Sequence[EvalCase]) -> list[EvalCase]:
    """Returns a case with several missing lines for each function whose first line is a case."""
    firsts = (case for case in cases if case.id.endswith("/L0"))
    return [case for case in map(_multi_line_case, firsts) if case]


def _multi_line_case(case: EvalCase) -> EvalCase | None:
    body = (case.truth + case.after).splitlines(keepends=True)
    fewest, most = MULTI_LINES
    if len(body) < fewest + 1:
        return None
    rng = _rng(case, "lines")
    n_lines = rng.randint(fewest, min(most, len(body) - 1))
    first = rng.randint(0, len(body) - n_lines)
    end = first + n_lines
    return replace(
        case,
        id=f"{case.id.rsplit('/', 1)[0]}/L{first}+{n_lines}",
        before=case.before + "".join(body[:first]),
        truth="".join(body[first:end]).removesuffix("\n"),
        after="\n" + "".join(body[end:]),
    )


def cut_cases(cases: Sequence[EvalCase], how: CutKind) -> list[EvalCase]:
    """Begins the first missing line of each case, up to one random position after its indentation:
    inside a word, or at a word's border. Cases without such a position are left out."""
    if how == "none":
        return list(cases)
    return _begin_cases(cases, lambda case: _cut_at(case, how))


def with_given_chars(cases: Sequence[EvalCase], n_chars: int) -> list[EvalCase]:
    """Begins each case with the indentation and `n_chars` more, as if typed. Leaves out cases with
    nothing left in that line."""

    def end(case: EvalCase) -> int:
        line = case.truth.split("\n", 1)[0]
        n = _indent(line) + n_chars
        return n if line[n:].strip() else 0

    return _begin_cases(cases, end) if n_chars else list(cases)


def with_given_lines(cases: Sequence[EvalCase], n_lines: int) -> list[EvalCase]:
    """Begins each case with `n_lines` whole lines, as if typed, and the cursor below them."""

    def end(case: EvalCase) -> int:
        lines = case.truth.split("\n")
        n = sum(len(line) + 1 for line in lines[:n_lines])
        return n if "".join(lines[n_lines:]).strip() else 0

    return _begin_cases(cases, end) if n_lines else list(cases)


def _begin_cases(cases: Sequence[EvalCase], end: Callable[[EvalCase], int]) -> list[EvalCase]:
    """Begins each case up to `end(case)` characters; leaves out cases for which that is 0."""
    begun = []
    for case in cases:
        if n := end(case):
            start, rest = case.truth[:n], case.truth[n:]
            n_given = case.n_given + n
            begun.append(replace(case, before=case.before + start, truth=rest, n_given=n_given))
    return begun


def _cut_at(case: EvalCase, how: CutKind) -> int:
    """Returns 0 if the line has no such position."""
    line = case.truth.split("\n", 1)[0]
    fits = [
        col
        for col in range(_indent(line) + 1, len(line))
        if line[col:].strip() and _is_inside(line, col) == (how == "word")
    ]
    return _rng(case, how).choice(fits) if fits else 0


def _is_inside(line: str, col: int) -> bool:
    return all(char.isalnum() or char == "_" for char in line[col - 1 : col + 1])


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _rng(case: EvalCase, purpose: str) -> random.Random:
    """Depends on the case alone, so that a limit on the number of cases moves no cut."""
    return random.Random(f"{SEED} {purpose} {case.id}")  # noqa: S311
