"""Holes as an editor has them, begun as the options say, the same on every run."""

from __future__ import annotations

import gzip
from pathlib import Path

import msgspec
import pytest

from llmd.cli.eval import case_files
from llmd.cli.eval.cases import EvalCase, end_of
from llmd.errors import BadInput

SAMPLE = case_files.InfillingSample(
    "T/0/L0", "def f(a):\n", "    return b\n", "    b = a + total\n"
)
PLACE = case_files.case_from_sample(SAMPLE)


def lines_place(*lines: str) -> EvalCase:
    return EvalCase("T/1", "x\n", "\ny\n", "\n".join(lines))


def test_a_missing_line_is_an_empty_line_with_the_cursor_on_it() -> None:
    assert (PLACE.before, PLACE.truth, PLACE.after) == (
        "def f(a):\n",
        "    b = a + total",
        "\n    return b\n",
    )
    assert (PLACE.head, PLACE.tail, PLACE.next_line) == ("", "", "return b")


def test_a_span_inside_a_line_stays_as_it_is() -> None:
    place = case_files.case_from_sample(
        case_files.InfillingSample("T/2", "a = f(", ")\nb\n", "1, 2")
    )
    assert (place.head, place.truth, place.tail, place.next_line) == ("a = f(", "1, 2", ")", "b")


@pytest.mark.parametrize("how", ["word", "border"])
@pytest.mark.parametrize("number", range(20))
def test_a_cut_is_where_it_should_be_and_loses_nothing(
    how: case_files.CutKind, number: int
) -> None:
    place = case_files.case_from_sample(msgspec.structs.replace(SAMPLE, task_id=f"T/{number}"))
    (cut,) = case_files.cut_cases([place], how)
    assert cut.before + cut.truth + cut.after == place.before + place.truth + place.after
    assert len(cut.head) > 4
    assert cut.n_given == len(cut.head)
    is_inside = cut.head[-1].isalnum() and cut.truth[0].isalnum()
    assert is_inside == (how == "word")
    assert case_files.cut_cases([PLACE, place], how)[-1] == cut  # whatever else is in the set


def test_cuts_differ_between_places() -> None:
    places = [
        case_files.case_from_sample(msgspec.structs.replace(SAMPLE, task_id=f"T/{n}"))
        for n in range(20)
    ]
    assert len({place.head for place in case_files.cut_cases(places, "word")}) > 3


def test_a_line_without_a_word_has_no_cut_inside_one() -> None:
    assert case_files.cut_cases([lines_place("    ) + (")], "word") == []
    assert len(case_files.cut_cases([lines_place("    ) + (")], "border")) == 1


@pytest.mark.parametrize(
    ("n_chars", "head"),
    [(0, ""), (1, "    b"), (5, "    b = a"), (12, "    b = a + tota"), (13, None)],
)
def test_given_characters_count_from_the_indentation(n_chars: int, head: str | None) -> None:
    assert [place.head for place in case_files.with_given_chars([PLACE], n_chars)] == (
        [] if head is None else [head]
    )


def test_given_lines_end_at_the_next_lines_start() -> None:
    place = lines_place("    a", "", "    b", "    c")
    (begun,) = case_files.with_given_lines([place], 2)
    assert (begun.before, begun.truth, begun.n_given) == ("x\n    a\n\n", "    b\n    c", 7)
    assert end_of(begun.before[: -begun.n_given]) == end_of(place.before)
    assert case_files.with_given_lines([place], 4) == []


def test_a_hole_of_several_lines_is_cut_from_a_whole_body() -> None:
    body = "".join(f"    line{n}\n" for n in range(10))
    first, rest = body.split("\n", 1)
    one = EvalCase("T/3/L0", "def f():\n", "\n" + rest, first)
    (hole,) = case_files.multi_line_cases([one, EvalCase("T/3/L1", "", "", "")])
    assert hole.before + hole.truth + hole.after == one.before + one.truth + one.after
    assert case_files.MULTI_LINES[0] <= hole.truth.count("\n") + 1 <= case_files.MULTI_LINES[1]


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz"])
def test_any_file_of_these_keys_is_a_set(tmp_path: Path, name: str) -> None:
    data = msgspec.json.encode(SAMPLE) + b"\n\n"
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    assert case_files.read_set(str(tmp_path / name)) == [PLACE]


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("nosuch", None, "none of single-line"),
        ("a.jsonl", b'{"task_id": "T"}\n', "line 1"),
        ("a.jsonl", b"\n\xff\n", "line 2"),
        ("a.jsonl.gz", b"no gzip", "cannot be read"),
    ],
    ids=["no file", "keys missing", "no text", "no gzip"],
)
def test_a_set_that_is_none_is_told(
    tmp_path: Path, name: str, data: bytes | None, said: str
) -> None:
    if data is not None:
        (tmp_path / name).write_bytes(data)
    with pytest.raises(BadInput, match=said):
        case_files.read_set(str(tmp_path / name) if data is not None else name)


def test_a_named_set_is_found_in_the_users_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(case_files.FOLDER_VARIABLE, str(tmp_path))
    line = msgspec.json.encode(SAMPLE)
    (tmp_path / case_files.NAMED["random-span"]).write_bytes(gzip.compress(line))
    assert case_files.read_set("random-span") == [PLACE]


def test_a_digest_follows_what_the_model_and_the_score_see() -> None:
    same = case_files.case_from_sample(
        msgspec.structs.replace(SAMPLE, task_id="other", test="check")
    )
    assert same.digest == PLACE.digest
    (given,) = case_files.with_given_chars([PLACE], 1)
    other = case_files.case_from_sample(
        msgspec.structs.replace(SAMPLE, canonical_solution="    c = a\n")
    )
    assert len({PLACE.digest, given.digest, other.digest}) == 3
