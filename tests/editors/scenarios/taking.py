"""What the keys take, and what undo, repeat and macros make of it."""

from __future__ import annotations

from tests.editors.driver import wait
from tests.editors.scenarios.listed import scenario
from tests.editors.steps import (
    ACCEPT,
    CODE,
    LINE,
    NEXT,
    PREV,
    WORD,
    after_return,
    begun,
    has_line,
    has_lines,
    in_mode,
    showing,
    shows,
    typed,
)
from tests.editors.world import World


@scenario("real")
def accept_all(world: World) -> None:
    editor = begun(world)
    ghost = after_return(editor)
    editor.keys(ACCEPT)
    wait(lambda: "\n".join(editor.lines()).endswith("return 2 * " + ghost), "the text")
    assert editor.cursor()[1] == len(editor.lines()[-1].encode())


@scenario("fixed")
def accept_line(world: World) -> None:
    editor = showing(world, "self.radius\n    print(1)")
    world.says("")
    editor.keys(LINE)
    has_line(editor, "    x = self.radius")
    shows(editor, "\n    print(1)")
    editor.keys(LINE)
    has_line(editor, "    print(1)")
    assert editor.lines()[-2:] == ["    x = self.radius", "    print(1)"]


@scenario("fixed")
def accept_word(world: World) -> None:
    editor = showing(world, "self.radius + 1")
    for line, rest in (("self", ".radius + 1"), ("self.", "radius + 1"), ("self.radius", " + 1")):
        editor.keys(WORD)
        has_line(editor, "    x = " + line)
        shows(editor, rest)


@scenario("fixed")
def undo(world: World) -> None:
    """One `u` takes back one acceptance, and not what was typed before it or after."""
    editor = showing(world, "self.radius")
    world.says("")
    editor.keys(ACCEPT)
    has_line(editor, "    x = self.radius")
    editor.keys(" + 1<Esc>")
    for line in ("    x = self.radius", "    x = ", ""):
        editor.keys("u")
        has_line(editor, line)
    editor.keys("2<C-R>")
    has_line(editor, "    x = self.radius")


@scenario("fixed")
def undo_of_many_lines(world: World) -> None:
    editor = showing(world, "1\n    y = 2\n    z = 3")
    world.says("")
    editor.keys(ACCEPT)
    has_line(editor, "    z = 3")
    editor.keys("<Esc>u")
    has_lines(editor, [*CODE.split("\n")[:-2], "    x = "])


@scenario("fixed")
def dot(world: World) -> None:
    """The whole insertion is repeated, what was typed and what was accepted."""
    editor = showing(world, "self.radius")
    world.says("")
    editor.keys(ACCEPT)
    has_line(editor, "    x = self.radius")
    editor.keys(" + 1<Esc>gg0.")
    has_line(editor, "    x = self.radius + 1import math")


@scenario("fixed")
def dot_of_many_lines(world: World) -> None:
    world.says("1\n    y = 2")
    editor = begun(world)
    editor.command("set autoindent")
    editor.keys("i    x = ")
    shows(editor, "1\n    y = 2")
    world.says("")
    editor.keys(ACCEPT)
    has_line(editor, "    y = 2")
    editor.keys("<Esc>gg0.")
    wait(lambda: editor.lines()[:2] == ["    x = 1", "    y = 2import math"], "the repetition")


@scenario("fixed")
def block_insert(world: World) -> None:
    """What fits a line is repeated in the block's other lines."""
    world.says("self.x\nmore")
    editor = begun(world, "a\nb\nc\n")
    typed(editor, "gg<C-V>jjIy = ", "y = a")
    shows(editor, "self.x")
    world.says("")
    editor.keys(ACCEPT)
    has_line(editor, "y = self.xa")
    editor.keys("<Esc>")
    has_lines(editor, ["y = self.xa", "y = self.xb", "y = self.xc"])


@scenario("fixed")
def tab_falls_through(world: World) -> None:
    world.says("")
    editor = begun(world)
    editor.command("set noexpandtab softtabstop=0")
    typed(editor, "ix<Tab>y", "x\ty")


@scenario("fixed")
def keys_where_nothing_shows(world: World) -> None:
    """Each does what it did before; `<M-]>` and `<M-[>` type no sign."""
    world.says("")
    editor = begun(world)
    typed(editor, f"ix{NEXT}{PREV}{LINE}y", "xy")


@scenario("fixed")
def macro(world: World) -> None:
    """A macro's keys do when it is played what they did when it was recorded."""
    world.says("self.radius")
    editor = begun(world, "a = 1\nb = 2\n")
    editor.command("set expandtab shiftwidth=4 softtabstop=4")
    typed(editor, "ggqqAx", "a = 1x")
    world.has_answered()
    editor.keys("<Tab><Esc>q")
    in_mode(editor, "n")
    world.says("")
    editor.keys("j@q")
    wait(lambda: editor.lines()[1] != "b = 2" and editor.mode() == "n", "the macro's change")
    first, second = editor.lines()[:2]
    assert first.removeprefix("a = 1") == second.removeprefix("b = 2")


@scenario("fixed")
def abbreviation(world: World) -> None:
    """One is expanded by the key that ends it, and not by accepting."""
    world.says("dius")
    editor = begun(world)
    editor.command("iabbrev ra raven")
    typed(editor, "i    x = ra", "    x = ra")
    shows(editor, "dius")
    world.says("")
    editor.keys(ACCEPT)
    has_line(editor, "    x = radius")
    typed(editor, " ra ", "    x = radius raven ")
