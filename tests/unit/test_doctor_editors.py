"""`llmd doctor` on editors: described ones, and folders as editors have them."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import pytest

from llmd import paths
from llmd.cli.doctor import editors
from llmd.cli.doctor.editors import CommandFacts, EditorFacts, judge_command, judge_editors
from llmd.cli.doctor.running_neovim import KeyFacts, NeovimFacts, judge_neovim

KEYS = (KeyFacts("accept", "<Tab>"), KeyFacts("next", "<M-]>"))
NEOVIM = NeovimFacts("0.11.4", ("/p/plugin/llmd.lua",), True, "ready", "", KEYS)


@pytest.mark.parametrize(
    ("editor", "level", "said"),
    [
        (EditorFacts("nvim", (0, 11, 4), "/p"), "ok", "has the plugin in `/p`"),
        (EditorFacts("nvim", (0, 11), is_named=True), "ok", "its configuration names llmd"),
        (EditorFacts("nvim", (0, 11)), "note", "has no llmd"),
        (EditorFacts("nvim", (0, 9, 5), "/p"), "note", "is older than 0.11"),
        (
            EditorFacts("vim", (9, 0, 1378), "/p", is_same=False),
            "note",
            "differs from the plugin of this llmd",
        ),
        (EditorFacts("vim", (9, 0, 1377)), "note", "is older than 9.0.1378"),
        (EditorFacts("vim", (9, 1, 16), "/p", is_broken_link=True), "problem", "is a broken link"),
        (EditorFacts("hx"), "note", "Helix has no llmd"),
        (EditorFacts("kate", is_named=True), "ok", "names llmd"),
    ],
)
def test_an_editor_is_judged_by_what_it_has(editor: EditorFacts, level: str, said: str) -> None:
    (found,) = judge_editors([editor])
    assert (found.level, said in found.text) == (level, True)
    assert bool(found.fix) == (level != "ok")


def test_the_fixes_are_of_the_editor() -> None:
    vim, helix = judge_editors([EditorFacts("vim"), EditorFacts("hx")])
    assert 'ln -sfn "$(llmd path plugin-vim)" ~/.vim/pack/llmd/start/llmd' in vim.fix
    assert helix.fix == "docs/editors/helix.md"
    root = Path(__file__).resolve().parents[2]
    for name in ("nvim", "hx", "emacs", "zed", "kate"):
        (found,) = judge_editors([EditorFacts(name, (0, 9))])  # type: ignore[arg-type]
        assert (root / f"docs/editors/{found.fix.rpartition('/')[2]}").is_file()


def test_a_small_vim_is_told_what_it_lacks() -> None:
    found = list(judge_editors([EditorFacts("vim", (9, 1, 16), "/p", lacks=("+channel",))]))
    assert (found[0].level, "+channel" in found[0].text) == ("note", True)


def test_no_editor_at_all_is_a_note() -> None:
    assert [each.level for each in judge_editors([])] == ["note"]


@pytest.mark.parametrize(
    ("command", "level"),
    [
        (CommandFacts("", False, "/v/bin/llmd"), "problem"),
        (CommandFacts("/u/llmd", False, "/v/bin/llmd"), "note"),
        (CommandFacts("/u/llmd", True, "/v/bin/llmd"), "ok"),
    ],
)
def test_the_command_that_editors_start(command: CommandFacts, level: str) -> None:
    assert judge_command(command).level == level


def _judged(**changes: object) -> list[tuple[str, str]]:
    found = judge_neovim(msgspec.structs.replace(NEOVIM, **changes))
    return [(each.level, each.text) for each in found]


def test_a_neovim_in_which_all_is_well() -> None:
    said = _judged()
    assert {level for level, _ in said} == {"ok"}
    assert said[-1][1] == "The keys are mapped: <Tab> accept, <M-]> next"


@pytest.mark.parametrize(
    ("changes", "level", "said"),
    [
        ({"is_loaded": False, "plugins": ()}, "problem", "has no llmd"),
        ({"is_loaded": False}, "problem", "has not loaded it"),
        ({"is_loaded": False, "plugins": (), "n_lsp_clients": 1}, "ok", "language server"),
        ({"n_lsp_clients": 1}, "note", "sent twice"),
        ({"plugins": ("/a", "/b")}, "note", "2 times: /a, /b"),
        ({"state": "failed", "reason": "no model"}, "problem", "failed: no model"),
        ({"state": "connecting"}, "note", "connecting"),
        ({"state": ""}, "note", "not started"),
        ({"is_off": True}, "note", "is disabled"),
        ({"rivals": ("copilot",)}, "note", "`copilot` also shows ghost text"),
        (
            {"keys": (KeyFacts("accept", "<Tab>", True, False),)},
            "note",
            "<Tab> is mapped to something",
        ),
        (
            {"keys": (KeyFacts("next", "<M-]>", False, False),)},
            "note",
            "No key is mapped to `<Plug>(llmd-next)`",
        ),
    ],
)
def test_a_neovim_in_which_something_is_not(
    changes: dict[str, object], level: str, said: str
) -> None:
    assert [found for found, text in _judged(**changes) if said in text] == [level]


def test_what_the_child_prints_is_understood() -> None:
    found = {
        "version": "0.11.4", "plugins": [], "is_loaded": True, "state": "ready", "reason": "",
        "keys": [{"name": "accept", "key": "<Tab>", "is_mapped": True, "is_default": False}],
        "n_lsp_clients": 0, "rivals": [], "is_off": False,
    }  # fmt: skip
    facts = msgspec.convert(found, NeovimFacts)
    assert facts.keys == (KeyFacts("accept", "<Tab>", True, False),)
    assert msgspec.convert({**found, "keys": []}, NeovimFacts).keys == ()


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
    assert editors._parse_version(name, said) == expected  # type: ignore[arg-type]


def test_what_vim_was_built_without_is_read() -> None:
    said = "+acl -channel +job\n-textprop +timers -vim9scripts x-job"
    assert editors._missing_features(said) == ("+channel", "+textprop")


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
    assert editors._find_plugin("vim") is None
    link = _pack(home)
    link.symlink_to(paths.plugin_dir("vim"))
    assert editors._find_plugin("vim") == link
    assert editors._is_same("vim", link)


def test_a_copied_plugin_is_the_same_until_a_file_differs(home: Path) -> None:
    copy = _pack(home)
    shutil.copytree(paths.plugin_dir("vim"), copy)
    assert editors._find_plugin("vim") == copy
    assert editors._is_same("vim", copy)
    (copy / "autoload/llmd.vim").write_text('" older\n')
    assert not editors._is_same("vim", copy)


def test_a_link_that_leads_nowhere_is_found(home: Path) -> None:
    _pack(home).symlink_to(home / "gone")
    found = editors._find_plugin("vim")
    assert found is not None
    assert not found.exists()


def test_another_plugin_is_not_ours(home: Path) -> None:
    (_pack(home) / "plugin").mkdir(parents=True)
    assert editors._find_plugin("vim") is None


def test_a_configuration_that_names_llmd_is_enough(home: Path) -> None:
    languages = home / ".config/helix/languages.toml"
    assert not editors._is_named("hx")
    languages.parent.mkdir(parents=True)
    languages.write_text('[language-server.llmd]\ncommand = "llmd"\n')
    assert editors._is_named("hx")
    assert not editors._is_named("nvim")
