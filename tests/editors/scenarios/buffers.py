"""Which buffers are completed in: several on one file, reloaded, renamed, too large, none."""

from __future__ import annotations

from tests.editors.driver import wait
from tests.editors.scenarios.listed import scenario
from tests.editors.steps import (
    ACCEPT,
    CODE,
    begun,
    has_line,
    is_off,
    says,
    shows,
    status,
    typed,
)
from tests.editors.world import World


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
    assert not status(editor).startswith("off")


@scenario("fixed")
def buffers_that_are_no_files(world: World) -> None:
    """Nothing is asked there, and `<Tab>` is theirs."""
    world.says("self.radius")
    editor = begun(world)
    n_asked = world.n_asked()
    editor.command("new | setlocal buftype=prompt noexpandtab")
    typed(editor, "ix<Tab>y", "% x\ty")
    is_off(editor)
    editor.keys("<Esc>q:")
    wait(lambda: editor.value("getcmdwintype()") == ":", "the command-line window")
    typed(editor, "isetloc<Tab>", "setlocal")
    is_off(editor)
    editor.keys("<Esc>:quit<CR>")
    wait(lambda: editor.value("getcmdwintype()") == "", "its end")
    editor.command("execute 'terminal' has('nvim') ? '' : '++curwin'")
    editor.keys("iecho <Tab>")
    is_off(editor)
    world.has_answered()
    assert world.n_asked() == n_asked + 1


@scenario("fixed")
def too_large(world: World) -> None:
    """The plugin says so before it is sent, and the daemon by its own limit."""
    editor, path = begun(world), world.file("x = 1  # and so on\n" * 250_000)
    editor.open(path)
    assert status(editor) == "off: size"
    editor.command("let g:llmd_max_file_bytes = 10000000")
    editor.keys("oy = ")
    wait(lambda: bool(world.why(path)), "the question")
    assert world.why(path)["gate"] == "size"
    editor.command("let g:llmd_max_file_bytes = 1000000 | Llmd why")
    says(editor, "here: off: size")
    says(editor, "refused: size")


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
        typed(editor, f"Gi    {name} = ", f"    {name} = ")
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
