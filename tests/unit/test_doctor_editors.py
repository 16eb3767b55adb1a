"""`llmd doctor` on editors: described ones, and folders as editors have them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from llmd import paths
from llmd.cli.doctor import read_editors
from llmd.cli.doctor.editors import Command, Editor, of_command, of_editors
from llmd.cli.doctor.running_neovim import Live, live_of, of_live

KEYS = {"accept": ("<Tab>", True, True), "next": ("<M-]>", True, True)}
LIVE = Live("0.11.4", ("/p/plugin/llmd.lua",), True, "ready", "", KEYS)


@pytest.mark.parametrize(
    ("editor", "level", "said"),
    [
        (Editor("nvim", (0, 11, 4), "/p"), "ok", "has the plugin, in `/p`"),
        (Editor("nvim", (0, 11), is_named=True), "ok", "its configuration names llmd"),
        (Editor("nvim", (0, 11)), "note", "has no llmd"),
        (Editor("nvim", (0, 9, 5), "/p"), "note", "is older than 0.11"),
        (Editor("vim", (9, 0, 1378), "/p", is_same=False), "note", "is not the one of this llmd"),
        (Editor("vim", (9, 0, 1377)), "note", "is older than 9.0.1378"),
        (Editor("vim", (9, 1, 16), "/p", is_broken_link=True), "problem", "leads nowhere"),
        (Editor("hx"), "note", "Helix has no llmd"),
        (Editor("kate", is_named=True), "ok", "names llmd"),
    ],
)
def test_an_editor_is_judged_by_what_it_has(editor: Editor, level: str, said: str) -> None:
    (found,) = of_editors([editor])
    assert (found.level, said in found.text) == (level, True)
    assert bool(found.fix) == (level != "ok")


def test_the_fixes_are_of_the_editor() -> None:
    vim, helix = of_editors([Editor("vim"), Editor("hx")])
    assert 'ln -sfn "$(llmd path plugin-vim)" ~/.vim/pack/llmd/start/llmd' in vim.fix
    assert helix.fix == "docs/editors/helix.md"
    root = Path(__file__).resolve().parents[2]
    for name in ("nvim", "hx", "emacs", "zed", "kate"):
        (found,) = of_editors([Editor(name, (0, 9))])  # type: ignore[arg-type]
        assert (root / f"docs/editors/{found.fix.rpartition('/')[2]}").is_file()


def test_a_small_vim_is_told_what_it_lacks() -> None:
    found = list(of_editors([Editor("vim", (9, 1, 16), "/p", lacks=("+channel",))]))
    assert (found[0].level, "+channel" in found[0].text) == ("note", True)


def test_no_editor_at_all_is_a_note() -> None:
    assert [each.level for each in of_editors([])] == ["note"]


@pytest.mark.parametrize(
    ("command", "level"),
    [
        (Command("", False, "/v/bin/llmd"), "problem"),
        (Command("/u/llmd", False, "/v/bin/llmd"), "note"),
        (Command("/u/llmd", True, "/v/bin/llmd"), "ok"),
    ],
)
def test_the_command_that_editors_start(command: Command, level: str) -> None:
    assert of_command(command).level == level


def _live(**changes: object) -> list[tuple[str, str]]:
    from dataclasses import replace

    found = of_live(replace(LIVE, **changes))  # type: ignore[arg-type]
    return [(each.level, each.text) for each in found]


def test_a_neovim_in_which_all_is_well() -> None:
    said = _live()
    assert {level for level, _ in said} == {"ok"}
    assert said[-1][1] == "Its keys are mapped: <Tab> accept, <M-]> next"


@pytest.mark.parametrize(
    ("changes", "level", "said"),
    [
        ({"is_loaded": False, "plugins": ()}, "problem", "has no llmd"),
        ({"is_loaded": False}, "problem", "has not loaded it"),
        ({"is_loaded": False, "plugins": (), "n_lsp_clients": 1}, "ok", "language server"),
        ({"n_lsp_clients": 1}, "note", "asked twice"),
        ({"plugins": ("/a", "/b")}, "note", "2 times: /a, /b"),
        ({"state": "failed", "reason": "no model"}, "problem", "failed: no model"),
        ({"state": "connecting"}, "note", "connecting"),
        ({"state": ""}, "note", "not begun"),
        ({"is_off": True}, "note", "switched off"),
        ({"rivals": ("copilot",)}, "note", "`copilot` shows ghost text too"),
        ({"keys": {"accept": ("<Tab>", True, False)}}, "note", "<Tab> is mapped by something"),
        ({"keys": {"next": ("<M-]>", False, False)}}, "note", "No key does `<Plug>(llmd-next)`"),
    ],
)
def test_a_neovim_in_which_something_is_not(
    changes: dict[str, object], level: str, said: str
) -> None:
    assert [found for found, text in _live(**changes) if said in text] == [level]


def test_what_the_child_prints_is_understood() -> None:
    found = {
        "version": "0.11.4", "plugins": [], "is_loaded": True, "state": "ready", "reason": "",
        "keys": [{"name": "accept", "key": "<Tab>", "is_mapped": True, "is_default": False}],
        "n_lsp_clients": 0, "rivals": [], "is_off": False,
    }  # fmt: skip
    assert live_of(found).keys == {"accept": ("<Tab>", True, False)}
    assert live_of({**found, "keys": []}).keys is None


@pytest.mark.parametrize(
    ("name", "said", "expected"),
    [
        ("nvim", "NVIM v0.11.4\nBuild type: Release\n", (0, 11, 4)),
        ("vim", "VIM - Vi IMproved 9.0 (2022)\nIncluded patches: 1-1378, 1499\n", (9, 0, 1378)),
        ("vim", "VIM - Vi IMproved 9.1 (2024)\n", (9, 1)),
        ("vim", "", ()),
    ],
)
def test_versions_are_read(name: str, said: str, expected: tuple[int, ...]) -> None:
    assert read_editors._version(name, said) == expected  # type: ignore[arg-type]


def test_what_vim_was_built_without_is_read() -> None:
    said = "+acl -channel +job\n-textprop +timers -vim9scripts x-job"
    assert read_editors._lacks(said) == ("+channel", "+textprop")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    return tmp_path


def _pack(home: Path) -> Path:
    pack = home / ".vim/pack/any/start"
    pack.mkdir(parents=True)
    return pack / "llmd"


def test_a_linked_plugin_is_the_same(home: Path) -> None:
    assert read_editors._package("vim") is None
    link = _pack(home)
    link.symlink_to(paths.plugin_dir("vim"))
    assert read_editors._package("vim") == link
    assert read_editors._is_same("vim", link)


def test_a_copied_plugin_is_the_same_until_a_file_differs(home: Path) -> None:
    copy = _pack(home)
    shutil.copytree(paths.plugin_dir("vim"), copy)
    assert read_editors._package("vim") == copy
    assert read_editors._is_same("vim", copy)
    (copy / "autoload/llmd.vim").write_text('" older\n')
    assert not read_editors._is_same("vim", copy)


def test_a_link_that_leads_nowhere_is_found(home: Path) -> None:
    _pack(home).symlink_to(home / "gone")
    found = read_editors._package("vim")
    assert found is not None
    assert not found.exists()


def test_another_plugin_is_not_ours(home: Path) -> None:
    (_pack(home) / "plugin").mkdir(parents=True)
    assert read_editors._package("vim") is None


def test_a_configuration_that_names_llmd_is_enough(home: Path) -> None:
    languages = home / ".config/helix/languages.toml"
    assert not read_editors._is_named("hx")
    languages.parent.mkdir(parents=True)
    languages.write_text('[language-server.llmd]\ncommand = "llmd"\n')
    assert read_editors._is_named("hx")
    assert not read_editors._is_named("nvim")
