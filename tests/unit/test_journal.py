"""A bridge's replay against a simple editor: whatever was sent, dropped and sent again, a daemon
that starts anew ends with the editor's text."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from llmd.bridge.journal import Journal

URI = "file:///w/a.py"


class Daemon:
    """Applies frames; a change appends its text. Counts changes since the open, and opens, as
    llmd does."""

    def __init__(self) -> None:
        self.n_opens = 0
        self.n_open: dict[str, int] = {}
        self.texts: dict[str, str] = {}
        self.n_changes: dict[str, int] = {}
        self.methods: list[str] = []

    def take(self, body: bytes) -> None:
        message = json.loads(body)
        self.methods.append(message["method"])
        item = message.get("params", {}).get("textDocument", {})
        if message["method"] == "textDocument/didOpen":
            self.texts[item["uri"]] = item["text"]
            self.n_changes[item["uri"]] = 0
            self.n_opens += 1
            self.n_open[item["uri"]] = self.n_opens
        elif message["method"] == "textDocument/didChange":
            self.texts[item["uri"]] += message["params"]["contentChanges"][0]["text"]
            self.n_changes[item["uri"]] += 1
        elif message["method"] == "textDocument/didClose":
            del self.texts[item["uri"]], self.n_changes[item["uri"]]

    def snapshot(self, uri: str) -> dict[str, Any]:
        text, n_changes = self.texts[uri], self.n_changes[uri]
        counts = {"n_changes": n_changes, "n_open": self.n_open[uri]}
        return {"uri": uri, "version": 1, "text": text, **counts}


class Editor:
    def __init__(self) -> None:
        self.replay = Journal()
        self.daemon = Daemon()
        self._say("initialize", {}, 1)
        self._say("initialized", {})

    def _say(self, method: str, params: Any, id_: int | None = None) -> None:
        message = {"jsonrpc": "2.0", "id": id_, "method": method, "params": params}
        body = json.dumps(message).encode()
        self.replay.record(body, method, id_, params)
        self.daemon.take(body)

    def open(self, uri: str, text: str) -> None:
        item = {"uri": uri, "languageId": "python", "version": 0, "text": text}
        self._say("textDocument/didOpen", {"textDocument": item})

    def append(self, uri: str, text: str) -> None:
        params = {"textDocument": {"uri": uri, "version": 1}, "contentChanges": [{"text": text}]}
        self._say("textDocument/didChange", params)

    def close(self, uri: str) -> None:
        self._say("textDocument/didClose", {"textDocument": {"uri": uri}})

    def restart_daemon(self) -> None:
        self.daemon = Daemon()
        for body in self.replay.bodies():
            self.daemon.take(body)


STEPS = st.lists(
    st.sampled_from(["type", "snapshot is made", "snapshot arrives", "restart", "reopen"])
)


@given(STEPS)
def test_a_new_daemon_ends_with_the_editors_text(steps: list[str]) -> None:
    editor, text = Editor(), ""
    on_its_way: list[dict[str, Any]] = []
    editor.open(URI, text)
    for n_step, step in enumerate(steps):
        if step == "type":
            text += f"{n_step} "
            editor.append(URI, f"{n_step} ")
        elif step == "snapshot is made":
            on_its_way.append(editor.daemon.snapshot(URI))
        elif step == "snapshot arrives":  # while one typed on, or closed and opened again
            if on_its_way:
                editor.replay.take_snapshot(on_its_way.pop(0))
        elif step == "reopen":
            text = "new"
            editor.close(URI)
            editor.open(URI, text)
        else:
            on_its_way.clear()  # with the connection
            editor.restart_daemon()
        assert editor.daemon.texts[URI] == text
    editor.restart_daemon()
    assert editor.daemon.texts == {URI: text}


def test_a_snapshot_takes_the_place_of_the_changes() -> None:
    editor = Editor()
    editor.open(URI, "a")
    for _ in range(5):
        editor.append(URI, "b")
    editor.replay.take_snapshot(editor.daemon.snapshot(URI))
    editor.append(URI, "c")
    editor.restart_daemon()
    assert editor.daemon.methods == [
        "initialize", "initialized", "textDocument/didOpen", "textDocument/didChange",
    ]  # fmt: skip
    assert editor.daemon.texts == {URI: "abbbbbc"}
    editor.append(URI, "d")  # the new daemon counts from its own didOpen
    editor.replay.take_snapshot(editor.daemon.snapshot(URI))
    editor.restart_daemon()
    assert editor.daemon.methods == ["initialize", "initialized", "textDocument/didOpen"]


def test_nothing_is_replayed_before_the_editor_has_begun() -> None:
    assert list(Journal().bodies()) == []
