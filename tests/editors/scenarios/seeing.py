"""What is shown, and when it goes."""

from __future__ import annotations

from tests.editors.driver import wait
from tests.editors.scenarios.listed import scenario
from tests.editors.steps import (
    ACCEPT,
    DISMISS,
    NEXT,
    PREV,
    RETURN,
    TRIGGER,
    after_return,
    begun,
    has_line,
    has_lines,
    in_mode,
    showing,
    shown,
    shows,
    typed,
)
from tests.editors.world import World


@scenario("real")
def show(world: World) -> None:
    editor = begun(world)
    ghost = after_return(editor)
    assert "        return 2 * " + ghost.split("\n")[0] in editor.screen()
    assert editor.lines()[-1] == "        return 2 * "


@scenario("real")
def stream(world: World) -> None:
    """The first words show before the last are known."""
    editor = begun(world)
    with world.slow_worker() as goes_on:
        typed(editor, f"i{RETURN}", "        return 2 * ")
        wait(lambda: goes_on() and editor.ghost() != "", "the first words")
        first = editor.ghost()
    whole = shown(editor)
    assert whole.startswith(first)
    assert len(whole) > len(first)


@scenario("real")
def type_through(world: World) -> None:
    editor = begun(world)
    ghost = after_return(editor)
    for n_typed in range(1, min(len(ghost.split("\n")[0]), 6)):
        editor.keys(ghost[n_typed - 1].replace("<", "<lt>"))
        shows(editor, ghost[n_typed:])


@scenario("fixed")
def diverge(world: World) -> None:
    world.says("self.radius")
    editor = begun(world)
    editor.keys("i    return ")
    shows(editor, "self.radius")
    world.says("")
    typed(editor, "x", "    return x")
    shows(editor, "")


@scenario("fixed")
def many_lines_in_mid_line(world: World) -> None:
    """The first line stands before what is right of the cursor, the others below."""
    world.says("self.x,\n        self.y")
    editor = begun(world, "point(1)\nprint(2)\n")
    editor.keys("ggf1i")
    shows(editor, "self.x,\n        self.y")
    rows = editor.screen()[:3]
    assert rows == ["point(self.x,1)", "        self.y", "print(2)"]
    world.says("")
    editor.keys(ACCEPT)
    has_lines(editor, ["point(self.x,", "        self.y1)", "print(2)"])
    assert editor.cursor() == (1, len("        self.y"))


@scenario("fixed")
def cycle(world: World) -> None:
    world.says("first", "second", "third")
    editor = begun(world)
    editor.keys("i    x = ")
    shows(editor, "first")
    for key, text in ((NEXT, "second"), (NEXT, "third"), (PREV, "second"), (PREV, "first")):
        editor.keys(key)
        shows(editor, text)
    editor.keys(PREV)  # before the best there is none
    editor.keys(NEXT)
    shows(editor, "second")
    world.says("")
    editor.keys(ACCEPT)
    has_line(editor, "    x = second")


@scenario("fixed")
def dismiss(world: World) -> None:
    editor = showing(world, "self.radius")
    editor.keys(DISMISS)
    shows(editor, "")
    editor.keys(TRIGGER)
    shows(editor, "self.radius")


@scenario("fixed")
def leave_insert(world: World) -> None:
    editor = showing(world, "self.radius")
    editor.keys("<Esc>")
    shows(editor, "")
    assert editor.lines()[-1] == "    x = "


@scenario("fixed")
def popup_menu(world: World) -> None:
    """A menu has the keys; the ghost text comes back when it has gone."""
    world.says("self.radius")
    editor = begun(world)
    editor.command("set completeopt=menuone,noinsert")
    editor.keys("i    x = ")
    shows(editor, "self.radius")
    editor.keys("<C-N>")
    wait(lambda: editor.value("pumvisible()") == 1, "the menu")
    shows(editor, "")
    editor.keys("<C-E>")
    wait(lambda: editor.value("pumvisible()") == 0, "the menu's end")
    shows(editor, "self.radius")


@scenario("fixed")
def replace_mode(world: World) -> None:
    """No ghost text: what is accepted would have to overwrite."""
    world.says("self.radius")
    editor = begun(world, "abcdef\n")
    typed(editor, "ggRxy", "xycdef")
    editor.keys("<Esc>a")
    shows(editor, "self.radius")
    typed(editor, "<Esc>Rz", "xzcdef")
    world.has_answered()
    shows(editor, "")


@scenario("fixed")
def replace_mode_by_its_key(world: World) -> None:
    editor = showing(world, "self.radius")
    editor.keys("<Insert>")
    in_mode(editor, "R")
    shows(editor, "")
    editor.keys("<Insert>")
    in_mode(editor, "i")
    typed(editor, "y", "    x = y")
    shows(editor, "self.radius")


@scenario("fixed")
def a_changed_word(world: World) -> None:
    """It was selected, and yet what is typed goes into no other line."""
    world.says("self.x,\n        self.y")
    editor = begun(world, "point = 1\nprint(2)\n")
    editor.keys("gg$viwc")
    in_mode(editor, "i")
    editor.keys("f(")
    shows(editor, "self.x,\n        self.y")


@scenario("fixed")
def closers(world: World) -> None:
    """A bracket that the editor closes by itself is what the suggestion ends in."""
    world.says("(1, 2)")
    editor = begun(world, "")
    editor.command("inoremap ( ()<Left>")
    editor.keys("if")
    shows(editor, "(1, 2)")
    world.says("")
    n_asked = world.n_asked()
    editor.keys("(")
    has_line(editor, "f()")
    shows(editor, "1, 2")
    assert world.n_asked() == n_asked
    editor.keys(ACCEPT)
    has_line(editor, "f(1, 2)")
