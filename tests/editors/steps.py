"""What a test does in an editor with our plugin, and waits to see, whichever editor it is."""

from __future__ import annotations

from tests.editors.driver import Editor, wait
from tests.editors.world import World

CODE = """import math


class Circle:
    def __init__(self, radius):
        self.radius = radius

    def area(self):
        return math.pi * self.radius ** 2

"""
RETURN = "    def perimeter(self):<CR>        return 2 * "
ACCEPT, LINE, WORD = "<Tab>", "<M-C-Right>", "<M-Right>"
NEXT, PREV, DISMISS, TRIGGER = "<M-]>", "<M-[>", "<C-]>", "<M-\\>"


def begun(world: World, text: str = CODE) -> Editor:
    """An editor in normal mode on the last line, which is empty."""
    editor = world.editor(world.file(text))
    editor.keys("G")
    return editor


def showing(world: World, text: str) -> Editor:
    """After `    x = `, with that ghost text, which shows after less of it too."""
    world.says(text)
    editor = begun(world)
    typed(editor, "i    x = ", "    x = ")
    shows(editor, text)
    return editor


def shows(editor: Editor, text: str) -> None:
    wait(lambda: editor.ghost() == text, f"the ghost text {text!r}, not {editor.ghost()!r}")


def shown(editor: Editor) -> str:
    """Any ghost text that has come to its end; real models say what they like. Nothing is asked
    between a text that was typed through and the question after it: what shows must stay."""
    seen = ""

    def is_whole() -> bool:
        nonlocal seen
        seen = editor.ghost()
        return seen != "" and is_at_rest(editor) and editor.ghost() == seen

    wait(is_whole, "ghost text that has come to its end")
    return seen


def after_return(editor: Editor) -> str:
    """What shows behind a `return`: of what shows before all is typed, nothing is said."""
    typed(editor, f"i{RETURN}", "        return 2 * ")
    return shown(editor)


def is_at_rest(editor: Editor) -> bool:
    return status(editor) == "ready"


# In both editors; Neovim's Lua function has the same words.
STATUSLINE = "has('nvim') ? luaeval('require(\"llmd\").statusline()') : llmd#statusline()"


def status(editor: Editor) -> str:
    return str(editor.value(STATUSLINE))


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


def is_off(editor: Editor) -> None:
    wait(lambda: status(editor).startswith("off"), "a status that says so")


def says(editor: Editor, text: str) -> None:
    """As a message or in a window."""
    wait(
        lambda: text in editor.command("messages") + "\n".join(editor.lines()),
        f"{text!r}, not {editor.command('messages')!r}",
    )
