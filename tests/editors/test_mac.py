"""What is otherwise on a Mac: the Dock starts programs without the user's PATH, and terminals send
no Meta for Option."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path

import pytest

from tests.editors.driver import Editor, wait
from tests.editors.neovim import BINARY, NeovimEditor
from tests.editors.neovim import PLUGIN as NEOVIM
from tests.editors.steps import in_mode, says, shows, status, typed
from tests.editors.vim import PLUGIN as VIM
from tests.editors.vim import VimEditor, require_vim
from tests.editors.world import FixedDaemon, World

LAUNCHD_PATH = "/usr/bin:/bin:/usr/sbin:/sbin"
LLMD = Path(sys.executable).parent / "llmd"
FOLDERS = (
    "~/.local/bin", "/opt/homebrew/bin", "/usr/local/bin", "~/.local/share/uv/tools/llmd/bin",
    "~/.local/pipx/venvs/llmd/bin", "~/.local/share/pipx/venvs/llmd/bin",
)  # fmt: skip
HEALTH = {"nvim": "checkhealth llmd", "vim": "Llmd health"}
FIND = {
    "nvim": "luaeval('require(\"llmd.cli\").find(_A[1], _A[2])', [{}, {}])",
    "vim": "llmd#cli#Find({}, {})",
}
# Of Terminal.app and Ghostty. Neovim reads it as one key where both bytes come at once.
OPTION_RIGHT = [("nvim", "\x1bf"), ("nvim", "<M-f>"), ("vim", "\x1bf")]


@pytest.fixture(scope="module")
def fixed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FixedDaemon]:
    with FixedDaemon(tmp_path_factory.mktemp("fixed-mac")) as running:
        assert isinstance(running, FixedDaemon)
        yield running


@pytest.fixture(params=["nvim", "vim"])
def kind(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture
def world(fixed: FixedDaemon, kind: str, tmp_path: Path) -> Iterator[World]:
    found = World(fixed, tmp_path, lambda names, path: start(kind, names, path))
    fixed.says("self.radius")
    yield found
    found.close()


@pytest.fixture
def dock(fixed: FixedDaemon, kind: str, tmp_path: Path) -> Iterator[World]:
    """`start` is what the Dock does, for a user who has llmd in `~/.local/bin` alone."""

    def start_bare(names: Mapping[str, str], path: Path) -> Editor:
        ours = Path(names["HOME"]) / ".local" / "bin" / "llmd"
        ours.parent.mkdir(parents=True)
        ours.symlink_to(LLMD)
        return start(kind, {**names, "PATH": f"{LAUNCHD_PATH}:{tools(kind, tmp_path)}"}, path)

    found = World(fixed, tmp_path, start_bare)
    fixed.says("self.radius")
    yield found
    found.close()


def tools(kind: str, folder: Path) -> Path:
    """A folder with what the driver itself runs, and nothing else."""
    found = folder / "tools"
    found.mkdir()
    if kind == "vim":
        require_vim()
        for name in ("vim", "tmux"):
            (found / name).symlink_to(str(shutil.which(name)))
    return found


def start(
    kind: str, names: Mapping[str, str], path: Path, command: str = "", plugin: Path | None = None
) -> Editor:
    """`command` is run before the plugin is loaded; `plugin` is one with changes of the test."""
    if kind == "vim":
        return VimEditor(names, path, vimrc=command + "\n", plugin=plugin or VIM)
    setup = f"vim.cmd([[{command}]])"
    return NeovimEditor(names, path, BINARY, setup=setup, plugin=plugin or NEOVIM)


def health(kind: str, editor: Editor) -> str:
    editor.command(HEALTH[kind])
    return "\n".join(editor.lines())


# -- the command


def test_a_program_from_the_dock_finds_the_command(dock: World, kind: str) -> None:
    editor = dock.editor(dock.file(""))
    typed(editor, "ix = ", "x = ")
    shows(editor, "self.radius")
    path = f"{dock.environment['HOME']}/.local/bin/llmd"
    assert f" is {path}, which is not from PATH" in health(kind, editor)


def test_a_command_on_the_path_is_the_one_of_the_path(world: World, kind: str) -> None:
    text = health(kind, world.editor(world.file("")))
    assert f" is {LLMD}\n" in text
    assert "not from PATH" not in text


def test_the_folders_are_looked_through_in_their_order(
    world: World, kind: str, tmp_path: Path
) -> None:
    editor = world.editor(world.file(""))
    for name, mode in (("a", 0o644), ("b", 0o755), ("c", 0o755)):
        file = tmp_path / name / "mine"
        file.parent.mkdir()
        file.touch(mode)
    folders = [str(tmp_path / name) for name in ("none", "a", "b", "c")]

    def find(name: str) -> object:
        return editor.value(FIND[kind].format(json.dumps(name), json.dumps(folders))) or ""

    assert find("mine") == str(tmp_path / "b" / "mine")
    assert find("llmd") == str(LLMD)
    assert find("theirs") == ""
    assert find(str(tmp_path / "c" / "mine")) == str(tmp_path / "c" / "mine")
    assert find("./mine") == ""


def test_a_command_that_is_nowhere(world: World, kind: str) -> None:
    """All of the message is on the screen, wherever one looks."""
    option = "let g:llmd_command = 'no-such-llmd'"
    with closing(start(kind, world.environment, world.file(""), option)) as editor:
        says(editor, "Command `no-such-llmd` is not found; set g:llmd_command")
        where = f"it is neither on PATH nor in {', '.join(FOLDERS)}"
        wait(lambda: where in status(editor), f"{where!r}, not {status(editor)!r}")
        editor.command("Llmd start")
        says(editor, where)
        screen = "".join(editor.screen())
        assert [folder for folder in FOLDERS if folder not in screen] == []
        assert where in health(kind, editor)


def test_a_path_of_the_users_own_is_all_that_is_tried(world: World, kind: str) -> None:
    option = "let g:llmd_command = '/none/llmd'"
    with closing(start(kind, world.environment, world.file(""), option)) as editor:
        says(editor, "Command `/none/llmd` is not found")
        assert "nor in" not in status(editor) + health(kind, editor)


# -- the keys


@pytest.mark.parametrize(("kind", "key"), OPTION_RIGHT)
def test_option_without_meta_does_what_it_does_without_the_plugin(
    world: World, kind: str, tmp_path: Path, key: str
) -> None:
    """Option-] is a sign; Option-Right ends Insert mode, and `f` waits for a character."""
    plain = start(kind, world.environment, world.file(""), plugin=tmp_path)
    with closing(plain):
        ours = world.editor(world.file(""))
        for editor in (plain, ours):
            editor.command("messages clear")
            typed(editor, "i[x] = ", "[x] = ")
        shows(ours, "self.radius")
        for editor in (plain, ours):
            typed(editor, "‘", "[x] = ‘")
        shows(ours, "self.radius")
        for editor in (plain, ours):
            typed(editor, f"{key}]0{key}]aend<Esc>", "[x]end = ‘")
            in_mode(editor, "n")
        shows(ours, "")
        assert ours.cursor() == plain.cursor()
        assert ours.command("messages") == plain.command("messages") == ""


def test_health_names_the_page_of_a_macs_keys(world: World, kind: str, tmp_path: Path) -> None:
    plugin = tmp_path / "plugin"
    shutil.copytree(NEOVIM if kind == "nvim" else VIM, plugin)
    (path,) = (path for path in plugin.rglob("health.*") if "has('mac')" in path.read_text())
    path.write_text(path.read_text().replace("has('mac')", "has('unix')"))
    with closing(start(kind, world.environment, world.file(""), plugin=plugin)) as editor:
        assert "terminal that sends Option as Meta" in health(kind, editor)
        editor.command("help llmd-mac")
        assert "Use Option as Meta Key" in "".join(editor.lines())


@pytest.mark.skipif(sys.platform == "darwin", reason="there it is named")
def test_health_elsewhere_does_not(world: World, kind: str) -> None:
    assert "llmd-mac" not in health(kind, world.editor(world.file("")))
