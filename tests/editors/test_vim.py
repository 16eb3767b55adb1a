"""What is Vim's only: its script, its events, its buffers, its ways to install a plugin."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.editors.clones import clone
from tests.editors.driver import wait
from tests.editors.steps import (
    ACCEPT,
    CODE,
    TRIGGER,
    WORD,
    has_line,
    has_lines,
    in_mode,
    says,
    shows,
    typed,
)
from tests.editors.vim import PLUGIN, START_S, VimEditor, require_vim
from tests.editors.world import FixedDaemon, World
from tests.support.daemon import RunningDaemon

Open = Callable[..., VimEditor]

SNAPSHOT = """
function! TestSnapshot() abort
  let g:snapshot = v:null
  call llmd#buffers#Sync()
  call llmd#channel#Request('llmd/snapshot', #{uri: llmd#buffers#Uri(bufnr())},
        \\ {_, said -> extend(g:, {'snapshot': said.text})})
endfunction
"""


@pytest.fixture(scope="module")
def fixed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FixedDaemon]:
    with FixedDaemon(tmp_path_factory.mktemp("fixed-vim")) as running:
        assert isinstance(running, FixedDaemon)
        yield running


@pytest.fixture
def world(fixed: FixedDaemon, tmp_path: Path) -> Iterator[World]:
    found = World(fixed, tmp_path, lambda environment, path: VimEditor(environment, path))
    fixed.says("self.radius")
    yield found
    found.close()


@pytest.fixture
def vim(world: World) -> Iterator[Open]:
    """Opens a Vim with a vimrc of its own on a file with that text, connected."""
    editors: list[VimEditor] = []

    def start(text: str = CODE, vimrc: str = "", **how: Any) -> VimEditor:
        path = how.pop("path", None) or world.file(text)
        editor = VimEditor(world.environment, path, vimrc=vimrc, **how)
        editors.append(editor)
        wait(
            lambda: editor.value("exists('*llmd#channel#IsOpen') && llmd#channel#IsOpen()"),
            "up",
            START_S,
        )
        editor.keys("G")
        return editor

    yield start
    said = [editor.command("messages") for editor in editors]
    for editor in editors:
        editor.close()
    assert "error in the plugin" not in "".join(said)


# -- the script


@pytest.mark.parametrize("path", sorted(PLUGIN.rglob("*.vim")), ids=lambda path: path.name)
def test_every_function_compiles(path: Path) -> None:
    require_vim()
    vim = ["vim", "-es", "-V1", "-N", "-u", "NONE", "-i", "NONE"]
    commands = ["--cmd", f"set rtp^={PLUGIN} encoding=utf-8", "-c", f"source {path}", "-c", "q"]
    ran = subprocess.run([*vim, *commands], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr.strip()) == (0, "")
    is_legacy = path.parent.name in ("plugin", "autoload")
    assert is_legacy or path.read_text().endswith("\ndefcompile\n")


def test_a_second_load_does_nothing(vim: Open) -> None:
    editor = vim()
    assert editor.command(f"source {PLUGIN / 'plugin' / 'llmd.vim'} | messages") == editor.command(
        "messages"
    )


def test_the_help_has_its_tags(vim: Open, tmp_path: Path) -> None:
    shutil.copytree(PLUGIN / "doc", tmp_path / "doc")
    editor = vim()
    editor.command(f"helptags {tmp_path / 'doc'}")
    assert (tmp_path / "doc" / "tags").read_text() == (PLUGIN / "doc" / "tags").read_text()
    for tag in ("llmd", "llmd-keys", "llmd-options", "llmd-llama.vim", "g:llmd_filetypes", ":Llmd"):
        editor.command(f"help {tag}")
        assert editor.value("expand('%:t')") == "llmd.txt"


BROKEN = {
    "an event": ("events.vim", "def OnTextChanged()"),
    "a timer": ("events.vim", "def AskHere()"),
    "an answer": ("request.vim", "def OnAnswer(id: number, result: any)"),
}


@pytest.mark.parametrize(("name", "function"), BROKEN.values(), ids=BROKEN)
def test_a_handler_that_throws_is_reported_once(
    world: World, tmp_path: Path, name: str, function: str
) -> None:
    plugin = tmp_path / "broken"
    shutil.copytree(PLUGIN, plugin)
    path = plugin / "autoload" / "llmd" / name
    text = path.read_text()
    assert text.count(f"{function}\n") == 1
    path.write_text(text.replace(function, f"{function}\n  execute 'throw \"a bug\"'"))
    with closing(VimEditor(world.environment, world.file(CODE), plugin=plugin)) as editor:
        wait(lambda: editor.value("llmd#statusline()") == "ready", "the connection")
        editor.keys("Gi")
        typed(editor, "x = 1 ", "x = 1 ")
        wait(lambda: "a bug" in editor.command("messages"), "the report")
        world.has_answered()
        typed(editor, "+ 2<Left><Left>y", "x = 1 +y 2")
        in_mode(editor, "i")
        assert editor.command("messages").count("a bug") == 1


# -- the daemon's text is the buffer's


EDITS = (
    "ggdd", "Gp", "ggyyGp", "ggJ", "GOnew 😋<Esc>", "ggoa<CR>b<CR>c<Esc>", "u", "<C-R>", "uu",
    "ggVGd", "ggxx", "Gi#<Esc>", "gg<C-V>jjIé<Esc>", ":%s/r/rr/e<CR>", ":g/e/d<CR>", ":sort<CR>",
    ":2,3m0<CR>", ":2t.<CR>", "ggVj>", "ggguG", ":%!cat<CR>", "ggcwx<Esc>", ":e!<CR>", ":w<CR>",
    ":1,2d<CR>", ":normal! Goend<CR>", "G.", ":retab!<CR>", "ggAa<C-V><C-M>b<Esc>",
)  # fmt: skip


def test_the_daemon_has_the_buffers_text(vim: Open) -> None:
    editor = vim(vimrc=SNAPSHOT)
    chance = random.Random(7)
    for _ in range(60):
        edits = [chance.choice(EDITS) for _ in range(chance.randint(1, 3))]
        for edit in edits:
            editor.command(f'call feedkeys("{edit.replace("<", chr(92) + "<")}", "ntx")')
        editor.command("call TestSnapshot()")
        wait(lambda: editor.value("g:snapshot") is not None, "the snapshot")
        lines = [line.replace("\r", " ") for line in editor.lines()]
        assert editor.value("g:snapshot") == "\n".join([*lines, ""]), edits


@pytest.mark.parametrize(
    ("changes", "range_"),
    [
        ([(5, 6, 0)], (4, 5, 5)),  # a line typed into
        ([(5, 6, 1)], (4, 5, 6)),  # a line broken
        ([(5, 7, -1)], (4, 6, 5)),  # two joined
        ([(11, 11, 2)], (10, 10, 12)),  # lines put behind the last
        ([(5, 6, 0), (5, 6, 1), (6, 7, 0)], (4, 5, 6)),
        ([(9, 11, -2), (1, 2, 0)], (0, 10, 8)),
    ],
)
def test_only_the_lines_that_changed_are_sent(
    vim: Open, changes: list[tuple[int, int, int]], range_: tuple[int, int, int]
) -> None:
    editor = vim()
    said = [{"lnum": lnum, "end": end, "added": added} for lnum, end, added in changes]
    span = f"llmd#changes#Merge(llmd#changes#None(10), {json.dumps(said)})"
    found = editor.value(f"llmd#changes#Range({span})")
    assert (found["first"], found["old_end"], found["new_end"]) == range_


def test_another_program_writes_the_file(vim: Open, world: World) -> None:
    path = world.file("one = 1\n")
    editor = vim(path=path, vimrc=SNAPSHOT + "set autoread\n")
    editor.command("call TestSnapshot()")
    path.write_text("two = 2\n")
    os.utime(path, (1, 1))
    editor.command("checktime | call TestSnapshot()")
    wait(lambda: editor.value("g:snapshot") == "two = 2\n", "the new text")


@pytest.mark.parametrize("name", ["with space.py", "grün+%20.py", "日本.py"])
def test_a_files_name_is_a_uri(vim: Open, world: World, name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text("x = 1\n")
    editor = vim(path=path)
    editor.keys("oy = ")
    shows(editor, "self.radius")
    assert world.daemon.ask("llmd/why", uri=path.as_uri())


def test_a_buffer_without_a_name(vim: Open) -> None:
    editor = vim()
    editor.command("enew")
    editor.keys("ix = ")
    shows(editor, "self.radius")


# -- the screen


def test_ghost_text_stands_between_wide_characters(vim: Open) -> None:
    editor = vim("x\n")
    editor.keys("A = '😋é' + ")
    shows(editor, "self.radius")
    assert editor.screen()[0] == "x = '😋é' + self.radius"


def test_a_tab_in_ghost_text_is_as_wide_as_in_the_file(vim: Open, world: World) -> None:
    world.says("{\n\treturn\tx\n}")
    editor = vim("x\n")
    editor.command("setlocal tabstop=8")
    editor.keys("Ay")
    shows(editor, "{\n\treturn\tx\n}")
    assert editor.screen()[:3] == ["xy{", "        return  x", "}"]


def test_undo_brings_no_ghost_text_back(vim: Open) -> None:
    editor = vim("x = 1\n")
    editor.keys("A + ")
    shows(editor, "self.radius")
    editor.keys("y<Esc>")
    has_line(editor, "x = 1 + y")
    editor.keys("u")
    has_line(editor, "x = 1")
    assert editor.screen()[0] == "x = 1"


def test_half_a_key_leaves_no_letter_in_ghost_text(vim: Open) -> None:
    """Vim shows what it has of a key at the cursor, over any text, until the rest comes."""
    editor = vim("")
    editor.keys("ix = ")
    shows(editor, "self.radius")
    editor.keys("\x1b[")
    in_mode(editor, "n")
    assert editor.screen()[0] == "x ="
    editor.keys("a\x1ba")
    shows(editor, "self.radius")
    assert editor.screen()[0] == "x = self.radius"


# -- keys


def test_dot_repeats_each_of_two_acceptances(vim: Open, world: World) -> None:
    world.says("one\ntwo")
    editor = vim("")
    editor.keys("ia")
    shows(editor, "one\ntwo")
    world.says("three\nfour")
    editor.keys(ACCEPT)
    shows(editor, "three\nfour")
    world.says("")
    editor.keys(ACCEPT)
    typed(editor, "b<Esc>", "fourb")
    editor.keys("gg0.")
    inserted = ["aone", "twothree", "fourb"]
    has_lines(editor, [*inserted[:2], "fourbaone", *inserted[1:]])


def test_a_word_at_a_time_repeats(vim: Open, world: World) -> None:
    editor = vim("")
    editor.keys("ix = ")
    shows(editor, "self.radius")
    editor.keys(WORD)
    shows(editor, ".radius")
    world.says("")
    editor.keys(f"{WORD}{WORD}")
    has_line(editor, "x = self.radius")
    editor.keys("<Esc>0.")
    has_line(editor, "x = self.radiusx = self.radius")
    for line in ("x = self.radius", "x = self.", "x = self", "x = "):
        editor.keys("u")
        has_line(editor, line)


@pytest.mark.parametrize(
    ("mapped", "line"),
    [
        ("inoremap <Tab> tab", "xtab"),
        ("inoremap <expr> <Tab> pumvisible() ? 'menu' : 'none'", "xnone"),
        ("imap <Tab> Q\ninoremap Q mapped", "xmapped"),
        ("inoremap <Tab> old\ninoremap <buffer> <Tab> own", "xown"),
        ("inoremap <silent> <Tab> <C-R>='said'<CR>", "xsaid"),
        ("let g:llmd_maps = 0", "x   "),
    ],
)
def test_tab_does_what_it_did_where_nothing_shows(
    vim: Open, world: World, mapped: str, line: str
) -> None:
    world.says("")
    editor = vim("", vimrc=mapped + "\n")
    typed(editor, "ix<Tab>", line)


def test_a_map_of_the_first_buffers_own_hides_no_older_one(vim: Open, world: World) -> None:
    world.says("")
    editor = vim("", vimrc="inoremap <Tab> old\ninoremap <buffer> <Tab> own\n")
    editor.open(world.file(""))
    typed(editor, "ix<Tab>", "xold")


def test_without_a_model_there_is_one_message(alone: RunningDaemon, tmp_path: Path) -> None:
    world = World(alone, tmp_path, lambda environment, path: VimEditor(environment, path))
    editor = VimEditor(world.environment, world.file(CODE))
    try:
        wait(lambda: "llmd" in editor.command("messages"), "a message")
        typed(editor, "Goy = ", "y = ")
        wait(lambda: editor.value("llmd#engine#Current().state") == "failed", "the state")
        assert editor.command("messages").count("llmd:") == 1
    finally:
        editor.close()
        alone.llmd("stop")
        world.close()


@pytest.mark.parametrize("key", ["<M-Right>", "<M-C-Right>", "<M-]>", "<M-[>", "<C-]>"])
def test_a_map_that_was_there_has_the_key_where_nothing_shows(
    vim: Open, world: World, key: str
) -> None:
    world.says("")
    editor = vim("", vimrc=f"inoremap {key} old\n")
    typed(editor, f"ix{key}y", "xoldy")


def test_a_key_of_ones_own_takes_the_place_of_the_default(vim: Open) -> None:
    editor = vim("", vimrc="imap <C-J> <Plug>(llmd-accept)\n")
    assert editor.value("maparg('<Tab>', 'i')") == ""
    editor.keys("ix = ")
    shows(editor, "self.radius")
    typed(editor, "<C-J>", "x = self.radius")


def test_accented_letters_are_no_keys_of_ours(vim: Open, world: World) -> None:
    """`<M-]>` is also the byte of an accented letter."""
    world.says("")
    typed(vim(""), "iÝÛÜ", "ÝÛÜ")


def test_a_place_is_asked_about_once(vim: Open, world: World) -> None:
    """By the key, and not again when Insert mode, which it came with, has begun."""
    editor = vim("")
    n_before = world.n_asked()
    editor.command("call feedkeys('ix = ', 't')")
    shows(editor, "self.radius")
    assert world.n_asked() == n_before + 1


# -- options


def test_only_by_the_key(vim: Open, world: World) -> None:
    editor = vim("", vimrc="let g:llmd_auto = 0\n")
    typed(editor, "ix = ", "x = ")
    world.has_answered()
    shows(editor, "")
    editor.keys(TRIGGER)
    shows(editor, "self.radius")


@pytest.mark.parametrize(
    ("option", "reason"),
    [
        ("let g:llmd_filetypes = #{{python: 0}}", "filetype"),
        ("let g:llmd_max_file_bytes = 10", "size"),
        ("let g:llmd_disabled_folders = ['{folder}']", "folder"),
        ("let g:llmd_disabled_folders = ['{folder}/link']", "folder"),
        ("let g:llmd_enabled = 0", "g:llmd_enabled"),
        ("set readonly", "read-only"),
        ("set binary", "binary"),
        ("enew | set buftype=prompt", "not a file"),
        ("terminal ++curwin", "not a file"),
        ("help", "filetype"),
    ],
)
def test_why_it_is_off(vim: Open, tmp_path: Path, option: str, reason: str) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    editor = vim()
    editor.command(option.format(folder=tmp_path))
    assert editor.value("llmd#statusline()") == f"off: {reason}"


def test_a_buffer_may_be_on_where_its_filetype_is_off(vim: Open) -> None:
    editor = vim()
    editor.command("let g:llmd_filetypes = {'*': 0, 'lua': 1}")
    assert editor.value("llmd#statusline()") == "off: filetype"
    editor.command("let b:llmd_enabled = 1")
    assert editor.value("llmd#statusline()") == "ready"


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ("auto = 'yes'", "g:llmd_auto: expected boolean, got string"),
        ("debounce_ms = '20'", "g:llmd_debounce_ms: expected number, got string"),
        ("filetypes = ['lua']", "g:llmd_filetypes: expected dictionary, got list"),
        ("command = {}", "g:llmd_command: expected string or list, got dictionary"),
    ],
)
def test_an_option_of_a_wrong_type_is_reported_and_the_default_holds(
    vim: Open, option: str, expected: str
) -> None:
    editor = vim("", vimrc=f"let g:llmd_{option}\n")
    editor.keys("ix = ")
    shows(editor, "self.radius")
    assert editor.command("messages").count(expected) == 1


# -- commands


def test_commands_say_what_they_do(vim: Open) -> None:
    editor = vim()
    assert editor.command("Llmd toggle") == "llmd is off"
    assert editor.command("Llmd toggle") == "llmd is on"
    said = editor.command("Llmd nonsense")
    assert "`:Llmd nonsense`" in said
    assert "health, log, restart" in said


@pytest.mark.parametrize(
    ("name", "said"), [("status", "here: ready"), ("why", "request"), ("log", "INFO llmd")]
)
def test_commands_show_what_is_long_in_a_window(vim: Open, name: str, said: str) -> None:
    editor = vim()
    editor.command(f"Llmd {name}")
    says(editor, said)
    editor.keys("j")
    in_mode(editor, "n")  # no question whether to go on


def test_health_names_the_fix(vim: Open) -> None:
    editor = vim(vimrc="inoremap <M-Right> <Nop>\nlet g:llmd_maps = 0\n")
    editor.command("Llmd health")
    report = "\n".join(editor.lines())
    assert "OK   connected to " in report
    (line,) = re.findall("^FIX .*<Plug>.llmd-accept[)].*", report, re.M)
    assert "`imap KEY <Plug>(llmd-accept)`" in line


def test_without_the_command_there_is_one_line(world: World) -> None:
    how = "let g:llmd_command = 'no-such-llmd'\n"
    editor = VimEditor(world.environment, world.file(CODE), vimrc=how)
    wait(lambda: "no-such-llmd" in editor.command("messages"), "the message")
    typed(editor, "Gix<Esc>ax<Esc>ax<Esc>", "xxx")
    assert editor.command("messages").count("no-such-llmd") == 1
    assert "failed: Command `no-such-llmd` is not found" in editor.value("llmd#statusline()")
    editor.command("Llmd start")
    says(editor, "Command `no-such-llmd` is not")
    editor.close()


def test_a_vim_that_is_too_old_is_told(world: World, tmp_path: Path) -> None:
    plugin = tmp_path / "plugin" / "llmd.vim"
    plugin.parent.mkdir()
    text = (PLUGIN / "plugin" / "llmd.vim").read_text()
    plugin.write_text(text.replace("patch-9.0.1378", "patch-9.9.9999"))
    editor = VimEditor(world.environment, world.file(CODE), plugin=tmp_path)
    said = "is too old; llmd needs 9.0.1378 or newer"
    wait(lambda: said in editor.command("messages"), "the message")
    assert said in editor.command("Llmd status")
    editor.close()


# -- the daemon


def test_a_silent_daemon_is_sent_nothing(vim: Open, world: World) -> None:
    editor = vim("")
    editor.keys("ix = ")
    shows(editor, "self.radius")
    with world.stopped():
        editor.keys("y ")
        wait(
            lambda: editor.value("llmd#statusline()") == "silent: the daemon does not answer", "2s"
        )
        for key in "abcdefghi " * 20:
            editor.keys(key)
        has_line(editor, "x = y " + "abcdefghi " * 20)
    wait(lambda: editor.value("llmd#channel#IsStalled()") == 0, "an answer")
    n_before = world.daemon.counts()["requests"]
    editor.keys("z ")
    shows(editor, "self.radius")
    assert world.daemon.counts()["requests"] <= n_before + 4


def test_a_file_larger_than_the_sockets_buffer(vim: Open, world: World) -> None:
    """Vim writes by itself only what fits, and the rest with its next message."""
    for _ in range(3):
        editor = vim("x = 1  # and so on and on\n" * 35_000)
        editor.keys("oy = ")
        shows(editor, "self.radius")


def test_a_large_file_that_a_silent_daemon_has_not_read(vim: Open, world: World) -> None:
    editor = vim("")
    editor.keys("ix = ")
    shows(editor, "self.radius")
    with world.stopped():
        editor.open(world.file("x = 1  # and so on and on\n" * 35_000))
        editor.keys("<Esc>Goy = ")
        wait(lambda: editor.value("llmd#channel#IsStalled()") == 1, "2 s of silence")
    editor.keys("z ")
    wait(lambda: editor.ghost() == "self.radius", "ghost text")


def test_outcomes_are_counted(vim: Open, world: World) -> None:
    def n(kind: str) -> int:
        rows = world.daemon.status()["outcomes"]
        return sum(row[kind]["n_chars"] for row in rows if row["filetype"] == "python")

    before = {kind: n(kind) for kind in ("shown", "accepted", "typed_through", "dismissed")}
    editor = vim("")
    editor.keys("ix = ")
    shows(editor, "self.radius")
    editor.keys("self")
    shows(editor, ".radius")
    world.says("")
    editor.keys(ACCEPT)
    has_line(editor, "x = self.radius")
    wait(lambda: n("accepted") == before["accepted"] + len(".radius"), "accepted")
    assert n("shown") == before["shown"] + len("self.radius")
    world.says("abc")
    editor.keys(" ")
    shows(editor, "abc")
    world.says("")
    editor.keys("abc")
    wait(lambda: n("typed_through") == before["typed_through"] + 3, "typed through")


def test_what_is_kept_is_counted_by_lines(vim: Open) -> None:
    editor = vim()
    kept = "llmd#stats#NKept('ab\ncd', 'x\n{}')"
    assert editor.value(kept.format("ab\ncd\ny")) == len("ab\ncd")
    assert editor.value(kept.format("ab\nce")) == len("ab")
    assert editor.value(kept.format("")) == 0


# -- installing


def installed(world: World, folder: Path, vimrc: str) -> None:
    """The plugin works in a Vim whose home is that folder."""
    world.says("self.radius")
    environment = {**world.environment, "HOME": str(folder)}
    editor = VimEditor(environment, world.file(CODE), vimrc=vimrc, plugin=None)
    editor.keys("Gix = ")
    shows(editor, "self.radius")
    editor.close()


def test_as_a_plain_package(world: World, tmp_path: Path) -> None:
    start = tmp_path / ".vim" / "pack" / "llmd" / "start"
    start.mkdir(parents=True)
    folder = world.daemon.llmd("path", "plugin-vim").stdout.strip()
    (start / "llmd").symlink_to(folder)
    installed(world, tmp_path, "")


def test_with_vim_plug(world: World, tmp_path: Path) -> None:
    plug = clone("vim-plug") / "plug.vim"
    autoload = tmp_path / ".vim" / "autoload"
    autoload.mkdir(parents=True)
    (autoload / "plug.vim").symlink_to(plug)
    lines = ["call plug#begin()", "Plug trim(system('llmd path plugin-vim'))", "call plug#end()"]
    installed(world, tmp_path, "\n".join(lines) + "\n")
