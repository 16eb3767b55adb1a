"""What the daemon has for plugins of our own over LSP: its state, alternatives, and outcomes."""

from __future__ import annotations

import json
import re
import stat
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.support.daemon import RunningDaemon, wait_until
from tests.support.editor import URI, Editor

CODE = """class Circle:
    def __init__(self, radius):
        self.radius = radius

    def area(self):
        return 3.14 * self.radius * self.radius

    def perimeter(self):
        """
PLUGIN = {"llmd": {"state": True, "partial": True}}
AT = (8, 8)

MakeEditor = Callable[..., Editor]


@pytest.fixture
def editor(own_daemon: RunningDaemon) -> Iterator[MakeEditor]:
    made: list[Editor] = []

    def make(**options: Any) -> Editor:
        made.append(Editor(own_daemon, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()
        one.process.stdin.close()  # type: ignore[union-attr]
        one.process.stdout.close()  # type: ignore[union-attr]


def alternative(editor: Editor, n: int) -> str:
    position = {"line": AT[0], "character": AT[1]}
    found = editor.call("llmd/alternative", uri=URI, position=position, n=n)
    return found["text"] if found else ""


def outcome_rows(daemon: RunningDaemon) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = daemon.status()["outcomes"]
    return rows


def states(editor: Editor) -> list[dict[str, Any]]:
    return [note["params"] for note in editor.notifications if note["method"] == "llmd/state"]


def test_alternatives_differ_and_cost_few_tokens(
    editor: MakeEditor, own_daemon: RunningDaemon
) -> None:
    one = editor(options=PLUGIN)
    one.open(CODE)
    best = one.inline(*AT)
    before = own_daemon.counts()
    texts = [best, *(alternative(one, n) for n in (1, 2, 3))]
    after = own_daemon.counts()
    assert all(texts)
    assert len(set(texts)) == 4
    assert after["n_prefill"] - before["n_prefill"] <= 3 * 8
    assert after["by_path"]["warm"] - before["by_path"].get("warm", 0) == 3
    assert alternative(one, 1) == texts[1]
    assert alternative(one, 1000) == ""
    assert one.inline(*AT) == best
    by_id = [note for note in one.notifications if note["method"] == "llmd/partial"]
    assert {note["params"]["id"] for note in by_id} >= {one._id - 2}


def test_an_alternative_that_is_typed_goes_on_without_the_model(
    editor: MakeEditor, own_daemon: RunningDaemon
) -> None:
    one = editor()
    one.open(CODE)
    text = alternative(one, 1)
    one.insert(*AT, text[:3])
    before = own_daemon.counts()["by_path"].get("reused", 0)
    assert one.inline(AT[0], AT[1] + 3, invoked=False) == text[3:]
    assert own_daemon.counts()["by_path"]["reused"] == before + 1


def test_a_plugin_is_told_the_state_and_no_message(
    editor: MakeEditor, own_daemon: RunningDaemon
) -> None:
    progress = {"window": {"workDoneProgress": True}}
    one = editor(options=PLUGIN, capabilities=progress)
    one.call("llmd/status")
    assert states(one) == [{"state": "ready", "share": 1, "reason": "", "problems": []}]
    own_daemon.edit_config("nonsense = 1\n")
    wait_until(lambda: one.call("llmd/status") and states(one)[-1]["problems"], "the problem")
    (problem,) = states(one)[-1]["problems"]
    assert "nonsense" in problem
    own_daemon.ask("llmd/restart")
    wait_until(lambda: one.call("llmd/status")["state"] == "ready", "loaded again")
    assert {"loading", "ready"} == {state["state"] for state in states(one)}
    assert [state["problems"] for state in states(one) if state["problems"]] == [[problem]]
    methods = {note["method"] for note in one.notifications}
    assert methods == {"llmd/state"}


def test_outcomes_are_counted_and_survive_the_daemon(
    editor: MakeEditor, own_daemon: RunningDaemon
) -> None:
    one = editor(options=PLUGIN)
    one.open(CODE)
    one.open("x", uri="file:///t/a.lua", language="lua")
    for kind, n_chars in (("shown", 12), ("accepted", 5), ("accepted", 7), ("kept", 12)):
        one.send("llmd/outcome", uri=URI, kind=kind, n_chars=n_chars)
    one.send("llmd/outcome", uri="file:///t/a.lua", kind="dismissed", n_chars=3)
    for kind, n_chars, uri in (("eaten", 1, URI), ("shown", -1, URI), ("shown", 1, "file:///no")):
        one.send("llmd/outcome", uri=uri, kind=kind, n_chars=n_chars)
    one.call("workspace/executeCommand", command="llmd.rejected", arguments=[URI, 4])
    one.call("workspace/executeCommand", command="llmd.accepted")
    python, lua = outcome_rows(own_daemon)
    assert (python["filetype"], lua["filetype"]) == ("python", "lua")
    assert python["model"] == own_daemon.status()["model"]["name"]
    assert python["accepted"] == {"n": 2, "n_chars": 12}
    assert python["shown"] == python["kept"] == {"n": 1, "n_chars": 12}
    assert (python["rejected"], python["dismissed"]["n"]) == ({"n": 1, "n_chars": 4}, 0)
    assert lua["dismissed"] == {"n": 1, "n_chars": 3}
    assert re.search(
        r"^shown +1: 2 accepted, 0 typed, 1 rejected, 1 dismissed; 100 %",
        own_daemon.llmd("status").stdout,
        re.M,
    )
    own_daemon.llmd("restart", "--daemon")
    assert outcome_rows(own_daemon) == [python, lua]
    path = own_daemon.folder / "state" / "outcomes.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert json.loads(path.read_text())["rows"] == [python, lua]
    assert "Circle" not in path.read_text()
