"""What a person does, in any editor with our plugin: one list, run in all of them.

A scenario gets a world and opens its editors there. Those marked `real` ask the real model, and
read what it says from the screen; the others are told what the engine says.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from tests.editors.driver import Editor, wait
from tests.editors.world import World

Model = Literal["real", "fixed"]


@dataclass(frozen=True)
class Scenario:
    name: str
    model: Model
    run: Callable[[World], None]


SCENARIOS: list[Scenario] = []

CODE = """import math


class Circle:
    def __init__(self, radius):
        self.radius = radius

    def area(self):
        return math.pi * self.radius ** 2

"""
ACCEPT, LINE, WORD = "<Tab>", "<M-C-Right>", "<M-Right>"
NEXT, PREV, DISMISS, TRIGGER = "<M-]>", "<M-[>", "<C-]>", "<M-\\>"


def scenario(model: Model) -> Callable[[Callable[[World], None]], Callable[[World], None]]:
    def add(run: Callable[[World], None]) -> Callable[[World], None]:
        SCENARIOS.append(Scenario(run.__name__, model, run))
        return run

    return add


# -- what scenarios share


def begun(world: World, text: str = CODE) -> Editor:
    """An editor in normal mode on the last line, which is empty."""
    editor = world.editor(world.file(text))
    editor.keys("G")
    return editor


def shows(editor: Editor, text: str) -> None:
    wait(lambda: editor.ghost() == text, f"the ghost text {text!r}, not {editor.ghost()!r}")


def shown(editor: Editor) -> str:
    """Any ghost text that has come to its end; real models say what they like."""
    wait(lambda: editor.ghost() != "", "ghost text")
    wait(lambda: is_at_rest(editor), "the end of the ghost text")
    return editor.ghost()


def is_at_rest(editor: Editor) -> bool:
    return str(editor.value(STATUSLINE)) == "ready"


# In both editors; Neovim's Lua function has the same words.
STATUSLINE = "has('nvim') ? luaeval('require(\"llmd\").statusline()') : llmd#statusline()"


def typed(editor: Editor, keys: str, line: str) -> None:
    """Typed, and arrived in the current line."""
    editor.keys(keys)
    has_line(editor, line)


def has_line(editor: Editor, line: str) -> None:
    wait(lambda: editor.value("getline('.')") == line, f"the line {line!r} in {editor.lines()}")


def has_lines(editor: Editor, lines: list[str]) -> None:
    wait(lambda: editor.lines() == lines, f"the lines {lines}, not {editor.lines()}")


def in_mode(editor: Editor, mode: str) -> None:
    wait(lambda: editor.mode() == mode, f"mode {mode}")


# -- on the real model


@scenario("real")
def show(world: World) -> None:
    editor = begun(world)
    editor.keys("i    def perimeter(self):<CR>        return 2 * ")
    ghost = shown(editor)
    assert "        return 2 * " + ghost.split("\n")[0] in editor.screen()
    assert editor.lines()[-1] == "        return 2 * "


@scenario("real")
def type_through(world: World) -> None:
    editor = begun(world)
    editor.keys("i    def perimeter(self):<CR>        return 2 * ")
    ghost = shown(editor)
    for n_typed in range(1, min(len(ghost.split("\n")[0]), 6)):
        editor.keys(ghost[n_typed - 1].replace("<", "<lt>"))
        shows(editor, ghost[n_typed:])


@scenario("real")
def accept_all(world: World) -> None:
    editor = begun(world)
    editor.keys("i    def perimeter(self):<CR>        return 2 * ")
    ghost = shown(editor)
    editor.keys(ACCEPT)
    wait(lambda: "\n".join(editor.lines()).endswith("return 2 * " + ghost), "the text")
    assert editor.cursor()[1] == len(editor.lines()[-1].encode())


@scenario("real")
def restart_while_typing(world: World) -> None:
    """The daemon dies; another is started, and knows what was typed meanwhile."""
    editor = begun(world)
    typed(editor, "i    def perimeter(self):<CR>", "")
    world.kill_daemon()
    typed(editor, "        return 2 *", "        return 2 *")
    wait(world.daemon_is_up, "another daemon", timeout_s=90)
    editor.keys(" ")
    shown(editor)
    assert editor.lines()[-1] == "        return 2 * "


# -- with an engine that says what it is told


@scenario("fixed")
def stream(world: World) -> None:
    """The first words show before the last are known."""
    world.says("self.radius * math.pi", hold=len("self.radius"))
    editor = begun(world)
    editor.keys("i    return 2 * ")
    shows(editor, "self.radius")
    world.says("self.radius * math.pi")
    shows(editor, "self.radius * math.pi")


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
def accept_line(world: World) -> None:
    world.says("self.radius\n    print(1)")
    editor = begun(world)
    editor.keys("i    x = ")
    shows(editor, "self.radius\n    print(1)")
    world.says("")
    editor.keys(LINE)
    has_line(editor, "    x = self.radius")
    shows(editor, "\n    print(1)")
    editor.keys(LINE)
    has_line(editor, "    print(1)")
    assert editor.lines()[-2:] == ["    x = self.radius", "    print(1)"]


@scenario("fixed")
def accept_word(world: World) -> None:
    world.says("self.radius + 1")
    editor = begun(world)
    editor.keys("i    x = ")
    shows(editor, "self.radius + 1")
    for line, rest in (("self", ".radius + 1"), ("self.", "radius + 1"), ("self.radius", " + 1")):
        editor.keys(WORD)
        has_line(editor, "    x = " + line)
        shows(editor, rest)


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
def undo(world: World) -> None:
    """One `u` takes back one acceptance, and not what was typed before it or after."""
    world.says("self.radius")
    editor = begun(world)
    editor.keys("i    x = ")
    shows(editor, "self.radius")
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
    world.says("1\n    y = 2\n    z = 3")
    editor = begun(world)
    editor.keys("i    x = ")
    shows(editor, "1\n    y = 2\n    z = 3")
    world.says("")
    editor.keys(ACCEPT)
    has_line(editor, "    z = 3")
    editor.keys("<Esc>u")
    has_lines(editor, [*CODE.split("\n")[:-2], "    x = "])


@scenario("fixed")
def dot(world: World) -> None:
    """The whole insertion is repeated, what was typed and what was accepted."""
    world.says("self.radius")
    editor = begun(world)
    editor.keys("i    x = ")
    shows(editor, "self.radius")
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
def dismiss(world: World) -> None:
    world.says("self.radius")
    editor = begun(world)
    editor.keys("i    x = ")
    shows(editor, "self.radius")
    editor.keys(DISMISS)
    shows(editor, "")
    editor.keys(TRIGGER)
    shows(editor, "self.radius")


@scenario("fixed")
def leave_insert(world: World) -> None:
    world.says("self.radius")
    editor = begun(world)
    editor.keys("i    x = ")
    shows(editor, "self.radius")
    editor.keys("<Esc>")
    shows(editor, "")
    assert editor.lines()[-1] == "    x = "


@scenario("fixed")
def tab_falls_through(world: World) -> None:
    world.says("")
    editor = begun(world)
    editor.command("set noexpandtab softtabstop=0")
    typed(editor, "ix<Tab>y", "x\ty")


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
    editor.keys("i    x = ra")
    shows(editor, "dius")
    world.says("")
    editor.keys(ACCEPT)
    has_line(editor, "    x = radius")
    typed(editor, " ra ", "    x = radius raven ")


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
def block_insert(world: World) -> None:
    """What fits a line is repeated in the block's other lines."""
    world.says("self.x\nmore")
    editor = begun(world, "a\nb\nc\n")
    editor.keys("gg<C-V>jjIy = ")
    shows(editor, "self.x")
    world.says("")
    editor.keys(ACCEPT)
    has_line(editor, "y = self.xa")
    editor.keys("<Esc>")
    has_lines(editor, ["y = self.xa", "y = self.xb", "y = self.xc"])


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


@scenario("fixed")
def where_none_is_given(world: World) -> None:
    """Asked for by hand: nothing else would show that it never comes."""
    world.says("self.radius")
    editor = begun(world)
    for command in ("setlocal nomodifiable", "setlocal readonly", "setlocal buftype=nofile"):
        editor.command(command)
        is_off(editor)
        editor.command("setlocal modifiable noreadonly buftype=")
    for command in ("let b:llmd_enabled = 0", "let g:llmd_enabled = 0"):
        editor.command(command)
        is_off(editor)
        editor.command("unlet! b:llmd_enabled g:llmd_enabled")
    editor.command("let g:llmd_filetypes = {'python': 0}")
    is_off(editor)
    editor.command("unlet g:llmd_filetypes")
    assert not str(editor.value(STATUSLINE)).startswith("off")


def is_off(editor: Editor) -> None:
    wait(lambda: str(editor.value(STATUSLINE)).startswith("off"), "a status that says so")


@scenario("fixed")
def two_windows(world: World) -> None:
    world.says("self.radius")
    editor = begun(world)
    editor.command("split")
    editor.keys("i    x = ")
    shows(editor, "self.radius")
    world.says("")
    editor.keys(ACCEPT)
    has_line(editor, "    x = self.radius")
    world.says("self.area()")
    editor.keys("<Esc><C-W>jGo    y = ")
    has_line(editor, "    y = ")
    shows(editor, "self.area()")


@scenario("fixed")
def two_editors(world: World) -> None:
    own_texts(world, 2)


def own_texts(world: World, n_editors: int) -> None:
    """Several on one file: each has its own text."""
    path = world.file(CODE)
    world.says("self.radius")
    editors = {name: world.editor(path) for name in "xyz"[:n_editors]}
    for name, editor in editors.items():
        editor.keys(f"Gi    {name} = ")
        shows(editor, "self.radius")
    world.says("")
    for name, editor in editors.items():
        editor.keys(ACCEPT)
        has_line(editor, f"    {name} = self.radius")


@scenario("fixed")
def reload(world: World) -> None:
    """`:e!` on a file that another program has changed: the daemon has the new text."""
    world.says("self.radius")
    path = world.file(CODE)
    editor = world.editor(path)
    typed(editor, "Gixyz<Esc>", "xyz")
    path.write_text("one = 1\n")
    editor.command("edit!")
    editor.keys("Goy = ")
    shows(editor, "self.radius")
    wait(lambda: world.window(path) == (1, 3), f"the window, not {world.window(path)}")


@scenario("fixed")
def rename(world: World) -> None:
    world.says("self.radius")
    editor = begun(world)
    new = world.file("", "lua")
    editor.command(f"saveas! {new}")
    editor.keys("Gix = ")
    shows(editor, "self.radius")
    assert world.why(new)


@scenario("fixed")
def worker_killed_while_typing(world: World) -> None:
    world.says("self.radius", hold=4)
    editor = begun(world)
    editor.keys("i    x = ")
    shows(editor, "self")
    world.kill_worker()
    world.says("self.radius")
    typed(editor, "y + ", "    x = y + ")
    shows(editor, "self.radius")


KEYS = "abcdefghi " * 20


@scenario("fixed")
def stopped_while_typing(world: World) -> None:
    """200 keys into an editor whose daemon stands still; then it goes on, and knows them."""
    world.says("self.radius")
    editor = begun(world)
    editor.keys("i    x = ")
    shows(editor, "self.radius")
    with world.stopped():
        for key in KEYS:
            editor.keys(key)
        has_line(editor, "    x = " + KEYS)
        shows(editor, "")
    editor.keys("y ")
    has_line(editor, "    x = " + KEYS + "y ")
    wait(lambda: again(editor, "self.radius"), "the ghost text")


def again(editor: Editor, text: str) -> bool:
    """A daemon that has just come back is asked again with the next key."""
    if editor.ghost() != text:
        editor.keys("z<BS>")
    return editor.ghost() == text
