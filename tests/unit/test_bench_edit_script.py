"""What an edit of a trace is, and closers as editors insert them."""

from __future__ import annotations

import pytest

from llmd.cli.bench.backend import LspPosition, position_at
from llmd.cli.bench.edit_script import (
    KINDS,
    EditAction,
    build_script,
    edit_actions,
    edit_kind,
    insert_closers,
)
from llmd.cli.bench.replay import interleave
from llmd.cli.eval.trace_pauses import Patch, TraceEdit, apply_patches


def edits(*patches: Patch) -> list[TraceEdit]:
    return [TraceEdit(patches=(patch,)) for patch in patches]


@pytest.mark.parametrize(
    ("patches", "cursor", "kind"),
    [
        (((4, 0, "x"),), 4, "key"),
        (((4, 0, "x"),), None, "key"),
        (((4, 0, "()"),), 4, "key"),
        (((4, 1, "x"),), 4, "key"),
        (((5, 0, "x"),), 4, "key"),
        (((6, 0, "x"),), 4, "jump"),
        (((2, 0, "\n"),), 4, "jump"),
        (((4, 0, "\n"),), 4, "newline"),
        (((4, 0, "\n    "),), 4, "newline"),
        (((4, 0, "\n    x"),), 4, "paste"),
        (((4, 0, "word"),), 4, "paste"),
        (((3, 1, ""),), 4, "delete"),
        (((4, 1, ""),), 4, "delete"),
        (((9, 1, ""), (3, 1, "")), 4, "delete"),
        (((9, 0, "x"), (4, 0, "x")), 4, "key"),
        (((19, 0, "x"), (9, 0, "x")), 4, "jump"),
        (((4, 2, ""), (19, 0, "\n")), 4, "jump"),  # what was indented for nothing goes
        (((6, 0, "\n"), (4, 2, "")), 6, "newline"),
    ],
)
def test_the_kind_of_an_edit(patches: tuple[Patch, ...], cursor: int | None, kind: str) -> None:
    assert edit_kind(patches, cursor) == kind
    assert kind in KINDS


def test_actions_know_the_cursor_and_what_is_typed_next() -> None:
    found = list(edit_actions(edits((0, 0, "a"), (1, 0, "()"), (2, 0, "b"), (9, 1, "")), 9))
    assert [action.caret for action in found] == [1, 2, 3, 9]
    assert [action.typed for action in found] == ["(b", "b", "", ""]
    assert [action.kind for action in found] == ["key", "key", "key", "jump"]
    assert found[3].start == 10


def test_a_script_begins_where_it_is_told() -> None:
    made = build_script(
        "a.py", "", edits((0, 0, "a"), (1, 0, "b"), (2, 0, "c"), (3, 0, "d")), 1, 2, False
    )
    assert (made.text, made.actions[0].start, len(made.actions)) == ("a", 1, 2)
    assert made.actions[-1].typed == "d"  # what was not replayed was typed all the same


def test_files_take_turns() -> None:
    one = build_script("a", "", edits((0, 0, "a"), (1, 0, "b")), 0, 9, False)
    other = build_script("b", "", edits((0, 0, "x")), 0, 9, False)
    assert [(n, action.patches[0][2]) for n, action in interleave([one, other])] == [
        (0, "a"), (1, "x"), (0, "b"),
    ]  # fmt: skip


def typed(text: str, cursor: int, keys: str) -> list[TraceEdit]:
    """One edit for each character; `<` takes back the one before."""
    found = []
    for key in keys:
        found.append(TraceEdit(patches=((cursor - 1, 1, "") if key == "<" else (cursor, 0, key),)))
        cursor += -1 if key == "<" else 1
    return found


def check(text: str, keys: str, shown: str, *more: TraceEdit) -> None:
    """`$` is the cursor, in the text before and after."""
    before, after = text.split("$")
    now = before + after
    made = [*typed(now, len(before), keys), *more]
    caret = len(before)
    for action in insert_closers(now, iter(list(edit_actions(made, len(made))))):
        now, caret = apply_patches(now, action.patches), action.caret
    assert now[:caret] + "$" + now[caret:] == shown


@pytest.mark.parametrize(
    ("text", "keys", "shown"),
    [
        ("f$", "(", "f($)"),
        ("f$", "(a", "f(a$)"),
        ("f$", "(a)", "f(a)$"),
        ("f$", "([1])", "f([1])$"),
        ("f$", "([", "f([$])"),
        ("f$", "(]", "f(]$)"),
        ("f$", "(<", "f$"),
        ("f$", "([<", "f($)"),
        ("f$", "(a<", "f($)"),
        ("x = $", '"a"', 'x = "a"$'),
        ("$", '""', '""$'),
        ("don$", "'", "don'$"),
        ("$word", "(", "($word"),
        ("f$\nx", "(a)\n", "f(a)\n$\nx"),
    ],
)
def test_closers_come_and_are_typed_over(text: str, keys: str, shown: str) -> None:
    check(text, keys, shown)


def test_closers_that_the_cursor_left_go() -> None:
    check("ab$", "(c", "x$ab(c", TraceEdit(patches=((0, 0, "x"),)))


def test_a_deletion_that_reaches_a_closer_takes_all() -> None:
    check("ab$", "(c", "a$", TraceEdit(patches=((1, 3, ""),)))


def test_with_every_closer_typed_the_text_is_the_traces() -> None:
    keys = 'print("a", [1, (2)], {"k": 1})\nx'
    check("$", keys, keys + "$")


def test_places_count_characters() -> None:
    text = "a\n😀b\n"
    assert position_at(text, 3) == LspPosition(1, 1)
    assert position_at(text, len(text)) == LspPosition(2, 0)


def test_an_action_without_patches_moves_the_cursor() -> None:
    found = list(insert_closers("", iter(list(edit_actions(typed("", 0, "()"), 9)))))
    assert found[1] == EditAction("key", (), start=1, caret=2, typed="")
