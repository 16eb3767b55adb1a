"""What is Neovim's own: maps that were there before, snippets, other plugins' menus, commands,
health, messages, and an end that does not wait."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.editors.driver import wait
from tests.editors.neovim import BINARY, NeovimEditor
from tests.editors.steps import ACCEPT, CODE, DISMISS, has_line, in_mode, shows, typed
from tests.editors.world import FixedDaemon, World
from tests.support.daemon import RunningDaemon, wait_until

Open = Callable[..., NeovimEditor]


@pytest.fixture(scope="module")
def fixed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDaemon]:
    with FixedDaemon(tmp_path_factory.mktemp("fixed")) as running:
        yield running


@pytest.fixture
def world(fixed: RunningDaemon, tmp_path: Path) -> Iterator[World]:
    found = World(fixed, tmp_path, lambda names, path: NeovimEditor(names, path, BINARY))
    yield found
    found.close()


@pytest.fixture
def open_with(world: World) -> Iterator[Open]:
    """An editor with the given `setup` and more, on the last line of a new file."""
    opened: list[NeovimEditor] = []

    def open_(setup: str = "", **more: Any) -> NeovimEditor:
        editor = NeovimEditor(world.environment, None, BINARY, setup=setup, **more)
        opened.append(editor)
        editor.open(world.file(CODE))
        editor.keys("G")
        return editor

    yield open_
    said = ""
    for editor in opened:
        with suppress(OSError, EOFError):  # a test may have ended it
            said += editor.command("messages")
        editor.close()
    assert "error in the plugin" not in said


def connected(editor: NeovimEditor) -> NeovimEditor:
    up = "return require('llmd.channel').engine.state == 'ready'"
    wait(lambda: bool(editor.lua(up)), "the connection")
    return editor


OLD_MAPS = {
    "an expression": "vim.keymap.set('i', '<Tab>', function() return 'old' end, { expr = true })",
    "keys": "vim.keymap.set('i', '<Tab>', 'old')",
    "a function": "vim.keymap.set('i', '<Tab>', function() vim.api.nvim_put({ 'old' }, 'c', true,"
    " true) end)",
    "keys that are mapped": "vim.cmd('imap <Tab> <F5>'); vim.keymap.set('i', '<F5>', 'old')",
}


@pytest.mark.parametrize("old", OLD_MAPS.values(), ids=OLD_MAPS)
def test_a_map_that_was_there_has_the_key_when_nothing_shows(
    world: World, open_with: Open, old: str
) -> None:
    world.says("")
    editor = connected(open_with(old))
    typed(editor, "ix<Tab>", "xold")
    world.says("self.radius")
    editor.keys(" = ")
    shows(editor, "self.radius")
    editor.keys(ACCEPT)
    has_line(editor, "xold = self.radius")


def test_a_map_of_the_first_buffers_own_hides_no_older_one(world: World) -> None:
    world.says("")
    own = "vim.cmd('autocmd BufRead * ++once inoremap <buffer> <Tab> own')"
    setup = f"vim.keymap.set('i', '<Tab>', 'old'); {own}"
    with closing(NeovimEditor(world.environment, world.file(""), BINARY, setup=setup)) as editor:
        connected(editor)
        editor.open(world.file(""))
        typed(editor, "ix<Tab>", "xold")


@pytest.mark.parametrize("key", ["<M-Right>", "<M-C-Right>", "<M-]>", "<M-[>", "<C-]>"])
def test_every_key_goes_back_to_the_map_that_was_there(
    world: World, open_with: Open, key: str
) -> None:
    world.says("")
    editor = connected(open_with(f"vim.keymap.set('i', '{key}', 'old')"))
    typed(editor, f"ix{key}y", "xoldy")


def test_a_key_of_the_users_own_takes_the_default_ones_place(world: World, open_with: Open) -> None:
    world.says("self.radius")
    editor = connected(open_with("vim.keymap.set('i', '<C-J>', '<Plug>(llmd-accept)')"))
    editor.keys("ix = ")
    shows(editor, "self.radius")
    editor.keys("<C-J>")
    has_line(editor, "x = self.radius")
    assert "llmd" not in editor.command("imap <Tab>")


def test_without_maps_every_key_is_the_editors(open_with: Open) -> None:
    editor = connected(open_with("vim.g.llmd_maps = 0"))
    assert "llmd" not in editor.command("imap <Tab>") + editor.command("imap <C-]>")


def test_a_snippet_has_the_key_when_nothing_shows(world: World, open_with: Open) -> None:
    world.says("")
    editor = connected(open_with())
    editor.keys("i")
    in_mode(editor, "i")
    editor.lua("vim.snippet.expand('f(${1:a}, ${2:b})')")
    in_mode(editor, "s")
    typed(editor, "x", "f(x, b)")
    in_mode(editor, "i")
    editor.keys(ACCEPT)
    in_mode(editor, "s")
    typed(editor, "y", "f(x, y)")


def test_ghost_text_comes_before_a_snippets_next_place(world: World, open_with: Open) -> None:
    world.says("12")
    editor = connected(open_with())
    editor.keys("i")
    in_mode(editor, "i")
    editor.lua("vim.snippet.expand('f(${1:a}, ${2:b})')")
    in_mode(editor, "s")
    editor.keys("x")
    shows(editor, "12")
    world.says("")
    editor.keys(ACCEPT)
    has_line(editor, "f(x12, b)")
    editor.keys(ACCEPT)
    in_mode(editor, "s")
    typed(editor, "y", "f(x12, y)")


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("let g:llmd_filetypes = #{{python: 0}}", "filetype"),
        ("let g:llmd_max_file_bytes = 10", "size"),
        ("let g:llmd_disabled_folders = ['{folder}']", "folder"),
        ("let g:llmd_disabled_folders = ['{folder}/link']", "folder"),
        ("let g:llmd_enabled = 0", "g:llmd_enabled"),
        ("set readonly", "read-only"),
        ("terminal", "not a file"),
        ("help", "filetype"),
    ],
)
def test_why_it_is_off(open_with: Open, tmp_path: Path, command: str, reason: str) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    editor = connected(open_with())
    editor.command(command.format(folder=tmp_path))
    assert editor.lua("return require('llmd').statusline()") == f"off: {reason}"


def test_a_neovim_that_is_too_old_is_told(open_with: Open) -> None:
    editor = open_with("vim.fn.has = function() return 0 end")
    assert "llmd: Neovim 0.11 or newer is needed" in editor.command("messages")
    assert editor.value("exists(':Llmd')") == 0


def test_a_file_in_another_encoding_stays_itself(world: World, open_with: Open) -> None:
    """Bytes that are no UTF-8 are one character each to the daemon, and columns agree."""
    world.says("self.radius")
    editor = connected(open_with())
    latin = world.file("")
    latin.write_bytes(b"name = '\xe4\xf6\xfc' + \n")
    editor.command(f"edit ++enc=utf-8 ++bad=keep {latin}")
    editor.command("set noreadonly")  # which it is for those bytes
    editor.keys("A")
    shows(editor, "self.radius")
    editor.keys(ACCEPT)
    editor.command("write")
    assert latin.read_bytes() == b"name = '\xe4\xf6\xfc' + self.radius\n"


def test_a_longer_answer_that_comes_late_still_serves(world: World, open_with: Open) -> None:
    """The answer is for the text before; what was typed since is what it says."""
    world.says("self.radius", hold=0)
    editor = connected(open_with())
    typed(editor, "ix = se", "x = se")
    world.says("self.radius")
    editor.keys("lf")
    has_line(editor, "x = self")


def test_no_more_is_sent_to_a_daemon_that_stands_still(world: World, open_with: Open) -> None:
    world.says("")
    editor = connected(open_with())
    editor.lua("vim.g.n_sent = 0; local notify = vim.rpcnotify; vim.rpcnotify = function(...)"
               " vim.g.n_sent = vim.g.n_sent + 1; return notify(...) end")  # fmt: skip
    silent = "return require('llmd.channel').engine.state == 'silent'"
    editor.keys("i")
    with world.stopped():
        wait(lambda: bool(editor.keys("x") or editor.lua(silent)), "the end of its patience")
        n_sent = editor.lua("return vim.g.n_sent")
        editor.keys("y" * 300 + "<CR>")
        has_line(editor, "")
        assert editor.lua("return vim.g.n_sent") == n_sent
    wait(lambda: bool(editor.keys("z") or not editor.lua(silent)), "the daemon's word")


def test_it_ends_at_once_although_the_daemon_stands_still(world: World, open_with: Open) -> None:
    editor = connected(open_with())
    pid = int(str(editor.value("getpid()")))
    with world.stopped():
        editor.keys("i" + "some text " * 500 + "<Esc>:qall!<CR>")
        wait(lambda: not is_alive(pid), "the editor's end", timeout_s=10)


def is_alive(pid: int) -> bool:
    try:
        os.waitpid(pid, os.WNOHANG)
        os.kill(pid, 0)
    except (ProcessLookupError, ChildProcessError):
        return False
    return True


def test_one_who_waits_gets_it_when_the_model_is_there(world: World, open_with: Open) -> None:
    world.says("self.radius")
    editor = connected(open_with())
    state = "require('llmd.channel').receive('state', ...)"
    editor.lua(state, "loading", 0.5, "", [])
    assert editor.lua("return require('llmd').statusline()") == "loading 50%"
    editor.keys("ix = ")
    shows(editor, "self.radius")
    editor.keys(DISMISS)
    shows(editor, "")
    editor.lua(state, "ready", 1.0, "", [])
    shows(editor, "self.radius")


def test_toggle_and_status_line(world: World, open_with: Open) -> None:
    world.says("self.radius")
    editor = connected(open_with())
    assert editor.lua("return require('llmd').statusline()") == "ready"
    editor.keys("ix = ")
    shows(editor, "self.radius")
    editor.command("Llmd toggle")
    shows(editor, "")
    assert editor.lua("return require('llmd').statusline()") == "off: g:llmd_enabled"
    editor.command("Llmd toggle")
    assert editor.lua("return require('llmd').statusline()") == "ready"


@pytest.mark.parametrize("name", ["status", "why", "log"])
def test_commands_say_something(open_with: Open, name: str) -> None:
    editor = connected(open_with())
    editor.command(f"Llmd {name}")
    said = {"status": "fixed", "why": "request", "log": "INFO llmd"}[name]

    def is_said() -> bool:
        text = editor.command("messages") + "\n".join(editor.lines())
        return said in text

    wait(is_said, f"{said!r}, not {editor.command('messages')!r}")


def test_an_unknown_command_names_those_there_are(open_with: Open) -> None:
    editor = open_with()
    editor.command("Llmd nonsense")
    said = "".join(editor.lines())
    assert "`:Llmd nonsense`" in said
    assert "log, restart, start, status" in said


@pytest.mark.parametrize(
    ("options", "problems"),
    [
        ("{ autos = true }", ["option `autos` is unknown", "auto, command"]),
        ("{ auto = 'yes' }", ["option `auto`", "expected boolean, got string"]),
        ("{ auto = false, debounce_ms = '9' }", ["`debounce_ms`", "expected number, got string"]),
        ("{ command = 1 }", ["`command`", "expected string|table, got number"]),
    ],
)
def test_an_invalid_option_of_setup_is_an_error(
    world: World, open_with: Open, options: str, problems: list[str]
) -> None:
    world.says("self.radius")
    editor = connected(open_with())
    said = editor.lua(f"local _, said = pcall(require('llmd').setup, {options}); return said")
    assert [problem for problem in problems if problem not in said] == []
    editor.keys("ix = ")
    shows(editor, "self.radius")


@pytest.mark.parametrize(
    ("variable", "problem"),
    [
        ("auto = 'yes'", "g:llmd_auto: expected boolean|number, got string"),
        ("debounce_ms = '20'", "g:llmd_debounce_ms: expected number, got string"),
        ("filetypes = 1", "g:llmd_filetypes: expected table, got number"),
    ],
)
def test_a_variable_of_a_wrong_type_is_reported_and_the_default_holds(
    world: World, open_with: Open, variable: str, problem: str
) -> None:
    world.says("self.radius")
    editor = connected(open_with(f"vim.g.llmd_{variable}"))
    editor.keys("ix = ")
    shows(editor, "self.radius")
    assert editor.command("messages").count(problem) == 1


def test_a_handler_that_throws_is_reported_once(world: World, open_with: Open) -> None:
    world.says("")
    editor = connected(open_with())
    editor.lua("require('llmd.suggestion').type_through = function() error('a bug') end")
    typed(editor, "ix = 1 ", "x = 1 ")
    typed(editor, "+ 2<Left><Left>y", "x = 1 +y 2")
    in_mode(editor, "i")
    assert editor.command("messages").count("a bug") == 1
    editor.command("messages clear")


def test_health_names_the_fix(open_with: Open) -> None:
    editor = open_with("vim.g.llmd_command = 'no-such-llmd'")
    wait(lambda: "is not found" in editor.command("messages"), "the message")
    editor.command("checkhealth llmd")
    text = "\n".join(editor.lines())
    assert "Command `no-such-llmd` is not found" in text
    assert "pipx install llmd" in text


def test_health_of_what_is_well(open_with: Open) -> None:
    editor = connected(open_with())
    editor.command("checkhealth llmd")
    text = "\n".join(editor.lines())
    assert "The daemon is ready" in text
    assert "ERROR" not in text
    assert "WARNING" not in text


def test_without_a_model_there_is_one_message(alone: RunningDaemon, tmp_path: Path) -> None:
    world = World(alone, tmp_path, lambda names, path: NeovimEditor(names, path, BINARY))
    editor = NeovimEditor(world.environment, world.file(CODE), BINARY)
    try:
        wait(lambda: "llmd" in editor.command("messages"), "a message")
        editor.keys("ix = <Esc>iy = <Esc>")
        wait(lambda: "y = " in "\n".join(editor.lines()), "what was typed")
        assert editor.command("messages").count("llmd:") == 1
        in_mode(editor, "n")
    finally:
        editor.close()
        alone.llmd("stop")
        world.close()


def test_what_became_of_it_is_counted(world: World, open_with: Open) -> None:
    editor = connected(open_with("vim.g.llmd_kept_after_ms = 1"))
    world.says("self.radius")
    editor.keys("ix = ")
    shows(editor, "self.radius")
    world.says("")
    editor.keys(ACCEPT)
    has_line(editor, "x = self.radius")

    counted = ("shown", "accepted", "kept")

    def is_counted() -> bool:
        found = str(world.daemon.status()["outcomes"])
        return all(kind in found for kind in counted)

    wait_until(is_counted, "the counts")
