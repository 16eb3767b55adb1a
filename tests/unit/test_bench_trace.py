"""What an edit of a trace is, and closers as editors insert them."""

from __future__ import annotations

import pytest

from llmd.cli.bench.backend import Place, place_at
from llmd.cli.bench.replay import in_turn, n_common
from llmd.cli.bench.trace import KINDS, Action, actions, applied, kind_of, script, with_closers
from llmd.cli.eval.trace_pauses import Edit, Patch


def edits(*patches: Patch) -> list[Edit]:
    return [Edit(patches=(patch,)) for patch in patches]


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
    assert kind_of(patches, cursor) == kind
    assert kind in KINDS


def test_actions_know_the_cursor_and_what_is_typed_next() -> None:
    found = list(actions(edits((0, 0, "a"), (1, 0, "()"), (2, 0, "b"), (9, 1, "")), 9))
    assert [action.caret for action in found] == [1, 2, 3, 9]
    assert [action.typed for action in found] == ["(b", "b", "", ""]
    assert [action.kind for action in found] == ["key", "key", "key", "jump"]
    assert found[3].start == 10


def test_a_script_begins_where_it_is_told() -> None:
    made = script(
        "a.py", "", edits((0, 0, "a"), (1, 0, "b"), (2, 0, "c"), (3, 0, "d")), 1, 2, False
    )
    assert (made.text, made.start, len(made.actions)) == ("a", 1, 2)
    assert made.actions[-1].typed == "d"  # what was not replayed was typed all the same


def test_files_take_turns() -> None:
    one = script("a", "", edits((0, 0, "a"), (1, 0, "b")), 0, None, False)
    other = script("b", "", edits((0, 0, "x")), 0, None, False)
    assert [(n, action.patches[0][2]) for n, action in in_turn([one, other])] == [
        (0, "a"), (1, "x"), (0, "b"),
    ]  # fmt: skip


def typed(text: str, cursor: int, keys: str) -> list[Edit]:
    """One edit for each character; `<` takes back the one before."""
    found = []
    for key in keys:
        found.append(Edit(patches=((cursor - 1, 1, "") if key == "<" else (cursor, 0, key),)))
        cursor += -1 if key == "<" else 1
    return found


def check(text: str, keys: str, shown: str, *more: Edit) -> None:
    """`$` is the cursor, in the text before and after."""
    before, after = text.split("$")
    now = before + after
    made = [*typed(now, len(before), keys), *more]
    caret = len(before)
    for action in with_closers(now, iter(list(actions(made, len(made))))):
        now, caret = applied(now, action.patches), action.caret
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
    check("ab$", "(c", "x$ab(c", Edit(patches=((0, 0, "x"),)))


def test_a_deletion_that_reaches_a_closer_takes_all() -> None:
    check("ab$", "(c", "a$", Edit(patches=((1, 3, ""),)))


def test_with_every_closer_typed_the_text_is_the_traces() -> None:
    keys = 'print("a", [1, (2)], {"k": 1})\nx'
    check("$", keys, keys + "$")


def test_places_count_characters() -> None:
    text = "a\n😀b\n"
    assert place_at(text, 3) == Place(1, 1)
    assert place_at(text, len(text)) == Place(2, 0)


@pytest.mark.parametrize(
    ("left", "right", "n"), [("abc", "abd", 2), ("", "a", 0), ("ab", "abc", 2), ("x", "y", 0)]
)
def test_the_common_beginning(left: str, right: str, n: int) -> None:
    assert n_common(left, right) == n


def test_an_action_without_patches_moves_the_cursor() -> None:
    found = list(with_closers("", iter(list(actions(typed("", 0, "()"), 9)))))
    assert found[1] == Action("key", (), start=1, caret=2, typed="")
